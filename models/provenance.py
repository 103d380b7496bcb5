"""Provenance of a model set: the candles, settings and software of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, Self

from pydantic import AfterValidator, TypeAdapter

from data.candles import BarTime
from data.files import EXACTLY
from data.registry import CodeFile
from data.settings import upgraded


@dataclass(frozen=True)
class Study:
    """The search that chose a training's settings.

    Attributes
    ----------
    id
        Name of its folder.
    validation_end
        Open time of the last bar that the search used.
    bars
        Length of the validation part, the sample of the trials' Sharpe ratios.
    trials
        Number of finished trials by network.
    sharpes
        Sharpe ratios per bar of the trials by network; None where undefined.
    """

    __pydantic_config__ = EXACTLY

    id: str
    validation_end: BarTime
    bars: int
    trials: dict[str, int]
    sharpes: dict[str, list[float | None]]


@dataclass(frozen=True)
class Part:
    """The first and the last bar of one part of the series."""

    __pydantic_config__ = EXACTLY

    first_bar: BarTime
    last_bar: BarTime


@dataclass(frozen=True, kw_only=True)
class Training:
    """The training of a result's models, as far as results record it.

    Attributes
    ----------
    fingerprint
        `data.candles.fingerprint` of the training's candles.
    last_bar
        Open time of the last of these candles.
    settings
        `training.settings.TrainSettings` as JSON.
    study
        None if the settings do not come from a search.
    """

    __pydantic_config__ = EXACTLY

    fingerprint: str
    last_bar: BarTime
    settings: Annotated[dict[str, Any], AfterValidator(partial(upgraded, "train"))]
    study: Study | None = None

    def to_dict(self) -> dict[str, Any]:
        return _to_json(Training, self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; raises a ValueError if a value is missing or of another type."""
        return _adapter(cls).validate_python(content)  # type: ignore[arg-type]  # mypy 11470: a class is hashable


@dataclass(frozen=True, kw_only=True)
class Provenance(Training):
    """The training of a model set.

    Attributes
    ----------
    n_bars, first_bar
        Of the training's candles, the test part included.
    split
        The parts ``train``, ``validation`` and ``test``, without empty ones.
    versions
        Version of each package that affects results.
    commit
        The code's git commit; None outside a checkout.
    code
        The files of own code that define a feature or the detector of the set.
    """

    n_bars: int
    first_bar: BarTime
    split: dict[str, Part]
    seed: int
    versions: dict[str, str]
    commit: str | None
    code: tuple[CodeFile, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return _to_json(Provenance, self)


def _to_json(kind: type[Training], value: Training) -> dict[str, Any]:
    """The fields that ``kind`` declares, as JSON; without ``study`` and ``code`` where there is none."""
    empty = {name for name in ("study", "code") if not getattr(value, name, None)}
    content: dict[str, Any] = _adapter(kind).dump_python(value, mode="json", exclude=empty)  # type: ignore[arg-type]
    return content


@cache  # building one takes milliseconds, and a list of runs may read thousands
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
