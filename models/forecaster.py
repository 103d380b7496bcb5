"""Computes forecasts from candles, for training, backtest and live: all bars at once, or bar by bar."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, lru_cache, partial, reduce
from operator import add
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import pandas as pd

from data.candles import OHLCV, REGIME, check_candles, plausible, time_text
from data.errors import DataError, ModelSetError
from data.features import FEATURES, columns_of, feature_columns, log_returns, lookback_of
from data.intervals import has_interval, interval_of, interval_text
from models.conformal import INTERVALS, MEMORY, adapted_level, adapted_levels, central_intervals, deviations
from models.density import BASE, Density, DensityLSTM
from models.detectors.labels import ColumnDetector
from models.expert import Expert, member_names
from models.inference import EnsembleReader, State
from models.model_set import ModelSet
from models.network import Passes, RegimeLSTM, one_thread, pass_length, time_slots
from models.regimes import RegimeDetector, hold_lookback, likeliest_regime, regime_name, regime_number
from models.settings import ForecastSettings
from models.student import StudentMixture

_ALL_REGIMES = "all_regimes_"
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)  # of a density, where only some are shown
_DENSITY = ("location", "scale", "df")  # of a component, in the names of columns
LEVELS = [f"level_{100 * share:g}" for share in INTERVALS]  # columns: levels of the intervals
_CLOSE = OHLCV.index("close")
_BARS_OF_PART = 65_536
_BARS_OF_BLOCK = 128  # of recorded forecasts; many more objects at a time would start a collection of garbage


class Forecast(NamedTuple):
    """The regime at a bar's close, and each member's forecast of the log return to the next close.

    ``levels`` are those of the `intervals`; none for a recording of an earlier version.
    """

    timestamp: pd.Timestamp
    regime: int
    members: tuple[float, ...]
    probabilities: dict[int, float]
    density: StudentMixture | None = None
    levels: tuple[float, ...] = INTERVALS

    @property
    def log_return(self) -> float:
        """Mean of the members' forecasts. The density has a mean of its own, `StudentMixture.mean`."""
        return reduce(add, self.members) / len(self.members)  # as NumPy adds, and ten times faster on a few numbers

    @property
    def scale(self) -> float | None:
        """Standard deviation of the predictive density; None without one."""
        return None if self.density is None else float(self.density.deviation())

    def quantiles(self, levels: Sequence[float] = QUANTILES) -> dict[str, float] | None:
        """The log return that is not exceeded with each probability, by it as text; None without a density."""
        if self.density is None:
            return None
        return dict(zip(map(str, levels), self.density.quantiles(levels).tolist(), strict=True))

    def intervals(self) -> dict[str, tuple[float, float]] | None:
        """Central intervals of the next log return, by the share of returns that they are to hold; None without them.

        They are wider or narrower than the density's own, according to how many of the last returns earlier ones held
        (`models.conformal`).
        """
        if self.density is None:
            return None
        values = central_intervals(self.density, np.array(self.levels)).tolist()
        return {f"{share:g}": (low, high) for share, (low, high) in zip(INTERVALS, values, strict=True)}

    def probability_above(self, log_return: float) -> float | None:
        """Probability that the next log return is above ``log_return``; None without a density."""
        return None if self.density is None else 1 - float(self.density.cdf(log_return))


def member_forecasts(table: pd.DataFrame) -> np.ndarray:
    """The members' forecasts ``(n_bars, n_members)`` in a table with columns `member_names`."""
    return table[[name for name in table if str(name).startswith("member_")]].to_numpy(dtype=float)


def all_regimes_forecasts(table: pd.DataFrame) -> np.ndarray:
    """The all-regimes network's ``(n_bars, n_members)`` of `Forecaster.forecast_with_all_regimes`; maybe no columns."""
    return table[[name for name in table if str(name).startswith(_ALL_REGIMES)]].to_numpy(dtype=float)


def densities(table: pd.DataFrame) -> StudentMixture | None:
    """The predictive densities in a table of `Forecaster.forecast`, one per bar; None without them."""
    names = [str(name).removeprefix("location_") for name in table if str(name).startswith("location_")]
    if not names:
        return None
    location, scale, df = (table[[f"{part}_{name}" for name in names]].to_numpy(dtype=float) for part in _DENSITY)
    regimes = [name.rpartition("_")[0] for name in names]  # empty where only the bar's own regime counts
    shares = [table[f"p_{regime}"].to_numpy() if regime else np.ones(len(table)) for regime in regimes]
    n_networks = regimes.count(regimes[0])
    return StudentMixture(np.column_stack(shares) / n_networks, location, scale, df)


def intervals(table: pd.DataFrame) -> dict[str, np.ndarray] | None:
    """`Forecast.intervals` of each bar in a table of `Forecaster.forecast`, ``(n_bars, 2)`` by share; None without."""
    mixtures = densities(table)
    if mixtures is None:
        return None
    ends = central_intervals(mixtures, _levels(table))
    return {f"{share:g}": ends[:, column] for column, share in enumerate(INTERVALS)}


def _levels(table: pd.DataFrame) -> np.ndarray:
    """The levels of the intervals ``(n_bars, n_levels)``; the nominal ones in a table of an earlier version."""
    return table[LEVELS].to_numpy() if LEVELS[0] in table else np.tile(INTERVALS, (len(table), 1))


def forecasts_by_bar(table: pd.DataFrame) -> Callable[[int], tuple[float, Forecast | None]]:
    """Regime (NaN if unknown) and forecast by the number of a bar, from `ForecastSource.forecast`."""
    members, regimes = member_forecasts(table), table["regime"].to_numpy()
    names = [str(name) for name in table if str(name).startswith("p_")]
    numbers, probabilities = [regime_number(name[2:]) for name in names], table[names].to_numpy(dtype=float)
    known = np.isfinite(members).all(axis=1) & np.isfinite(regimes)
    mixtures = densities(table)
    dense = known if mixtures is None else np.isfinite(mixtures.location).all(axis=1)
    levels = _levels(table)

    @lru_cache(maxsize=1)
    def block(number: int) -> list[tuple[float, Forecast | None]]:
        """Some bars at once: pandas and NumPy take many times as long for one bar at a time."""
        here = slice(number * _BARS_OF_BLOCK, (number + 1) * _BARS_OF_BLOCK)
        columns = (table.index[here], *(one[here].tolist() for one in (regimes, members, probabilities, levels)))
        rows = range(len(table))[here]
        return [
            (
                regime,
                Forecast(
                    time,
                    int(regime),
                    tuple(each),
                    dict(zip(numbers, shares, strict=True)),
                    mixtures[row] if mixtures is not None and dense[row] else None,
                    tuple(of_intervals),
                )
                if known[row]
                else None,
            )
            for row, time, regime, each, shares, of_intervals in zip(rows, *columns, strict=True)
        ]

    return lambda bar: block(bar // _BARS_OF_BLOCK)[bar % _BARS_OF_BLOCK]


class Stream(Protocol):
    """Forecasts one candle at a time."""

    def push(self, candle: Mapping[str, Any]) -> Forecast | None: ...


class ForecastSource(Protocol):
    """Forecasts candles of one dataset and interval: a `Forecaster`, or `models.recorded.RecordedForecasts`."""

    @property
    def dataset(self) -> str: ...
    @property
    def interval(self) -> pd.Timedelta: ...
    @property
    def lookback(self) -> int: ...
    @property
    def has_density(self) -> bool: ...
    @property
    def bars_per_year(self) -> float: ...
    def columns(self) -> list[str]: ...
    def forecast(self, candles: pd.DataFrame) -> pd.DataFrame: ...
    def stream(self) -> Stream: ...


def require_compatible(candles: pd.DataFrame, models: ForecastSource, *, source: str, least_bars: int = 2) -> None:
    """Raise a `DataError` if candles lack a column that models read, are too few, or have another interval.

    ``source`` names the candles in errors, such as the file's path.
    """
    missing = [name for name in models.columns() if name not in candles]
    if missing:
        raise DataError(
            f"{source}: has no column {', '.join(missing)}, which the models of {models.dataset} read. Use candles "
            "with this column, or train without it."
        )
    require_bars(len(candles), least_bars, source)
    require_interval(pd.DatetimeIndex(candles.index), models, source)


def require_bars(n_bars: int, least_bars: int, source: str) -> None:
    """Raise a `DataError` if there are too few bars."""
    if n_bars < least_bars:
        raise DataError(f"{source}: has {n_bars} bars, but at least {least_bars} are needed. Bring more history.")


def require_interval(index: pd.DatetimeIndex, models: ForecastSource, source: str) -> None:
    """Raise a `DataError` if the bars cannot have the models' interval; a single bar has no interval."""
    if len(index) >= 2 and not has_interval(index, models.interval):
        raise DataError(
            f"{source}: bars are {interval_text(interval_of(index))} apart, but the models of {models.dataset} were "
            f"trained on bars {interval_text(models.interval)} apart. Resample them, or train on this interval."
        )


class Reader(Protocol):
    """The features of a network, and the window and stride of its passes (see `models.network.Passes`)."""

    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def window(self) -> int: ...
    @property
    def stride(self) -> int: ...


def forecast_lookback(
    detector: RegimeDetector | ColumnDetector, held: int, networks: Iterable[Reader], interval: pd.Timedelta
) -> int:
    """Number of earlier bars that a forecast depends on, by its regime (held for up to ``held`` bars) and networks."""
    return max(
        lookback_of(detector.features, interval) + detector.memory - 1 + held,
        *(
            lookback_of(network.features, interval) + pass_length(network.window, network.stride) - 1
            for network in networks
        ),
    )


class Observation(NamedTuple):
    """The common inputs of all experts' forecasts.

    Features by column, `models.network.time_slots`, probabilities ``(n_bars, n_regimes)``, and each bar's regime.
    """

    columns: dict[str, np.ndarray]
    slots: np.ndarray
    probabilities: np.ndarray
    regimes: np.ndarray

    def inputs(self, ensemble: Expert | Density) -> np.ndarray:
        """The networks' scaled features: ``(n_bars, n_columns)``."""
        return (_stack(self.columns, ensemble.features) - ensemble.mean) / ensemble.scale

    def passes(self, ensemble: Expert | Density) -> Passes:
        return Passes.over(self.slots, ensemble.window, ensemble.stride)


def _stack(columns: Mapping[str, np.ndarray], features: Sequence[str]) -> np.ndarray:
    return np.column_stack([columns[name] for name in columns_of(features)])


class Forecaster:
    """Forecasts each bar's next log return by the expert of its regime.

    Parameters
    ----------
    model_set
        The trained experts and their detector.
    settings
        ``blend``: the mean of all experts' forecasts, weighted by regime probability, instead of the most likely
        regime's. ``regime_source``: ``column`` takes the regime from the candles' column ``regime``, which must not
        depend on later bars. ``shrinkage``: ``learnt`` combines them with the all-regimes network's, by the set's
        weights. None for the defaults.

    Raises
    ------
    ModelSetError
        If the set has no weights for ``shrinkage = "learnt"``, because an earlier version trained it.
    """

    def __init__(self, model_set: ModelSet, settings: ForecastSettings | None = None) -> None:
        self.model_set = model_set
        self.settings = settings or ForecastSettings()
        if self.settings.shrinkage == "learnt" and model_set.shrinkage is None:
            raise ModelSetError(
                f"the models of {model_set.dataset} have no shrinkage weights, because an earlier version trained "
                "them. Train again, or use --shrinkage none."
            )

    @property
    def dataset(self) -> str:
        return self.model_set.dataset

    @property
    def interval(self) -> pd.Timedelta:
        return self.model_set.interval

    @property
    def has_density(self) -> bool:
        return self.model_set.density is not None

    @property
    def bars_per_year(self) -> float:
        """Of the training's candles."""
        return self.model_set.bars_per_year

    @cached_property
    def detector(self) -> RegimeDetector | ColumnDetector:
        """The model set's detector, or the one that reads the candles' column."""
        by_column = self.settings.regime_source == "column"
        return ColumnDetector(tuple(self.model_set.experts)) if by_column else self.model_set.detector

    @cached_property
    def features(self) -> list[str]:
        """Names of all features that the detector or an expert reads."""
        return sorted({*self.detector.features, *(name for one in self.model_set.ensembles for name in one.features)})

    @cached_property
    def lookback(self) -> int:
        """Number of earlier bars that a forecast depends on."""
        held = hold_lookback(self.model_set.min_confidence, self.model_set.min_dwell)
        return forecast_lookback(self.detector, held, self.model_set.ensembles, self.interval)

    @property
    def history(self) -> int:
        """`lookback`, and the number of bars before it that the intervals depend on."""
        return self.lookback + (MEMORY if self.model_set.density else 0)

    def columns(self) -> list[str]:
        """Columns that candles must have: OHLCV, and the user's own columns among the features."""
        return [*OHLCV, *(name for name in self.features if name not in FEATURES and name not in OHLCV)]

    def warnings(self, candles: pd.DataFrame, dataset: str) -> list[str]:
        """Warnings about labels without an expert, models of another dataset, and shrunk forecasts."""
        by_column = self.settings.regime_source == "column"
        warnings = regime_warnings(candles, self.model_set) if by_column else []
        if dataset != self.dataset:
            warnings.append(
                f"The models were trained on {self.dataset}, not on {dataset}: prices, volatility and regimes may "
                "behave differently."
            )
        weights = self.model_set.shrinkage
        if self.settings.shrinkage == "learnt" and weights is not None:
            total = weights.experts + weights.all_regimes
            warnings.append(
                f"Forecasts are shrunk to {total:.2f} of their size ({weights}), so few of them reach a threshold. "
                "Lower the thresholds if none does."
            )
        return warnings

    def forecast(self, candles: pd.DataFrame) -> pd.DataFrame:
        """Forecast every bar from the bars up to it.

        Parameters
        ----------
        candles
            ``(n_bars, >= 5)`` as from `data.candles.read_candles`.

        Returns
        -------
        pandas.DataFrame
            One row per bar: ``regime``, ``forecast`` (log return to the next close, mean of the members),
            ``p_<regime>`` per regime, ``member_1`` to ``member_n``. Of each component of the `densities`
            ``location_1``, ``scale_1``, ``df_1`` and so on, with ``blend`` ``location_<regime>_1``; the levels of the
            intervals ``level_50``, ``level_80``, ``level_95``. NaN in the first `lookback` rows, and where a feature
            is NaN.

        Raises
        ------
        DataError
            If a column is missing.
        """
        return self._in_parts(candles, self._table)

    def forecast_with_all_regimes(self, candles: pd.DataFrame) -> pd.DataFrame:
        """`forecast`, and the members of the all-regimes network alone: ``all_regimes_1`` to ``all_regimes_n``."""
        all_regimes = self.all_regimes()

        def table(observed: Observation, index: pd.Index) -> pd.DataFrame:
            members = member_forecasts(all_regimes._table(observed, index))
            names = [f"{_ALL_REGIMES}{number}" for number in range(1, members.shape[1] + 1)]
            return self._table(observed, index).assign(**dict(zip(names, members.T, strict=True)))

        return self._in_parts(candles, table)

    def all_regimes(self) -> Forecaster:
        """The forecaster that takes the all-regimes network for every regime; without densities."""
        experts = dict.fromkeys(self.model_set.experts, self.model_set.all_regimes)
        return Forecaster(replace(self.model_set, experts=experts, density=None), self.settings)

    def shrunk(self, experts: np.ndarray, all_regimes: np.ndarray) -> np.ndarray:
        """The experts' forecasts ``(..., n_members)``, combined with the all-regimes network's if so set."""
        weights = self.model_set.shrinkage
        if self.settings.shrinkage == "none" or weights is None:
            return experts
        return weights.combine(experts, all_regimes)

    def stream(self, history: pd.DataFrame | None = None) -> ForecastStream:
        """A stream that forecasts bar by bar, starting after ``history`` (candles of any length)."""
        return ForecastStream(self, history)

    def observe(self, candles: pd.DataFrame) -> Observation:
        """Observe ``(n_bars, >= 5)`` candles; NaN where a feature is unknown."""
        columns, model_set = feature_columns(candles, self.features), self.model_set
        probabilities = self.detector.filter(_stack(columns, self.detector.features))
        regimes = likeliest_regime(probabilities, self.detector.regimes, model_set.min_confidence, model_set.min_dwell)
        slots = time_slots(cast("pd.DatetimeIndex", candles.index), model_set.interval)
        return Observation(columns, slots, probabilities, regimes)

    def forecast_densities(self, candles: pd.DataFrame) -> StudentMixture | None:
        """The densities of `forecast` alone, NaN where there is none; None for a set without densities."""
        density = self.model_set.density
        if density is None:
            return None
        return self._densities(density, self.observe(candles), np.arange(self.lookback, len(candles)))

    def _in_parts(self, candles: pd.DataFrame, table: Callable[[Observation, pd.Index], pd.DataFrame]) -> pd.DataFrame:
        """One table of all bars from those of parts: the forecasts of a long series need little memory at a time."""
        tables = []
        for begin in range(0, max(1, len(candles)), _BARS_OF_PART):
            before = min(begin, self.lookback)
            part = candles.iloc[begin - before : begin + _BARS_OF_PART]
            tables.append(table(self.observe(part), part.index).iloc[before:])
        whole = pd.concat(tables)
        mixtures = densities(whole)
        if mixtures is None:
            return whole
        known = np.isfinite(mixtures.location).all(axis=1)
        levels = np.where(known[:, None], adapted_levels(mixtures, log_returns(candles["close"].to_numpy())), np.nan)
        return whole.assign(**dict(zip(LEVELS, levels.T, strict=True)))

    def _table(self, observed: Observation, index: pd.Index) -> pd.DataFrame:
        """The forecasts as in `forecast`."""
        known = np.arange(len(index)) >= self.lookback
        regimes = self.detector.regimes
        needed = (
            np.isfinite(observed.probabilities)
            if self.settings.blend
            else observed.regimes[:, None] == np.array(regimes)
        )
        bars_of_each = [np.flatnonzero(known & needed[:, column]) for column in range(len(regimes))]
        experts = [self.model_set.expert_for(regime) for regime in regimes]
        if self.settings.shrinkage == "learnt":
            experts, bars_of_each = [*experts, self.model_set.all_regimes], [*bars_of_each, np.flatnonzero(known)]
        by_expert = _forecasts_at(observed, experts, bars_of_each)
        of_regimes = by_expert[:, : len(regimes)]
        if self.settings.blend:
            members = (observed.probabilities[:, :, None] * of_regimes).sum(axis=1)
        else:
            members = np.full(by_expert[:, 0].shape, np.nan)
            for column, bars in enumerate(bars_of_each[: len(regimes)]):
                members[bars] = of_regimes[bars, column]
        members = self.shrunk(members, by_expert[:, -1])
        table = {"regime": np.where(known, observed.regimes, np.nan), "forecast": members.mean(axis=1)}
        for column, regime in enumerate(regimes):
            table[f"p_{regime_name(regime)}"] = np.where(known, observed.probabilities[:, column], np.nan)
        table |= zip(member_names(members.shape[1]), members.T, strict=True)
        if self.model_set.density is not None:
            bars = np.flatnonzero(known & np.isfinite(members).all(axis=1))
            density = self._densities(self.model_set.density, observed, bars)
            for name in _DENSITY:
                values = np.where(np.isfinite(density.location), getattr(density, name), np.nan)
                table |= zip((f"{name}_{one}" for one in self._component_names()), values.T, strict=True)
        return pd.DataFrame(table, index=index)

    def _component_names(self) -> list[str]:
        """Names of the densities' components: the networks' numbers, or with ``blend`` regimes and numbers."""
        networks = self.model_set.density.networks if self.model_set.density else ()
        numbers = [str(number) for number in range(1, len(networks) + 1)]
        if not self.settings.blend:
            return numbers
        return [f"{regime_name(regime)}_{number}" for regime in self.detector.regimes for number in numbers]

    def _densities(self, density: Density, observed: Observation, bars: np.ndarray) -> StudentMixture:
        """The densities at all bars; NaN but at these ``bars``."""
        inputs, passes = observed.inputs(density), observed.passes(density)
        bars = bars[passes.complete(inputs)[bars]]
        outputs = np.full((len(inputs), len(density.networks), DensityLSTM.n_outputs), np.nan)
        with one_thread():
            outputs[bars] = np.moveaxis(density.reader.outputs(passes, inputs, bars), -1, 0)
        return self.mixture(density, outputs, observed.columns[BASE], observed)

    def mixture(self, density: Density, outputs: np.ndarray, base: np.ndarray, observed: Observation) -> StudentMixture:
        """The densities by the networks' outputs at the observation's last ``len(base)`` bars."""
        if self.settings.blend:
            return density.blended(outputs, base, self.detector.regimes, observed.probabilities[-len(base) :])
        return density.of_regime(outputs, base, observed.regimes[-len(base) :])


def _forecasts_at(observed: Observation, experts: list[Expert], bars_of_each: list[np.ndarray]) -> np.ndarray:
    """Each expert's forecast log returns ``(n_bars, n_experts, n_members)``; NaN where nobody asks that expert.

    An expert of several regimes reads the bars of all of them at once, because most blocks have bars of two regimes.
    """
    distinct = {id(expert): expert for expert in experts}
    wanted = {key: np.zeros(len(observed.slots), dtype=bool) for key in distinct}
    for expert, bars in zip(experts, bars_of_each, strict=True):
        wanted[id(expert)][bars] = True
    networks = [
        (expert, network, np.flatnonzero(wanted[key]))
        for key, expert in distinct.items()
        for network in expert.networks
    ]
    with one_thread(), ThreadPoolExecutor() as pool:  # NumPy releases Python's lock
        log_returns = list(pool.map(partial(_forecast_at, observed), *zip(*networks, strict=True)))
    by_key = dict(zip(distinct, np.split(np.column_stack(log_returns), len(distinct), axis=1), strict=True))
    return np.stack([by_key[id(expert)] for expert in experts], axis=1)


def _forecast_at(observed: Observation, expert: Expert, network: RegimeLSTM, bars: np.ndarray) -> np.ndarray:
    """One member's forecast log returns ``(n_bars,)`` at ``bars``; NaN elsewhere, and where a feature is NaN."""
    inputs, passes = observed.inputs(expert), observed.passes(expert)
    bars = bars[passes.complete(inputs)[bars]]
    log_return = np.full(len(inputs), np.nan)
    log_return[bars] = EnsembleReader([network]).outputs(passes, inputs, bars)[0, 0] * expert.target_scale
    return log_return


class ForecastStream:
    """Forecasts bar by bar.

    It keeps the last ``lookback + 1`` candles, and each expert's state in the current block (see
    `models.network.Passes`), so that a new bar does not need the whole pass again.
    """

    def __init__(self, forecaster: Forecaster, history: pd.DataFrame | None = None) -> None:
        self._forecaster = forecaster
        self._columns = forecaster.columns()
        self._header = pd.Index(self._columns)  # made once: it takes long
        self._times = np.empty(0, dtype="M8[us]")
        self._rows = np.empty((0, len(self._columns)))
        self._read: dict[str, _Read] = {}
        self._density: StudentMixture | None = None  # at the last bar
        self._deviations = deque([math.nan] * MEMORY, MEMORY)
        if history is not None:
            _require_columns(history.columns, self._columns)
            tail = history[self._columns].iloc[-(forecaster.lookback + 1) :]
            self._times = pd.DatetimeIndex(tail.index).as_unit("us").tz_localize(None).to_numpy()
            self._rows = tail.to_numpy(dtype=float)
            if len(history) > forecaster.lookback:
                self._recall_densities(history.iloc[-(forecaster.history + 1) :])

    def push(self, candle: Mapping[str, Any]) -> Forecast | None:
        """Forecast after one more closed candle: ``timestamp`` (UTC) and the candles' columns; None where unknown.

        Raises a `DataError`, without a change of state, if the candle is invalid or not later than the one before.
        """
        timestamp = self._append(candle)
        before, self._density = self._density, None
        if len(self._rows) > 1:
            log_return = log_returns(self._rows[-2:, _CLOSE])[-1]
            self._deviations.append(float(deviations(before, log_return)) if before else math.nan)
        forecaster, model_set = self._forecaster, self._forecaster.model_set
        if len(self._rows) <= forecaster.lookback:
            return None
        index = pd.DatetimeIndex(self._times, tz="UTC", name="timestamp")
        observed = forecaster.observe(pd.DataFrame(self._rows, columns=self._header, index=index))
        if not np.isfinite(observed.regimes[-1]):
            return None
        regime = int(observed.regimes[-1])
        probabilities = dict(zip(forecaster.detector.regimes, observed.probabilities[-1].tolist(), strict=True))
        shares = probabilities if forecaster.settings.blend else {regime: 1.0}
        members = sum(
            (share * self._log_returns(model_set.expert_for(one), observed) for one, share in shares.items()),
            start=np.zeros(model_set.n_members),
        )
        if forecaster.settings.shrinkage == "learnt":
            members = forecaster.shrunk(members, self._log_returns(model_set.all_regimes, observed))
        if not np.isfinite(members).all():
            return None
        self._density = self._density_of(observed)
        levels = tuple(float(adapted_level(self._deviations, share)) for share in INTERVALS)
        return Forecast(timestamp, regime, tuple(members.tolist()), probabilities, self._density, levels)

    def _recall_densities(self, history: pd.DataFrame) -> None:
        """Continue after the densities of the history's bars."""
        mixtures = densities(self._forecaster.forecast(history))
        if mixtures is not None:
            log_return = log_returns(history["close"].to_numpy())[1:]
            self._deviations.extend(deviations(mixtures[: len(log_return)], log_return).tolist())
            last = mixtures[len(log_return)]
            self._density = last if np.isfinite(last.location).all() else None

    def _append(self, candle: Mapping[str, Any]) -> pd.Timestamp:
        """Check and keep a candle; returns its time."""
        _require_columns(list(candle), ["timestamp", *self._columns])
        timestamp = pd.Timestamp(candle["timestamp"])
        timestamp = timestamp.tz_localize("UTC") if timestamp.tz is None else timestamp.tz_convert("UTC")
        time = timestamp.as_unit("us").asm8
        if len(self._times) and time <= self._times[-1]:
            before = pd.Timestamp(self._times[-1], tz="UTC")
            raise DataError(f"candle {timestamp}: comes after {before}; push each candle once, in time order.")
        row = np.array([candle[name] for name in self._columns], dtype=float)
        if not plausible(*row[: len(OHLCV)]):
            one = pd.DataFrame([row], columns=self._header, index=pd.DatetimeIndex([timestamp], name="timestamp"))
            check_candles(one.drop(columns=REGIME, errors="ignore"), source="candle")
        keep = self._forecaster.lookback + 1
        self._times = np.concatenate([self._times[-keep + 1 :], [time]])
        self._rows = np.concatenate([self._rows[-keep + 1 :], row[None]])
        return timestamp

    def _log_returns(self, expert: Expert, observed: Observation) -> np.ndarray:
        """The members' forecasts at the last bar, ``(n_members,)``; NaN if a feature is NaN."""
        return self._outputs(expert, observed)[:, 0] * expert.target_scale

    def _density_of(self, observed: Observation) -> StudentMixture | None:
        """The density at the last bar; None if a feature is NaN."""
        density = self._forecaster.model_set.density
        if density is None:
            return None
        outputs = self._outputs(density, observed)
        if not np.isfinite(outputs).all():
            return None
        return self._forecaster.mixture(density, outputs[None], observed.columns[BASE][-1:], observed)[0]

    def _outputs(self, ensemble: Expert | Density, observed: Observation) -> np.ndarray:
        """The networks' outputs at the last bar, ``(n_members, n_outputs)``; NaN if a feature is NaN."""
        inputs, passes = observed.inputs(ensemble), observed.passes(ensemble)
        if not np.isfinite(inputs[-passes.length :]).all():
            return np.full((len(ensemble.networks), ensemble.networks[0].n_outputs), np.nan)
        start = int(passes.block_start[-1])
        block, begin = self._times[start], start - passes.window + 1
        reader, read = ensemble.reader, self._read.get(ensemble.name)
        if read is not None and read.block == block:
            begin, state = int(np.searchsorted(self._times, read.last)) + 1, read.state
        else:
            state = reader.start(1)
        for bar in inputs[begin:]:
            outputs = reader.read(bar[:, None], state)
        self._read[ensemble.name] = _Read(block, self._times[-1], state)
        return outputs[:, :, 0]


class _Read(NamedTuple):
    """An expert's progress: the block's first bar, the last bar read, and the members' state after it."""

    block: np.datetime64
    last: np.datetime64
    state: State


def _require_columns(given: Sequence[str] | pd.Index, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in given]
    if missing:
        raise DataError(f"the model set needs column {', '.join(missing)}, which the candles do not have.")


def regime_warnings(candles: pd.DataFrame, model_set: ModelSet) -> list[str]:
    """A warning about labels in the column ``regime`` without an expert, if there are any."""
    unknown = candles.loc[~candles[REGIME].isin(list(model_set.experts)), REGIME]
    if unknown.empty:
        return []
    numbers = ", ".join(f"{label:g}" for label in sorted(unknown.unique()))
    return [
        f"{len(unknown)} bars, the first at {time_text(unknown.index[0])}, have the regime {numbers}, which is not in "
        "the training part: there is no expert for it, and no forecast at these bars with regime_source column."
    ]
