"""Formats figures for people; an undefined figure is a dash."""

from __future__ import annotations

import re

NOT_DEFINED = "-"
_UNBROKEN = re.compile(r"(?<=\d) (?=%|bp\b)|(?<=\b[pt]) (?=[=<])|(?<=\b[pt] [=<]) (?=[-\d<])|(?<=\(difference) ")


def visible(text: str) -> str:
    """The text with an escape such as ``\\x1b`` for each character that does not print; line breaks stay."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


def number(value: float | None, digits: int = 2) -> str:
    return NOT_DEFINED if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    """An interval whose ends are never rounded to 0, if it does not contain 0."""
    from training.scores import rounded

    if low is None or high is None:
        return NOT_DEFINED
    return f"{rounded(low, 2, lambda end: end > 0)} to {rounded(high, 2, lambda end: end < 0)}"


def percent_interval(low: float | None, high: float | None) -> str:
    """An interval of losses, the smaller loss first."""
    return NOT_DEFINED if low is None or high is None else f"{100 * high:.1f} to {100 * low:.1f} %"


def signed_percent(value: float | None) -> str:
    return NOT_DEFINED if value is None else f"{100 * value:+.2f}"


def percent(value: float | None) -> str:
    return NOT_DEFINED if value is None else f"{100 * value:.1f} %"


def percent_earned(total_return: float | None) -> str:
    """A total return; one that left nothing is marked, because the account may owe more than it had."""
    return f"{percent(total_return)}{' BANKRUPT' if total_return is not None and total_return <= -1 else ''}"


def probability_above_zero(value: float | None) -> str:
    """A probability that a Sharpe ratio is above 0, never rounded across `SIGNIFICANT_PROBABILITY`."""
    from training.scores import rounded
    from training.sharpe import SIGNIFICANT_PROBABILITY

    if value is None:
        return NOT_DEFINED
    return f"{rounded(100 * value, 1, lambda shown: shown > 100 * SIGNIFICANT_PROBABILITY)} %"


def points(log_return: float) -> str:
    """A log return in basis points."""
    return f"{1e4 * log_return + 0.0:.2f}"


def unbroken(sentence: str) -> str:
    """Put no-break spaces where a line must not break, such as between a number and its per cent sign."""
    return _UNBROKEN.sub("\N{NO-BREAK SPACE}", sentence)
