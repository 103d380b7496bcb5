"""Backtests and comparisons as a notebook shows them; whoever imports this module teaches them to.

What they show is made by the reports, which know them; so they cannot know it themselves.
"""

from __future__ import annotations

import pandas as pd

from data.notebook import result_html
from runners.comparison import Comparison, compare
from runners.registry import Trials, find_run
from runners.report import side_by_side, tables
from runners.settings import BacktestSettings
from runners.simulation import Backtest, backtest

__all__ = ["BacktestSettings", "backtest", "compare", "find_run"]


def _backtest_html(result: Backtest) -> str:
    """Its figures and what they are worth; other tries on these bars are not known here."""
    index = result.equity.index
    mark = f", {result.mark}" if result.mark else ""
    title = f"{result.source.dataset}, {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {len(index)} bars{mark}"
    figures = pd.DataFrame(tables.figures(result, Trials(1, 0.0)), columns=tables.FIGURE_COLUMNS)
    return result_html(title, figures, [tables.verdict(result)])


def _comparison_html(compared: Comparison) -> str:
    """The figures side by side, and which differences are real."""
    columns = ["", *(one.label for one in compared.runs)]
    figures = pd.DataFrame([[name, *values] for name, values, _ in side_by_side.figures(compared)], columns=columns)
    legend = [
        f"{label}: {run}, models {models}, {dataset}{note and f', {note}'}"
        for label, run, models, dataset, note in side_by_side.legend(compared)
    ]
    sentences = [side_by_side.bars_said(compared), *legend, *side_by_side.verdicts(compared)]
    return result_html(compared.title, figures, sentences)


Backtest._repr_html_ = _backtest_html  # type: ignore[attr-defined]
Comparison._repr_html_ = _comparison_html  # type: ignore[attr-defined]
