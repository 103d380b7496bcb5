"""Settings of a search: its space, objective and budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from data.settings import Settings, split_names
from training.settings import NetworkSettings

if TYPE_CHECKING:
    from optuna import Trial

_ALWAYS = "log_return"
_PERIODS, _MOST_PERIODS = re.compile(r"(\d+)\.\.(\d+)"), 200
RANGES = ("window", "stride", "hidden_dim", "num_layers", "dropout", "batch_size", "lr")
_ON_LOG_SCALE = {"hidden_dim", "batch_size", "lr"}

_Count = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, lt=1)]
_Rate = Annotated[float, Field(gt=0)]


class SearchSettings(Settings):
    """Settings of a search: flags, and the table ``[optimize]`` of regimes.toml.

    A range is two inclusive bounds, or a single value.
    """

    table: ClassVar[str] = "optimize"

    trials: int = Field(30, ge=1, description="Trials of each study, including pruned ones.")
    timeout: float | None = Field(
        None, gt=0, description="Seconds after which a study starts no new trial; default: no limit."
    )
    objective: Literal["loss", "sharpe"] = Field(
        "loss", description="Objective on the validation part: the smallest loss, or the largest Sharpe ratio."
    )
    pruner: Literal["median", "hyperband", "none"] = Field(
        "median", description="Rule that stops trials early, by their validation loss so far."
    )
    storage: str | None = Field(
        None,
        description="Address of a shared storage: redis://host:port/db, or a database such as sqlite:///search.db; "
        "default: a file in the study's folder.",
    )
    stale_after: float = Field(
        600.0, gt=0, description="Seconds without a finished epoch before another worker's trial is taken over."
    )
    features: tuple[str, ...] = Field(
        ("volatility", "rsi", "macd", "boll_width", "atr", "volume_zscore", "momentum", "trend_strength", "range"),
        description="Features that a trial may use, in addition to log_return; rsi(7..28) has a period to search.",
    )
    window: tuple[_Count, _Count] = Field((5, 60), description="Minimum number of bars of context for a forecast.")
    stride: tuple[_Count, _Count] = Field((10, 40), description="Forecasts per pass; 1: a sliding window.")
    hidden_dim: tuple[_Count, _Count] = Field((8, 128), description="Width of an LSTM layer.")
    num_layers: tuple[_Count, _Count] = Field((1, 3), description="LSTM layers.")
    dropout: tuple[_Share, _Share] = Field((0.0, 0.5), description="Fraction dropped between layers while training.")
    batch_size: tuple[_Count, _Count] = Field((32, 512), description="Forecasts per optimiser step.")
    lr: tuple[_Rate, _Rate] = Field((1e-4, 1e-2), description="Adam's learning rate.")

    @field_validator("features", mode="before")
    @classmethod
    def _without_what_is_always_there(cls, given: Any) -> Any:
        names = split_names(given) if isinstance(given, str) else given
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            return given  # pydantic rejects it
        return tuple(dict.fromkeys(name.strip() for name in names if name.strip() not in ("", _ALWAYS)))

    @field_validator("features")
    @classmethod
    def _ascending_periods(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if not 0 < len(_by_period(name)) <= _MOST_PERIODS or len(_PERIODS.findall(name)) > 1:
                raise ValueError(f"{name}: write one range of at most {_MOST_PERIODS} periods, the smallest first")
        return given

    @field_validator(*RANGES, mode="before")
    @classmethod
    def _range_of_one_value(cls, given: Any) -> Any:
        bounds = given.split(",") if isinstance(given, str) else given
        bounds = bounds if isinstance(bounds, list | tuple) else [bounds]
        return tuple(bounds) * 2 if len(bounds) == 1 else tuple(bounds)

    @field_validator(*RANGES)
    @classmethod
    def _ascending(cls, given: tuple[float, float]) -> tuple[float, float]:
        if given[0] > given[1]:
            raise ValueError("the lower bound comes first")
        return given

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "minimize" if self.objective == "loss" else "maximize"

    @property
    def choices(self) -> dict[str, Any]:
        """The search space: ranges and features."""
        return self.model_dump(mode="json", include={"features", *RANGES})

    def suggest(self, trial: Trial) -> NetworkSettings:
        """Draw a trial's settings."""
        for name in RANGES:
            low, high = getattr(self, name)
            if NetworkSettings.model_fields[name].annotation is int:
                trial.suggest_int(name, low, high, log=name in _ON_LOG_SCALE)
            else:
                trial.suggest_float(name, low, high, log=name in _ON_LOG_SCALE)
        for name in self.features:
            trial.suggest_categorical(_parameter(name), [True, False])
            periods = list(_by_period(name))
            if len(periods) > 1:
                trial.suggest_int(_period(name), periods[0], periods[-1])
        return self.network(trial.params)

    def network(self, parameters: Mapping[str, Any]) -> NetworkSettings:
        """The settings of a trial with these parameters."""
        taken = tuple(
            _by_period(name)[parameters.get(_period(name), 0)] for name in self.features if parameters[_parameter(name)]
        )
        return NetworkSettings(features=(_ALWAYS, *taken), **{name: parameters[name] for name in RANGES})

    def parameters(self, network: NetworkSettings) -> dict[str, Any] | None:
        """The parameters of a trial with these settings; None if the search space does not contain them."""
        ranges = {name: getattr(network, name) for name in RANGES}
        inside = all(getattr(self, name)[0] <= value <= getattr(self, name)[1] for name, value in ranges.items())
        choices: dict[str, Any] = {}
        for name in self.features:
            periods = {period: one for period, one in _by_period(name).items() if one in network.features}
            choices[_parameter(name)] = bool(periods)
            if len(_by_period(name)) > 1:
                choices[_period(name)] = next(iter(periods or _by_period(name)))
        parameters = {**ranges, **choices}
        found = set(self.network(parameters).features)
        return parameters if inside and found == set(network.features) else None

    @field_validator("storage")
    @classmethod
    def _is_address(cls, given: str | None) -> str | None:
        if given is not None and "://" not in given:
            raise ValueError("expected an address such as redis://host:port/db or sqlite:///search.db")
        return given

    @property
    def widest(self) -> NetworkSettings:
        """The settings that need the most bars: all features, the longest window and stride."""
        features = dict.fromkeys(one for name in self.features for one in _by_period(name).values())
        return NetworkSettings(features=(_ALWAYS, *features), window=self.window[1], stride=self.stride[1])


def _parameter(feature: str) -> str:
    return f"feature {feature}"


def _period(feature: str) -> str:
    return f"period of {feature}"


def _by_period(feature: str) -> dict[int, str]:
    """The features of a range of periods such as ``rsi(7..28)``, by period; a feature without one, by 0."""
    match = _PERIODS.search(feature)
    if match is None:
        return {0: feature}
    first, last = map(int, match.groups())
    return {period: _PERIODS.sub(str(period), feature, count=1) for period in range(first, last + 1)}
