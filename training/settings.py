"""Every setting of a training run, with its default, its bounds and what it means."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from data.settings import Settings

_NETWORK_NAME = re.compile(r"bearish|sideways|bullish|regime\d+|all")


class NetworkSettings(Settings):
    """What a network is, what it reads and how it learns: the part of the settings that a search may choose."""

    table: ClassVar[str] = "train"

    features: tuple[str, ...] = Field(
        ("log_return", "volatility", "rsi", "macd", "boll_width"),
        min_length=1,
        description="Inputs of the networks: features or numeric columns of the CSV.",
    )
    window: int = Field(20, ge=1, description="Bars that a forecast comes from at least.")
    stride: int = Field(
        20, ge=1, description="Bars forecast in one pass, the last from window + stride - 1 bars; 1: a sliding window."
    )
    hidden_dim: int = Field(64, ge=1, description="Width of an LSTM layer.")
    num_layers: int = Field(2, ge=1, description="LSTM layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Fraction dropped between layers while training.")
    batch_size: int = Field(128, ge=1, description="Forecasts per optimiser step.")
    lr: float = Field(5e-3, gt=0, description="Adam's learning rate.")

    @field_validator("features", mode="before")
    @classmethod
    def _split_at_commas(cls, given: Any) -> Any:
        return tuple(name.strip() for name in given.split(",")) if isinstance(given, str) else given


class SharedSettings(Settings):
    """What all networks of a training share: the part of the settings that a search leaves alone."""

    table: ClassVar[str] = "train"

    epochs: int = Field(30, ge=1, description="Passes over the training windows at most.")
    patience: int = Field(5, ge=1, description="Stop after so many epochs without a better validation loss.")
    min_windows: int = Field(
        100, ge=1, description="A regime with fewer training windows uses the all-regimes network."
    )
    detector: str = Field("auto", description="hmm, trend or labels; auto: labels if the CSV has a regime column.")
    min_confidence: float = Field(0.0, ge=0, le=1, description="Probability that a new regime needs.")
    min_dwell: int = Field(1, ge=1, description="Bars in a row that a new regime needs to be the likeliest.")
    train_fraction: float = Field(0.7, gt=0, lt=1, description="Share of the bars, from the start, to train on.")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="Share after that for early stopping.")
    seed: int = Field(0, ge=0, description="Same seed, same data: the same weights.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where networks train: cpu, cuda (a GPU), or auto: a GPU if there is one."
    )


class TrainSettings(SharedSettings, NetworkSettings):
    """Settings of one training; the command line's flags and the TOML file's ``[train]`` table are made of it."""

    networks: dict[str, NetworkSettings] = Field(
        {}, description="What differs for one network: a regime's, or `all` for the all-regimes network."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_networks(cls, given: Any) -> Any:
        """Give each network's table the values that stand outside it for what it leaves out."""
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
        """The settings of one network, by its regime's name or ``all``."""
        return self.networks.get(network) or NetworkSettings(
            **{name: getattr(self, name) for name in NetworkSettings.model_fields}
        )

    def without_test(self) -> Self:
        """The same with the bars of the test part shared out among training and validation."""
        seen = self.train_fraction + self.validation_fraction
        shares = {"train_fraction": self.train_fraction / seen, "validation_fraction": self.validation_fraction / seen}
        return self.model_copy(update=shares)

    @property
    def every_network(self) -> list[NetworkSettings]:
        """The common settings and each of those that differ."""
        return [self.of(""), *self.networks.values()]


class WalkForwardSettings(Settings):
    """When a walk-forward retrains, and on what; flags and the TOML file's ``[walk_forward]`` table are made of it."""

    table: ClassVar[str] = "walk_forward"

    train_bars: int | None = Field(
        None, ge=1, description="Bars that each fold learns from, validation included; default: half of all."
    )
    test_bars: int | None = Field(
        None, ge=2, description="Bars that each fold then forecasts and trades; default: a tenth of all."
    )
    expanding: bool = Field(False, description="Learn from all bars so far, not from the newest train_bars alone.")
    embargo: int = Field(0, ge=0, description="Bars left out between learning and trading.")
    warm_start: bool = Field(False, description="Begin each fold's networks as those of the fold before.")

    def for_bars(self, n_bars: int) -> FoldLengths:
        """Bars to learn from and to trade in each fold of a series of ``n_bars``."""
        return FoldLengths(self.train_bars or max(1, n_bars // 2), self.test_bars or max(2, n_bars // 10))


class FoldLengths(NamedTuple):
    """Of one fold, in bars."""

    train_bars: int
    test_bars: int
