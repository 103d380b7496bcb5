"""Renders the pages of a backtest and of comparisons as self-contained HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader

from data.candles import time_text
from data.intervals import interval_text
from data.settings import flat_settings
from models.provenance import Provenance
from runners.backtesting.runs import origin_of_forecasts
from runners.formatting import unbroken
from runners.report import backtest_tables, comparison_tables
from runners.report.plots import backtest_svgs, comparison_svg, deciles_svg
from runners.report.trades import TRADE_COLUMNS, trade_rows
from runners.report.verdict import verdict
from training.drawdowns import INTERVAL_NOTE

if TYPE_CHECKING:
    from runners.backtesting.comparison import Comparison
    from runners.backtesting.result import Backtest
    from runners.backtesting.trials import Trials


def report_html(result: Backtest, trials: Trials, origin: Mapping[str, Any], import_notes: Sequence[str] = ()) -> str:
    """The report of a backtest; ``origin`` as in `runners.report.write_run.write_backtest`.

    ``import_notes`` say how the candles were made (`data.import_record.import_notes`).
    """
    index, source = result.equity.index, result.source
    return render(
        "page.html",
        dataset=source.dataset,
        mark=result.mark,
        first=time_text(index[0]),
        last=f"{time_text(index[-1])} UTC",
        interval=interval_text(source.interval),
        metrics=result.metrics,
        verdict=verdict(result, trials),
        trial_sentence=trials.sentence() if trials.count > 1 else "",
        figures=backtest_tables.figures(result, trials),
        drawdown_note=INTERVAL_NOTE,
        member_columns=backtest_tables.MEMBER_COLUMNS,
        members=backtest_tables.members(result.members),
        yardstick_columns=backtest_tables.YARDSTICK_COLUMNS,
        yardsticks=backtest_tables.yardsticks(result),
        plots=backtest_svgs(result),
        deciles=deciles_svg(result),
        regime_columns=backtest_tables.EARNING_COLUMNS,
        regime_rows=backtest_tables.regime_earnings(result),
        name_notes=backtest_tables.name_notes(result),
        month_columns=backtest_tables.MONTH_COLUMNS,
        months=backtest_tables.monthly_returns(result.equity["equity"], result.settings.cash),
        expert_columns=backtest_tables.EXPERT_COLUMNS,
        experts=backtest_tables.experts(source.model_set) if source.model_set else [],
        notes=source.model_set.expert_notes() if source.model_set else [],
        fold_columns=backtest_tables.FOLD_COLUMNS,
        fold_notes=backtest_tables.fold_notes(result),
        folds=backtest_tables.folds(result),
        trade_columns=TRADE_COLUMNS,
        trades=trade_rows(result),
        still_open=len(result.open_trade) > 0,
        provenance=[*_provenance(result, origin), *(("candles imported", note) for note in import_notes)],
    )


def comparison_html(comparisons: Sequence[Comparison]) -> str:
    """The page of one or more comparisons."""
    contents = [
        {
            "title": one.title,
            "common_bars": comparison_tables.common_bars(one),
            "verdicts": comparison_tables.verdicts(one),
            "legend_columns": comparison_tables.LEGEND_COLUMNS,
            "legend": comparison_tables.legend(one),
            "notes": comparison_tables.notes(one),
            "warnings": one.warnings,
            "labels": [run.label for run in one.runs],
            "figures": comparison_tables.figures(one),
            "plot": comparison_svg(one),
            "differing": [[name, *values] for name, values in one.differing],
        }
        for one in comparisons
    ]
    return render("compare.html", comparisons=contents)


def render(template: str, **values: object) -> str:
    """Render a template of this folder."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return unbroken(environment.get_template(template).render(**values))


def _provenance(result: Backtest, origin: Mapping[str, Any]) -> list[tuple[str, str]]:
    trained, model_set = result.source.training, result.source.model_set
    versions = trained.versions if isinstance(trained, Provenance) else {}
    rows = [(name.replace("_", " "), value) for name, value in result.settings.model_dump(mode="json").items()]
    settings = flat_settings("training", trained.settings)
    settings |= flat_settings("walk-forward", origin.get("walk_forward", {}))
    rows += [(name.replace("_", " "), value) for name, value in settings.items()]
    rows.append(("models", origin_of_forecasts(origin)))
    if model_set:
        rows += [("detector", model_set.detector.name), ("training seen up to", model_set.validation_end)]
        rows.append(("shrinkage weights", model_set.shrinkage or "not learnt"))
    if trained.study:
        rows.append(("settings from study", trained.study.id))
    rows += [
        ("candles sha256", result.fingerprint),
        ("training candles sha256", trained.fingerprint),
        ("commit", (isinstance(trained, Provenance) and trained.commit) or "unknown"),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
    ]
    return [(name, "default" if value is None else str(value)) for name, value in rows]
