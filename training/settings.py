"""The settings of trainings and walk-forwards: defaults, bounds and descriptions."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from data.settings import Names, Settings

_NETWORK_NAME = re.compile(r"bearish|sideways|bullish|regime\d+|all")


class NetworkSettings(Settings):
    """Settings of one network, which a search can optimise."""

    table: ClassVar[str] = "train"

    features: Names = Field(
        ("log_return", "volatility", "rsi", "macd", "boll_width"),
        min_length=1,
        description="Inputs of the networks: features or numeric columns of the CSV.",
    )
    window: int = Field(20, ge=1, le=1_000_000, description="Minimum number of bars of context for a forecast.")
    stride: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="Forecasts per pass, the last with window + stride - 1 bars of context; 1: a sliding window.",
    )
    hidden_dim: int = Field(64, ge=1, le=10_000, description="Width of an LSTM layer.")
    num_layers: int = Field(2, ge=1, le=100, description="LSTM layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Fraction dropped between layers while training.")
    batch_size: int = Field(128, ge=1, description="Forecasts per optimiser step.")
    lr: float = Field(5e-3, gt=0, description="Adam's learning rate.")


class SharedSettings(Settings):
    """Settings that all networks of a training share."""

    table: ClassVar[str] = "train"

    members: int = Field(5, ge=1, le=20, description="Networks per regime, trained from different seeds; they vote.")
    epochs: int = Field(30, ge=1, description="Maximum number of passes over the training windows.")
    patience: int = Field(5, ge=1, description="Epochs without a better validation loss before training stops.")
    min_windows: int = Field(
        100, ge=1, description="A regime with fewer training windows uses the all-regimes network."
    )
    detector: str = Field("auto", description="hmm, trend or labels; auto: labels if the CSV has a regime column.")
    n_states: int | Literal["auto"] = Field(
        3, description="States of the detector hmm: 2 to 6, or auto for the number with the smallest BIC."
    )
    regime_features: Names = Field(
        ("log_return", "volatility"), description="Features that the detector hmm observes, log_return first."
    )
    min_confidence: float = Field(0.0, ge=0, le=1, description="Minimum probability of a new regime.")
    min_dwell: int = Field(1, ge=1, description="Consecutive bars that a new regime must be the most likely one.")
    train_fraction: float = Field(0.7, gt=0, lt=1, description="Share of the bars for training, from the start.")
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share of the bars after those, for early stopping."
    )
    seed: int = Field(0, ge=0, description="Random seed; the same seed and data give the same weights.")
    density: bool = Field(True, description="Train a predictive density, too: scale, quantiles, probabilities.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where networks train: cpu, cuda (a GPU), or auto: a GPU if there is one."
    )

    @field_validator("n_states")
    @classmethod
    def _two_to_six(cls, given: int | str) -> int | str:
        if isinstance(given, int) and not 2 <= given <= 6:
            raise ValueError("must be 2 to 6, or auto")
        return given


class TrainSettings(SharedSettings, NetworkSettings):
    """Settings of one training: flags of the command line, and the table ``[train]`` of regimes.toml."""

    networks: dict[str, NetworkSettings] = Field(
        {}, description="Other values for single networks, by regime, or `all` for the all-regimes network."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_networks(cls, given: Any) -> Any:
        """Fill each network's table with the common values that it does not override."""
        if not isinstance(given, dict) or not isinstance(given.get("networks"), dict):
            return given
        common = {name: given[name] for name in NetworkSettings.model_fields if name in given}
        tables = given["networks"].items()
        return {
            **given,
            "networks": {name: {**common, **table} if isinstance(table, dict) else table for name, table in tables},
        }

    @field_validator("networks")
    @classmethod
    def _known_networks(cls, given: dict[str, NetworkSettings]) -> dict[str, NetworkSettings]:
        for name in given:
            if not _NETWORK_NAME.fullmatch(name):
                raise ValueError(f"there is no network {name!r}; known: bearish, sideways, bullish, regime3 ..., all")
        return given

    def of(self, network: str) -> NetworkSettings:
        """The settings of one network: a regime's name, or ``all``."""
        return self.networks.get(network) or NetworkSettings(
            **{name: getattr(self, name) for name in NetworkSettings.model_fields}
        )

    def without_test(self) -> Self:
        """The same settings without a test part: training and validation keep their ratio."""
        seen = self.train_fraction + self.validation_fraction
        shares = {"train_fraction": self.train_fraction / seen, "validation_fraction": self.validation_fraction / seen}
        return self.model_copy(update=shares)

    @property
    def every_network(self) -> list[NetworkSettings]:
        """The common settings and those of single networks."""
        return [self.of(""), *self.networks.values()]


class WalkForwardSettings(Settings):
    """Settings of a walk-forward: flags, and the table ``[walk_forward]`` of regimes.toml."""

    table: ClassVar[str] = "walk_forward"

    train_bars: int | None = Field(
        None, ge=1, description="Bars that each fold is trained on, including validation; default: half of all."
    )
    test_bars: int | None = Field(
        None, ge=2, description="Bars that each fold forecasts and trades; default: a tenth of all."
    )
    expanding: bool = Field(False, description="Train on all bars so far, instead of the newest train_bars.")
    embargo: int = Field(0, ge=0, description="Bars left out between training and trading.")
    warm_start: bool = Field(False, description="Start each fold's networks with the previous fold's weights.")

    def for_bars(self, n_bars: int) -> FoldLengths:
        """Bars to train on and to trade in each fold of a series of ``n_bars``."""
        return FoldLengths(self.train_bars or max(1, n_bars // 2), self.test_bars or max(2, n_bars // 10))


class FoldLengths(NamedTuple):
    """Lengths of a fold, in bars."""

    train_bars: int
    test_bars: int
