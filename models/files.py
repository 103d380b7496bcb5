"""Schemas of a model set's JSON files: fields, types and bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from data.candles import BarTime
from data.files import JsonFile
from models.provenance import Provenance
from models.regime_returns import UNKNOWN_RETURNS, RegimeReturns
from models.shrinkage import Shrinkage

FORMAT_VERSION = 3
READABLE_VERSIONS = (2, 3)  # 2 had one member and no shrinkage

_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Number = Annotated[float, Field(gt=-1e100, lt=1e100)]  # so that no product overflows
_Scale = Annotated[float, Field(gt=1e-100, lt=1e100)]
_Exponent = Annotated[float, Field(ge=-10, le=10)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ManifestFile(JsonFile):
    """``model_set.json``."""

    format_version: Literal[2, 3]
    dataset: str = Field(pattern="^[^/]+$")
    regimes: dict[str, int]
    interval_seconds: float = Field(ge=1e-6, le=1e9)
    validation_end: BarTime
    min_confidence: float = Field(ge=0, le=1)
    min_dwell: _Count
    shrinkage: Shrinkage | None = None
    regime_returns: RegimeReturns = UNKNOWN_RETURNS
    provenance: Provenance
    sha256: dict[str, _Sha256]
    content_sha256: _Sha256


class Hyperparameters(JsonFile):
    window: _Count
    stride: _Count
    hidden_dim: int = Field(ge=1, le=10_000)
    num_layers: int = Field(ge=1, le=100)
    dropout: float = Field(ge=0, lt=1)
    members: int = Field(1, ge=1, le=1000)


class _Scaler(JsonFile):
    mean: list[_Number]
    scale: list[_Scale]


class _MemberTraining(JsonFile):
    """Of one member; format 2 has these values beside those of `_Training`."""

    best_epoch: int = Field(0, ge=0)
    train_losses: list[float] = []
    validation_losses: list[float] = []


class _Training(_MemberTraining):
    """`models.expert.Expert.training`; settings that it also has are not checked."""

    model_config = ConfigDict(extra="allow")

    fallback: str | None
    validation_part: str
    windows: dict[str, int] = {}
    relative_loss: dict[str, float | None] = {}
    members: list[_MemberTraining] = []


class NetworksFile(JsonFile):
    """What describes the networks of an ensemble."""

    features: list[str] = Field(min_length=1)
    hyperparameters: Hyperparameters
    scaler: _Scaler
    sha256: _Sha256


class ExpertFile(NetworksFile):
    """``LSTM_<dataset>_<regime>.json``."""

    regime: str
    target_scale: _Scale
    training: _Training


class _Correction(JsonFile):
    location: _Exponent
    log_scale: _Exponent
    tail: _Exponent


class DensityFile(NetworksFile):
    """``LSTM_<dataset>_density.json``."""

    corrections: dict[str, _Correction]
    training: dict[str, Any]


class DetectorFile(JsonFile):
    """``detector.json``."""

    detector: str
    parameters: dict[str, Any]


class DetectorAttributes(JsonFile):
    """Attributes of a `models.regimes.RegimeDetector` that a file's parameters can set."""

    features: tuple[str, ...]
    regimes: tuple[int, ...]
    memory: _Count
