"""Reads expressions that name features: ``rsi(28)``, ``log_return[3]``, ``volatility(50)@1d``, ``BBANDS(20,2).upper``.

An expression is a name, then in this order, each optional: periods in parentheses, ``.output`` of a TA-Lib function,
``[lag]`` in bars (of the timeframe), and ``@timeframe``. The name is a feature's, or with parentheses a TA-Lib
function's: ``CCI(20)``, or ``CCI()`` with its default. ``CCI`` without them may be a column of the candles.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from data.download import length_of
from data.errors import DataError, did_you_mean
from data.features import talib_functions
from data.features.definitions import FAMILIES, FEATURES, Compute, Feature
from data.features.timeframes import computed_on

_EXPRESSION = re.compile(
    r"(?P<name>[A-Za-z]\w*)"
    r"(?:\((?P<periods>[^()]*)\))?"
    r"(?:\.(?P<output>\w+))?"
    r"(?:\[(?P<lag>[^\[\]]*)\])?"
    r"(?:@(?P<timeframe>\w+))?"
)
_MOST_LAG, _MOST_PERIOD = 10_000, 100_000


def parsed(expression: str) -> Feature | None:
    """The feature of an expression; None for a plain name, which is none.

    Raises
    ------
    DataError
        If it looks like an expression, but has an unknown name, or other periods, outputs, lags or timeframes than the
        feature takes.
    """
    plain = expression.partition("@")[0].partition("[")[0]
    if plain == expression and plain in dict.keys(FEATURES):
        return None
    if plain in dict.keys(FEATURES):  # a user may register it anew
        return _moved(dict.__getitem__(FEATURES, plain), expression)
    return _computed(expression)


def _matched(expression: str) -> re.Match[str]:
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise DataError(
            f"feature {expression!r} cannot be read. Write name(periods).output[lag]@timeframe, for example rsi(28), "
            "log_return[3], volatility(50)@1d or BBANDS(20,2).upper."
        )
    return match


@lru_cache(maxsize=4096)
def _computed(expression: str) -> Feature | None:
    """The feature of a built-in family or a TA-Lib function; it cannot change, so it is made once."""
    if not any(mark in expression for mark in "([@"):
        return None
    match = _matched(expression)
    name, text, output = match.group("name", "periods", "output")
    if name in FAMILIES:
        if output is not None:
            raise DataError(f"feature {expression!r}: {name} has no outputs to choose from. Leave out .{output}.")
        base = FAMILIES[name].feature(expression, _periods(expression, name, text or ""))
    elif text is not None and talib_functions.is_known(name):
        base = talib_functions.feature(expression, name, _numbers(expression, text), output)
    else:
        known = [*FAMILIES, *FEATURES, *talib_functions.names()]
        raise DataError(f"feature {expression!r}: there is no {name} with periods.{did_you_mean(name, known)}")
    return _moved(base, expression)


def _periods(expression: str, name: str, text: str) -> list[int]:
    family = FAMILIES[name]
    numbers = _numbers(expression, text)
    example = ",".join(map(str, family.defaults))
    if len(numbers) != len(family.defaults) or any(number != int(number) for number in numbers):
        raise DataError(f"feature {expression!r}: {name} takes whole periods in bars, for example {name}({example}).")
    if min(numbers) < family.least:
        raise DataError(f"feature {expression!r}: the smallest period of {name} is {family.least}.")
    return [int(number) for number in numbers]


def _numbers(expression: str, text: str | None) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(",")] if text else []
    except ValueError:
        numbers = [float("nan")]
    if not all(0 <= number <= _MOST_PERIOD for number in numbers):
        raise DataError(f"feature {expression!r}: ({text}) must be numbers from 0 to {_MOST_PERIOD:,}.")
    return numbers


@lru_cache(maxsize=4096)
def _moved(base: Feature, expression: str) -> Feature:
    """The feature on the expression's timeframe, delayed by its lag in bars of it."""
    lag, timeframe = _matched(expression).group("lag", "timeframe")
    columns: tuple[str, ...] = (expression,)
    if len(base.columns) > 1:
        columns = tuple(f"{expression}.{column.removeprefix(f'{base.name}.')}" for column in base.columns)
    if lag is not None:
        if not lag.isdigit() or not 1 <= int(lag) <= _MOST_LAG:
            raise DataError(f"feature {expression!r}: [{lag}] must be a number of bars from 1 to {_MOST_LAG:,}.")
        base = replace(base, lookback=base.lookback + int(lag), compute=_delayed(base.compute, int(lag)))
    if timeframe is not None:
        length = _timeframe(expression, timeframe)
        base = replace(base, timeframe=length, compute=computed_on(base, length), built_in=False)
    return replace(base, name=expression, columns=columns)


def _delayed(compute: Compute, lag: int) -> Compute:
    def delayed(candles: pd.DataFrame) -> np.ndarray:
        values = np.asarray(compute(candles), dtype=float)
        return np.concatenate([np.full((lag, *values.shape[1:]), np.nan), values[: len(values) - lag]])

    return delayed


def _timeframe(expression: str, text: str) -> pd.Timedelta:
    match = re.fullmatch(r"(\d{1,4})(m|min|h|d|w)", text)
    if match is None or int(match[1]) == 0:
        raise DataError(f"feature {expression!r}: unknown timeframe {text!r}. Use for example 30m, 4h, 1d or 1w.")
    return length_of(f"{int(match[1])}{match[2][0]}")
