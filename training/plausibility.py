"""Flags skill that is too good to be true: of an input, a forecast or a strategy.

The bounds are far above what markets allow (docs/look_ahead.md has the distributions). What exceeds them is almost
always an error: an input that uses later prices, or prices at which nobody could trade.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from data.features import FEATURES, compute_features
from data.windows import targets
from training.scores import Score

MOST_CORRELATED = 0.3
MOST_EXPLAINED = 0.15
MOST_R2 = 0.1
MOST_SHARPE = 6.0
_FEWEST_TRADES = 200
_MOST_LATER = 60
_FEWEST_BARS = 300
_MOST_BARS = 50_000  # the last ones, to save memory

_QUESTION = "does an input or a regime use prices after its bar's close? `regimes check` looks for it."


class InputSkill(NamedTuple):
    """What an input says about later returns.

    Attributes
    ----------
    name
        The column, and the form in which it was taken, such as ``the change of signal``.
    correlation
        Spearman's rank correlation with the next log return (IC).
    explained
        Share of the variance of its ranks that the next 60 log returns explain (a 20th of the bars, if that is fewer);
        only of changes, because a level that wanders is high before it falls, within any sample.
    """

    name: str
    correlation: float
    explained: float


def input_skills(candles: pd.DataFrame, names: Sequence[str]) -> list[InputSkill]:
    """The skill of each column of these features, in each of its forms; none with fewer than 300 bars."""
    candles = candles.iloc[-_MOST_BARS:]
    close = candles["close"].to_numpy(dtype=float)
    if len(close) < _FEWEST_BARS:
        return []
    table, returns = compute_features(candles, names), targets(close)
    return [
        InputSkill(form, _rank_correlation(values, returns), _explained(values, returns) if changes else 0.0)
        for name in table
        for form, values, changes in _forms(str(name), table[name].to_numpy(dtype=float), close)
        if np.isfinite(values).sum() >= _FEWEST_BARS
    ]


def implausible_inputs(candles: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """A warning about each of these features whose skill on the candles is too good to be true.

    Only about the user's own features and columns; built-in features do not look ahead.
    """
    warnings = []
    for name in names:
        if name in FEATURES and FEATURES[name].built_in:
            continue
        skills = input_skills(candles, [name])
        correlated = max(skills, key=lambda skill: abs(skill.correlation), default=None)
        explained = max(skills, key=lambda skill: skill.explained, default=None)
        if correlated and abs(correlated.correlation) > MOST_CORRELATED:
            warnings.append(
                f"{correlated.name} has a rank correlation (IC) of {correlated.correlation:+.2f} with the next return. "
                f"More than {MOST_CORRELATED} is too good to be true: does {name} use prices after its bar's close?"
            )
        elif explained and explained.explained > MOST_EXPLAINED:
            warnings.append(
                f"the next {_later_returns(len(candles))} returns explain {100 * explained.explained:.0f} % of "
                f"{explained.name}. More than {100 * MOST_EXPLAINED:.0f} % is too good to be true: does {name} use "
                "prices after its bar's close?"
            )
    return warnings


def implausible_scores(scores: Mapping[str, Score]) -> list[str]:
    """A warning about each forecast, by its name, whose scores are too good to be true."""
    warnings = []
    for name, one in scores.items():
        if one.bars < _FEWEST_BARS:
            continue
        correlation, r2 = one.information_coefficient or 0.0, one.r2_zero or 0.0
        if r2 > MOST_R2 or abs(correlation) > MOST_CORRELATED:
            warnings.append(
                f"the forecast of {name} has an R2 of {100 * r2:.0f} % and an IC of {correlation:+.2f} on unseen "
                f"bars. More than {100 * MOST_R2:.0f} % or {MOST_CORRELATED} is too good to be true: {_QUESTION}"
            )
    return warnings


def implausible_sharpe(sharpe: float | None, low: float | None, trades: int) -> str:
    """A warning about an annualised Sharpe ratio after costs that is too good to be true; or no text.

    With fewer than 200 trades, even the lower end of its interval must be above the bound.
    """
    sure = sharpe if trades >= _FEWEST_TRADES else low
    if sharpe is None or sure is None or sure <= MOST_SHARPE:
        return ""
    return (
        f"A Sharpe ratio of {sharpe:.1f} with {trades:,} trades is too good to be true (above {MOST_SHARPE:g}): "
        f"{_QUESTION}"
    )


def _forms(name: str, values: np.ndarray, close: np.ndarray) -> Iterator[tuple[str, np.ndarray, bool]]:
    """An input ``(n_bars,)`` as it is, and relative to the close if it is like a price; and whether it is a change."""
    levels = {name: values}
    known = np.isfinite(values)
    if known.any() and (values[known] > 0).all():
        relative = np.full(len(values), np.nan)
        relative[known] = np.log(values[known] / close[known])
        if abs(np.nanmedian(relative)) < np.log(2) and np.ptp(relative[known]) > 0:
            levels[f"{name} relative to the close"] = relative
    for form, level in levels.items():
        yield form, level, False
        yield f"the change of {form}", np.diff(level, prepend=np.nan), True


def _rank_correlation(values: np.ndarray, returns: np.ndarray) -> float:
    known = np.isfinite(values) & np.isfinite(returns)
    ranks = _ranks(np.column_stack([values[known], returns[known]]))
    return 0.0 if (np.ptp(ranks, axis=0) == 0).any() else float(np.corrcoef(ranks, rowvar=False)[0, 1])


def _explained(values: np.ndarray, returns: np.ndarray) -> float:
    """R2 of a regression of the values' ranks on those of the next returns, each half forecast by the other.

    Ranks, and forecasts of other bars, because single crashes would explain much of a volatility by chance.
    """
    n_later = _later_returns(len(returns))
    later = sliding_window_view(_ranks(returns[:-1]), n_later)  # (n_bars - n_later, n_later); the last is unknown
    known = np.isfinite(values[: len(later)])
    y, x = _ranks(values[: len(later)][known]), later[known]
    half = len(y) // 2
    if half <= 2 * n_later or np.ptp(y) == 0:
        return 0.0
    error = 0.0
    for fitted, forecast in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        weights = np.linalg.lstsq(x[fitted], y[fitted])[0]
        error += float(np.sum((y[forecast] - x[forecast] @ weights) ** 2))
    return max(0.0, 1 - error / float(y @ y))


def _later_returns(n_bars: int) -> int:
    return min(_MOST_LATER, n_bars // 20)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of each column, with the mean 0."""
    ranks = pd.DataFrame(values).rank().to_numpy().reshape(values.shape)
    return np.asarray(ranks - ranks.mean(axis=0))
