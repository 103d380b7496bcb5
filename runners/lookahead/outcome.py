"""What a check looked at, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """Result of one check.

    Attributes
    ----------
    name
        Of the check.
    looked_at
        What was compared, in words and numbers.
    findings
        A sentence for each thing that is wrong, naming it, its bar and its size; empty where the check is clean.
    """

    name: str
    looked_at: str
    findings: list[str] = field(default_factory=list)
