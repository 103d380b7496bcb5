"""Where a model set comes from: the candles, settings and software of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from pydantic import ConfigDict, TypeAdapter

from data.candles import BarTime

_EXACTLY = ConfigDict(extra="forbid", allow_inf_nan=False)  # how pydantic reads these classes


@dataclass(frozen=True)
class Study:
    """A search that found the settings of a training.

    Attributes
    ----------
    id
        Name of its folder.
    validation_end
        Open time of the last bar that the search has seen.
    bars
        Length of the validation part, on which the trials' Sharpe ratios were measured.
    trials
        Finished trials of each network.
    sharpes
        Sharpe ratio per bar of each network's trials; None where it is not known.
    """

    __pydantic_config__ = _EXACTLY

    id: str
    validation_end: BarTime
    bars: int
    trials: dict[str, int]
    sharpes: dict[str, list[float | None]]

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "validation_end": self.validation_end.isoformat()}


@dataclass(frozen=True)
class Part:
    """The first and the last bar of one part of the series."""

    __pydantic_config__ = _EXACTLY

    first_bar: BarTime
    last_bar: BarTime

    def to_dict(self) -> dict[str, str]:
        return {"first_bar": self.first_bar.isoformat(), "last_bar": self.last_bar.isoformat()}


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a result keeps of the training that made its models.

    Attributes
    ----------
    fingerprint
        `data.candles.fingerprint` of the training's candles.
    last_bar
        Open time of the last of these candles.
    settings
        `training.settings.TrainSettings`, as JSON keeps them.
    study
        None where the settings come from no search.
    """

    __pydantic_config__ = _EXACTLY

    fingerprint: str
    last_bar: BarTime
    settings: dict[str, Any]
    study: Study | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "last_bar": self.last_bar.isoformat(),
            "settings": self.settings,
            **({"study": self.study.to_dict()} if self.study else {}),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        ValueError
            If a value is missing or of another type.
        """
        return _adapter(cls).validate_python(content)  # type: ignore[arg-type]  # mypy 11470: a class is hashable


@dataclass(frozen=True, kw_only=True)
class Provenance(Training):
    """What a model set keeps of its training.

    Attributes
    ----------
    n_bars, first_bar
        Of the training's candles, the test part included.
    split
        The parts ``train``, ``validation`` and ``test``, as far as they hold bars.
    versions
        Version of each package that a result depends on.
    commit
        The code's git commit; None outside a checkout.
    """

    n_bars: int
    first_bar: BarTime
    split: dict[str, Part]
    seed: int
    versions: dict[str, str]
    commit: str | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "n_bars": self.n_bars,
            "first_bar": self.first_bar.isoformat(),
            "last_bar": self.last_bar.isoformat(),
            "split": {name: part.to_dict() for name, part in self.split.items()},
            "settings": self.settings,
            "seed": self.seed,
            "versions": self.versions,
            "commit": self.commit,
            **({"study": self.study.to_dict()} if self.study else {}),
        }


@cache  # building one takes milliseconds, and a list of runs reads thousands
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
