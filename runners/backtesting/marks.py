"""Marks to show with all figures of a backtest that do not prove what they seem to."""

from __future__ import annotations

from models.settings import ForecastSettings

BANKRUPT = "bankrupt"
REGIME_COLUMN = "regimes from the CSV"


def regime_mark(settings: ForecastSettings) -> str:
    """`REGIME_COLUMN` if the CSV gives the regimes, because nobody can check that they were known at each close."""
    return REGIME_COLUMN if settings.regime_source == "column" else ""


def marks(*, in_sample: bool, chosen: bool, settings: ForecastSettings, bankrupt: bool) -> str:
    """All marks, separated by commas: ``in-sample`` or ``chosen in hindsight``, `REGIME_COLUMN`, `BANKRUPT`."""
    seen = "in-sample" if in_sample else "chosen in hindsight" if chosen else ""
    return ", ".join(filter(None, [seen, regime_mark(settings), BANKRUPT if bankrupt else ""]))
