"""Renders the page of a backtest as self-contained HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.candles import time_text
from data.intervals import interval_text
from data.settings import flat_settings
from data.windows import targets
from models.forecaster import densities, member_forecasts
from models.provenance import Provenance
from runners.backtesting.runs import origin_of_forecasts
from runners.report import backtest_tables, fold_tables
from runners.report.backtest_chart import backtest_chart
from runners.report.cards import cards, member_strip
from runners.report.months import MONTH_COLUMNS, monthly_returns
from runners.report.plain_charts import deciles, embedded, pit_histogram
from runners.report.plots import backtest_svg
from runners.report.rendering import render
from runners.report.trades import trade_table, trades_json
from runners.report.verdict import headline, verdict
from training.drawdowns import INTERVAL_NOTE

if TYPE_CHECKING:
    from bokeh.plotting import figure

    from runners.backtesting.result import Backtest
    from runners.backtesting.trials import Trials

_PIT_BINS = 10


def report_html(
    result: Backtest, trials: Trials, origin: Mapping[str, Any], import_notes: Sequence[str] = (), repeat: str = ""
) -> str:
    """The report of a backtest; ``origin`` as in `runners.report.write_run.write_backtest`.

    ``import_notes`` say how the candles were made (`data.import_record.import_notes`); ``repeat`` is the command that
    repeats the run.
    """
    index, source, outcome = result.equity.index, result.source, targets(result.candles["close"].to_numpy())
    by_decile = deciles(member_forecasts(result.forecasts).mean(axis=1), outcome)
    calibration, trades = _calibration(result, outcome), trade_table(result)
    return render(
        "page.html",
        charts=True,
        dataset=source.dataset,
        mark=result.mark,
        first=time_text(index[0]),
        last=f"{time_text(index[-1])} UTC",
        interval=interval_text(source.interval),
        metrics=result.metrics,
        headline=headline(result, trials),
        verdict=verdict(result, trials),
        trial_sentence=trials.sentence() if trials.count > 1 else "",
        cards=cards(result, trials),
        strip=member_strip(result),
        chart_content=backtest_chart(result).to_html(),
        static=backtest_svg(result),
        figures=backtest_tables.figures(result, trials),
        drawdown_note=INTERVAL_NOTE,
        member_columns=backtest_tables.MEMBER_COLUMNS,
        members=backtest_tables.members(result.members),
        yardstick_columns=backtest_tables.YARDSTICK_COLUMNS,
        yardsticks=backtest_tables.yardsticks(result),
        yardstick_luck=backtest_tables.yardstick_luck(result),
        deciles=by_decile and embedded(by_decile),
        calibration=calibration and embedded(calibration),
        regime_columns=backtest_tables.EARNING_COLUMNS,
        regime_rows=backtest_tables.regime_earnings(result),
        name_notes=backtest_tables.name_notes(result),
        month_columns=MONTH_COLUMNS,
        months=monthly_returns(result.equity["equity"], result.settings.cash),
        expert_columns=backtest_tables.EXPERT_COLUMNS,
        experts=backtest_tables.experts(source.model_set) if source.model_set else [],
        notes=source.model_set.expert_notes() if source.model_set else [],
        fold_columns=fold_tables.FOLD_COLUMNS,
        fold_notes=fold_tables.fold_notes(result),
        folds=fold_tables.folds(result),
        trades=trades_json(trades) if len(trades) else "",
        still_open=len(result.open_trade) > 0,
        provenance=[*_provenance(result, origin), *(("candles imported", note) for note in import_notes)],
        repeat=repeat,
    )


def _calibration(result: Backtest, outcome: np.ndarray) -> figure | None:
    """Of the predictive densities, if the forecasts have them."""
    mixture = densities(result.forecasts)
    if mixture is None:
        return None
    transforms = mixture.cdf(outcome)
    known = transforms[np.isfinite(transforms)]
    return pit_histogram(np.histogram(known, _PIT_BINS, (0, 1))[0] / max(1, len(known)), len(known))


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
