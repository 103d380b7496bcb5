"""Every setting of a training run, with its default, its bounds and what it means."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class TrainSettings(BaseModel):
    """Settings of one training run; the command line's flags and the TOML file's ``[train]`` table are made of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[str, ...] = Field(
        ("log_return", "volatility", "rsi", "macd", "boll_width"),
        min_length=1,
        description="Inputs of the networks: features or numeric columns of the CSV.",
    )
    window: int = Field(20, ge=1, description="Bars in a window.")
    hidden_dim: int = Field(64, ge=1, description="Width of an LSTM layer.")
    num_layers: int = Field(2, ge=1, description="LSTM layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Fraction dropped between layers while training.")
    batch_size: int = Field(32, ge=1, description="Windows per optimiser step.")
    lr: float = Field(1e-3, gt=0, description="Adam's learning rate.")
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

    @field_validator("features", mode="before")
    @classmethod
    def _split_at_commas(cls, given: Any) -> Any:
        return tuple(name.strip() for name in given.split(",")) if isinstance(given, str) else given
