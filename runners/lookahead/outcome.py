"""The result of one look-ahead check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Result of one check.

    Attributes
    ----------
    scope
        What was compared, in words and numbers.
    findings
        One sentence per error, with its name, bar and size; empty if there is none.
    """

    name: str
    scope: str
    findings: list[str]
