"""Adds to `Backtest` and `Comparison` how a notebook and `print` show them.

The texts come from the reports, which import these classes; so the methods are added here.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from textwrap import fill
from typing import TypeVar

import pandas as pd

from data.notebook import result_html
from runners.backtesting.comparison import Comparison, compare
from runners.backtesting.engine import backtest
from runners.backtesting.result import Backtest
from runners.backtesting.runs import find_run
from runners.backtesting.settings import BacktestSettings
from runners.report import backtest_tables, comparison_tables
from runners.report.backtest_chart import backtest_chart
from runners.report.charts import LinkedChart
from runners.report.comparison_page import comparison_chart
from runners.report.rendering import render
from runners.report.verdict import verdict

__all__ = ["BacktestSettings", "backtest", "compare", "find_run"]


Result = TypeVar("Result")
_Summary = tuple[str, pd.DataFrame, list[str]]  # title, figures, sentences
_PRINTED = ["Sharpe", backtest_tables.SHARPE_INTERVAL, "max drawdown", "total return", "trades"]
_NOT_RECORDED = (
    "Not recorded as a trial: it does not count, and other results on these bars are not known. To record it, pass "
    'record="results", the folder of a workspace.'
)


def _backtest(result: Backtest) -> _Summary:
    """Figures and verdict of a backtest, and the trials on its bars."""
    index = result.equity.index
    mark = f", {result.mark}" if result.mark else ""
    title = f"{result.source.dataset}, {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {len(index)} bars{mark}"
    figures = pd.DataFrame(backtest_tables.figures(result, result.trials), columns=backtest_tables.FIGURE_COLUMNS)
    trials = result.trials.sentence() if result.trials else _NOT_RECORDED
    return title, figures, [verdict(result, result.trials), trials, *backtest_tables.name_notes(result)]


def _comparison(compared: Comparison) -> _Summary:
    """The figures side by side, and which differences are significant."""
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
    return compared.title, figures, [*sentences, *compared.warnings]


def _text(title: str, figures: pd.DataFrame, sentences: list[str]) -> str:
    """The figures of `_PRINTED`, with title and sentences."""
    names = figures.columns[0]
    printed = figures[figures[names].isin(_PRINTED)].set_index(names).rename_axis(None)
    return "\n".join([title, printed.to_string(), *(fill(sentence, 100) for sentence in sentences)])


def _frame(title: str, chart: LinkedChart) -> str:
    """The chart as a page of its own, in a frame: the notebook's styles and scripts do not disturb it."""
    content = chart.to_html()
    page = render("notebook.html", charts=True, title=title, content=content)
    height = 140 + content["height"]
    return (
        f'<iframe title="{escape(title)}" srcdoc="{escape(page)}" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )


def _add_display(
    kind: type[Result], summary: Callable[[Result], _Summary], chart: Callable[[Result], LinkedChart]
) -> None:
    def html(self: Result) -> str:
        title, figures, sentences = summary(self)
        return f"<div>{result_html(title, figures, sentences)}{_frame(title, chart(self))}</div>"

    def text(self: Result) -> str:
        return _text(*summary(self))

    for name, show in (("_repr_html_", html), ("__repr__", text)):
        setattr(kind, name, show)


_add_display(Backtest, _backtest, backtest_chart)
_add_display(Comparison, _comparison, comparison_chart)
