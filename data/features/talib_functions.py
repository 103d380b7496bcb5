"""TA-Lib's functions as features: scale-free, and with a finite memory that is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import pandas as pd
import talib
import talib.abstract

from data.candles import OHLCV
from data.errors import DataError
from data.features.definitions import Feature

_REFUSED = {
    "OBV": "sums the volume since the first bar",
    "AD": "sums since the first bar",
    "SAR": "depends on every turn since the first bar",
    "SAREXT": "depends on every turn since the first bar",
    "MAMA": "adapts its period without end",
    "KAMA": "adapts its period without end",
    "SUPERTREND": "depends on every turn since the first bar",
    "MAVP": "needs a series of periods",
    "ACCBANDS": "is not the same in all versions of TA-Lib",
}
_OF_NUMBERS = "Math Transform"
_NEGLIGIBLE = 1e-9  # of a standard deviation: effect of the bars before the memory
_MOST_MEMORY, _PROBES = 6000, 60
Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
_SMALLEST_GROWTH = 1e-3
_PRICES = ("open", "high", "low", "close")


def names() -> list[str]:
    """The functions that are features."""
    return [name for name in _all_names() if is_known(name) and not _is_refused(name)]


def by_group() -> dict[str, list[str]]:
    """The functions that are features, by TA-Lib's groups."""
    groups, known = cast("Any", talib).get_function_groups(), set(names())
    return {group: some for group, every in groups.items() if (some := [name for name in every if name in known])}


def _is_refused(name: str) -> bool:
    return name in _REFUSED or name.startswith("HT_") or _function(name).info["group"] == _OF_NUMBERS


def is_known(name: str) -> bool:
    """Whether TA-Lib has a function of this name, in upper case, that reads candles."""
    return name.isupper() and name in _with_candles()


def _all_names() -> list[str]:
    return list(cast("Any", talib).get_functions())


def _function(name: str) -> Any:
    """TA-Lib's function with its current parameters, of which its stubs know nothing."""
    return cast("Any", talib.abstract).Function(name)


@lru_cache(maxsize=1)
def _with_candles() -> frozenset[str]:
    readable = set(OHLCV)
    return frozenset(name for name in _all_names() if set(_inputs(name)) <= readable)


def _inputs(name: str) -> list[str]:
    given = _function(name).input_names.values()
    return [one for each in given for one in ([each] if isinstance(each, str) else each)]


def feature(expression: str, name: str, numbers: Sequence[float], output: str | None) -> Feature:
    """A TA-Lib function with its parameters in order, or its defaults.

    Prices are divided by the close, as often as the result grows with the prices. The lookback is the number of bars
    before which nothing changes a value by more than 1e-9 standard deviations, as measured on a random walk.

    Raises
    ------
    DataError
        If the function has no finite memory or depends on the unit of the volume, or does not take these parameters.
    """
    if _is_refused(name):
        if _function(name).info["group"] == _OF_NUMBERS:
            raise DataError(f"feature {expression!r}: {name} of a price depends on its unit. Use another one.")
        reason = _REFUSED.get(name, "follows the phase of a cycle since the first bar")
        raise DataError(f"feature {expression!r}: {name} {reason}, so it has no finite memory. Use another one.")
    parameters = _parameters(expression, name, numbers)
    outputs = _outputs(expression, name, output)
    run = _runner(name, parameters, outputs)
    try:
        degrees = _degrees(run)
        scale_free = _scale_free(run, 0.0 if degrees is None else degrees)
        lookback = _memory(scale_free, _declared_lookback(name, parameters))
    except Exception as error:  # TA-Lib's own
        raise DataError(f"feature {expression!r}: TA-Lib refuses these parameters ({error}).") from error
    if degrees is None:
        raise DataError(f"feature {expression!r}: {name} has the unit of the volume. Use another one, such as MFI().")
    if lookback is None:
        raise DataError(f"feature {expression!r} depends on more than {_MOST_MEMORY:,} bars. Use shorter periods.")
    columns = (expression,) if len(outputs) == 1 else tuple(f"{expression}.{one}" for one in outputs)

    def compute(candles: pd.DataFrame) -> np.ndarray:
        arrays = {one: np.asarray(candles[one], dtype=float) for one in OHLCV}
        unit = arrays["close"][0]  # prices near 1: TA-Lib takes a variance below 1e-14 for 0
        return scale_free(arrays | {one: arrays[one] / unit for one in _PRICES})

    return Feature(expression, lookback, columns, compute, built_in=True)


def _scale_free(run: Run, degrees: np.ndarray | float) -> Run:
    """Outputs divided by the close, to the power of their degree."""
    return lambda arrays: run(arrays) / arrays["close"][:, None] ** degrees


def _parameters(expression: str, name: str, numbers: Sequence[float]) -> dict[str, Any]:
    defaults = _function(name).parameters
    if len(numbers) > len(defaults):
        takes = ", ".join(defaults) or "no parameters"
        raise DataError(f"feature {expression!r}: {name} takes {takes}, not {len(numbers)} numbers.")
    given = {one: type(defaults[one])(number) for one, number in zip(defaults, numbers, strict=False)}
    if "nbdevup" in given and "nbdevdn" not in given:
        given["nbdevdn"] = given["nbdevup"]
    return {**defaults, **given}


def _outputs(expression: str, name: str, wanted: str | None) -> list[str]:
    known = list(_function(name).output_names)
    if wanted is None:
        return known
    chosen = [one for one in known if one.startswith(wanted)]
    if len(chosen) != 1:
        raise DataError(f"feature {expression!r}: {name} has the outputs {', '.join(known)}, not {wanted!r}.")
    return chosen


def _runner(name: str, parameters: Mapping[str, Any], outputs: Sequence[str]) -> Run:
    """The function of arrays by `OHLCV`; returns ``(n_bars, n_outputs)``."""
    known = list(_function(name).output_names)

    def run(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        result = _function(name)(dict(arrays), **parameters)
        columns = result if isinstance(result, list) else [result]
        return np.column_stack([columns[known.index(one)] for one in outputs]).astype(float)

    return run


@lru_cache(maxsize=1)
def _walk() -> dict[str, np.ndarray]:
    """A random walk to measure on."""
    random = np.random.default_rng(0)
    close = np.exp(np.cumsum(0.01 * random.standard_normal(4 * _MOST_MEMORY)))
    open_ = np.append(1.0, close[:-1])
    high, low = (
        edge(open_, close) * np.exp(side * 0.005 * random.random(len(close)))
        for edge, side in ((np.maximum, 1), (np.minimum, -1))
    )
    return {"open": open_, "high": high, "low": low, "close": close, "volume": random.random(len(close)) + 0.5}


def _degrees(run: Run) -> np.ndarray | None:
    """How each output grows with the prices: 0 for none, 1 in proportion; None if it grows with the volume."""
    walk = {name: values[:2000] for name, values in _walk().items()}
    plain = run(walk)
    loud = run({**walk, "volume": 2 * walk["volume"]})
    if not np.allclose(plain, loud, equal_nan=True):
        return None
    high = run({**walk, **{name: 2 * walk[name] for name in _PRICES}})
    growth = np.ones(plain.shape[1])
    for column, (low, double) in enumerate(zip(plain.T, high.T, strict=True)):
        known = np.isfinite(low) & np.isfinite(double) & (low != 0)
        growth[column] = np.median(double[known] / low[known]) if known.any() else 1.0
    return np.where(growth > 0, np.round(np.log2(np.maximum(growth, _SMALLEST_GROWTH))), 0.0)


def _declared_lookback(name: str, parameters: Mapping[str, Any]) -> int:
    """TA-Lib's: the bars before the first value; a function with exponential averages depends on more."""
    function = _function(name)
    function.parameters = dict(parameters)
    return int(function.lookback)


def _memory(run: Run, least: int) -> int | None:
    """The smallest number of earlier bars that gives the values of the whole series; None if there is none."""
    walk = _walk()
    whole = run(walk)
    spread = np.nanstd(whole, axis=0)
    ends = np.linspace(_MOST_MEMORY + 1, len(whole) - 1, _PROBES).astype(int)

    def suffices(memory: int) -> bool:
        for end in ends:
            piece = run({name: values[end - memory : end + 1] for name, values in walk.items()})[-1]
            if not np.all(np.abs(piece - whole[end]) <= _NEGLIGIBLE * np.where(spread > 0, spread, 1.0)):
                return False
        return True

    if not suffices(_MOST_MEMORY):
        return None
    low, high = least - 1, _MOST_MEMORY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
