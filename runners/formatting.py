"""Formats figures for people; an undefined figure is a dash."""

from __future__ import annotations

import re

NOT_DEFINED = "-"
_UNBROKEN = re.compile(r"(?<=\d) (?=%)|(?<=\bp) (?=[=<])|(?<=\bp [=<]) (?=[\d<])|(?<=\(difference) ")


def visible(text: str) -> str:
    """The text with an escape such as ``\\x1b`` for each character that does not print; line breaks stay."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


def number(value: float | None, digits: int = 2) -> str:
    return NOT_DEFINED if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    return NOT_DEFINED if low is None or high is None else f"{low:.2f} to {high:.2f}"


def signed_percent(value: float | None) -> str:
    return NOT_DEFINED if value is None else f"{100 * value:+.2f}"


def percent(value: float | None) -> str:
    return NOT_DEFINED if value is None else f"{100 * value:.1f} %"


def points(log_return: float) -> str:
    """A log return in basis points."""
    return f"{1e4 * log_return + 0.0:.2f}"


def unbroken(sentence: str) -> str:
    """Put no-break spaces where a line must not break, such as between a number and its per cent sign."""
    return _UNBROKEN.sub("\N{NO-BREAK SPACE}", sentence)
