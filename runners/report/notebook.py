"""Backtests and comparisons as a notebook and `print` show them; whoever imports this module teaches them to.

What they show is made by the reports, which know them; so they cannot know it themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill
from typing import NamedTuple, TypeVar

import pandas as pd

from data.notebook import result_html
from runners.backtesting.comparison import Comparison, compare
from runners.backtesting.engine import backtest
from runners.backtesting.result import Backtest
from runners.backtesting.runs import Trials, find_run
from runners.backtesting.settings import BacktestSettings
from runners.report import backtest_tables, comparison_tables

__all__ = ["BacktestSettings", "backtest", "compare", "find_run"]


Result = TypeVar("Result")
_SHORTLY = ["Sharpe", "95 % interval", "max drawdown", "total return", "trades"]


class _Shown(NamedTuple):
    """A result as it is shown: in full in a notebook, the figures of `_SHORTLY` where it is printed."""

    title: str
    figures: pd.DataFrame
    sentences: list[str]

    def html(self) -> str:
        return result_html(*self)

    def text(self) -> str:
        names = self.figures.columns[0]
        few = self.figures[self.figures[names].isin(_SHORTLY)].set_index(names)
        lines = [few.rename_axis(None).to_string(), *(fill(sentence, 100) for sentence in self.sentences)]
        return "\n".join([self.title, *lines])


def _backtest(result: Backtest) -> _Shown:
    """Its figures and what they are worth; other tries on these bars are not known here."""
    index = result.equity.index
    mark = f", {result.mark}" if result.mark else ""
    title = f"{result.source.dataset}, {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {len(index)} bars{mark}"
    figures = pd.DataFrame(backtest_tables.figures(result, Trials(1, 0.0)), columns=backtest_tables.FIGURE_COLUMNS)
    return _Shown(title, figures, [backtest_tables.verdict(result)])


def _comparison(compared: Comparison) -> _Shown:
    """The figures side by side, and which differences are real."""
    columns = ["", *(one.label for one in compared.runs)]
    figures = pd.DataFrame(
        [[name, *values] for name, values, _ in comparison_tables.figures(compared)], columns=columns
    )
    legend = [
        f"{label}: {run}, models {models}, {dataset}"
        for label, run, models, dataset in comparison_tables.legend(compared)
    ]
    notes = [f"{label}: {note}" for label, note in comparison_tables.notes(compared)]
    sentences = [comparison_tables.common_bars(compared), *legend, *notes, *comparison_tables.verdicts(compared)]
    return _Shown(compared.title, figures, sentences)


def _teach(kind: type[Result], shown: Callable[[Result], _Shown]) -> None:
    """Let a notebook, and `print`, show results of a kind so."""
    for name, show in (("_repr_html_", _Shown.html), ("__repr__", _Shown.text)):
        setattr(kind, name, lambda self, show=show: show(shown(self)))


_teach(Backtest, _backtest)
_teach(Comparison, _comparison)
