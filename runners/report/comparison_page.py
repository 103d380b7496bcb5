"""Renders the page of comparisons as self-contained HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from data.intervals import interval_of
from runners.backtesting.metrics import drawdown
from runners.report import comparison_tables
from runners.report.chart_parts import LineStyle
from runners.report.charts import LinkedChart
from runners.report.plain_charts import embedded, risk_scatter
from runners.report.plots import comparison_svg
from runners.report.rendering import render
from runners.report.style import HOLDING_COLOUR, INK, PAGE_INK, RUN_COLOURS

if TYPE_CHECKING:
    from runners.backtesting.comparison import Comparison


def comparison_html(comparisons: Sequence[Comparison]) -> str:
    """The page of one or more comparisons."""
    return render("compare.html", charts=True, comparisons=[_content(one) for one in comparisons])


def _content(one: Comparison) -> dict[str, Any]:
    return {
        "title": one.title,
        "common_bars": comparison_tables.common_bars(one),
        "verdicts": comparison_tables.verdicts(one),
        "legend_columns": comparison_tables.LEGEND_COLUMNS,
        "legend": comparison_tables.legend(one),
        "notes": comparison_tables.notes(one),
        "warnings": one.warnings,
        "labels": [run.label for run in one.runs],
        "figures": comparison_tables.figures(one),
        "luck": comparison_tables.luck(one),
        "differing": [[name, *values] for name, values in one.differing],
        "chart": comparison_chart(one).to_html(),
        "static": comparison_svg(one),
        "scatter": embedded(risk_scatter(comparison_tables.risks(one))),
        "strips": comparison_tables.run_strips(one),
    }


def comparison_chart(one: Comparison) -> LinkedChart:
    """Growth and drawdown of each run and of holding, over the common bars."""
    index = pd.DatetimeIndex(one.runs[0].growth.index)
    chart = LinkedChart(index, interval_of(index))
    growth = chart.pane("equity, 1 at the start", 320, "0.[00]a", log=True)
    falls = chart.pane("drawdown", 150, "0.[0] %", levels=(0,), times=True)
    curves = [("buy and hold", one.holding, LineStyle(HOLDING_COLOUR, dash=1))]
    for number, run in enumerate(one.runs):
        colour = RUN_COLOURS[number % len(RUN_COLOURS)]
        style = LineStyle(PAGE_INK if colour == INK else colour, 1.6, dash=number // len(RUN_COLOURS))
        curves.append((run.label, run.growth, style))
    for name, curve, style in curves:
        column = chart.column(name, curve)
        chart.line(growth, name, column, style)
        chart.read(name, column, "growth")
        chart.line(falls, "", chart.column(f"drawdown of {name}", drawdown(curve.to_numpy(), 1.0), "min"), style)
        chart.read(f"{name} drawdown", f"drawdown of {name}", "percent")
    return chart
