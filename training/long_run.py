"""Standard errors of the mean of autocorrelated bars, with the quantiles of Student's t that belong to them.

The equal-weighted cosine estimator of Lazarus, Lewis, Stock and Watson (2018), "HAR inference: recommendations for
practice", with the number of cosines that they recommend. Each cosine's coefficient is about normal with the long-run
variance, also if bars are autocorrelated. The mean divided by its standard error follows Student's t with one degree of
freedom for each cosine, so short series get wider intervals.
"""

from __future__ import annotations

import numpy as np


def degrees_of_freedom(n_bars: int) -> int:
    """Number of cosines: ``0.4 n_bars ** (2 / 3)``, rounded down, and at least two."""
    return max(2, int(0.4 * np.cbrt(n_bars) ** 2))


def cosine_coefficients(values: np.ndarray) -> np.ndarray:
    """Coefficients ``(1 + degrees_of_freedom, ...)`` of ``values`` ``(n_bars, ...)``, ten bars or more, in time order.

    The first is the mean times the root of the number of bars; the others have the same variance as it.
    """
    from scipy.fft import dct

    return dct(values, axis=0, norm="ortho")[: 1 + degrees_of_freedom(len(values))]


def standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error ``(...)`` of the mean of ``values`` ``(n_bars, ...)`` over its bars."""
    return np.sqrt(np.mean(np.square(cosine_coefficients(values)[1:]), axis=0) / len(values))
