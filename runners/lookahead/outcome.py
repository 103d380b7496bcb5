"""The result of one look-ahead check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Unchecked(NamedTuple):
    """An input that no check can see through, so that the user has to vouch for it.

    Attributes
    ----------
    name
        What ``--vouch`` takes: the name of a column or a feature, or the path of a file.
    reason
        A sentence about it.
    """

    name: str
    reason: str

    def vouched(self, names: Iterable[str]) -> bool:
        """Whether one of these names it, or a folder that it lies in."""
        path = Path(self.name)
        return any(
            name in (self.name, path.name) or (path.is_absolute() and Path(name).resolve() in path.parents)
            for name in names
        )


@dataclass(frozen=True)
class Outcome:
    """Result of one check.

    Attributes
    ----------
    scope
        What was compared, in words and numbers.
    findings
        One sentence per error, with its name, bar and size; empty if there is none.
    unchecked
        The inputs that the check cannot see through.
    """

    name: str
    scope: str
    findings: list[str]
    unchecked: list[Unchecked] = field(default_factory=list)
