"""Writes the folder of a backtest in ``results``."""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import tomli_w

from data.files import mark_latest, new_run_id, require_dataset_name, whole_folder, write_json
from data.import_record import import_notes
from runners.backtesting.metrics import equity_returns
from runners.backtesting.recording import counted, metrics_json
from runners.backtesting.result import Backtest
from runners.backtesting.runs import NOTE, Run
from runners.backtesting.trials import Trials
from runners.report.backtest_page import report_html
from runners.report.style import replace_missing_arial, use_plain_style

_NO_TEARSHEET = """<!doctype html><html lang="en"><meta charset="utf-8"><title>No tearsheet</title>
<p>quantstats cannot make a page for this run: {reason}. The figures are in report.html.</p></html>
"""


class Written(NamedTuple):
    """A backtest, marked if a sweep listed its settings, the trials on its bars, and the folder of its run."""

    result: Backtest
    trials: Trials
    folder: Path


def write_run(
    results: Path, file: Path, result: Backtest, origin: Mapping[str, Any], *, chosen_from: int = 0, note: str = ""
) -> Written:
    """Write a backtest of the candles in ``file``; ``origin`` as in `write_backtest`, ``chosen_from`` in `counted`."""
    result, trials = counted(result, results, chosen_from)
    folder = write_backtest(result, trials, results, candle_file=file, origin=origin, note=note)
    return Written(result, trials, folder)


def write_replay(results: Path, run: Run, result: Backtest, *, note: str) -> Written:
    """`write_run` for a backtest that traded the recorded forecasts of ``run``."""
    return write_run(results, run.file, result, {"forecasts": str(run.folder.resolve())}, note=note)


def write_backtest(
    result: Backtest,
    trials: Trials,
    results: Path,
    *,
    candle_file: Path,
    origin: Mapping[str, Any],
    note: str = "",
) -> Path:
    """Write ``<results>/<dataset>/<run>/``: settings, figures, curves, trades, pages and plots; returns the folder.

    ``origin`` has the entries of ``config.toml`` that reproduce the forecasts (`runs.origin_of_forecasts`). A run that
    was chosen in hindsight does not become the dataset's ``latest``.
    """
    require_dataset_name(result.source.dataset, "dataset")
    folder = results / result.source.dataset / new_run_id()
    with whole_folder(folder) as draft:
        config = {
            "file": str(candle_file.resolve()),
            "fingerprint": result.fingerprint,
            **origin,
            **({"chosen_from": result.source.chosen_from} if result.source.chosen_from else {}),
            "backtest": {name: value for name, value in result.settings if value is not None},
        }
        (draft / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
        write_json(draft / "metrics.json", metrics_json(result))
        result.equity.join(result.curves).to_csv(draft / "equity.csv")
        result.forecasts.to_csv(draft / "forecasts.csv")
        result.trades.to_csv(draft / "trades.csv", index=False)
        command = "walk-forward" if "walk_forward" in origin else "backtest"
        repeat = f"regimes {command} --config {quote(str(folder / 'config.toml'))}"
        page = report_html(result, trials, origin, import_notes(candle_file), repeat)
        (draft / "report.html").write_text(page, encoding="utf-8")
        if note:
            (draft / NOTE).write_text(note + "\n", encoding="utf-8")
    if not result.source.chosen_from:
        mark_latest(folder)
    return folder


def write_tearsheet(result: Backtest, folder: Path) -> None:
    """Write quantstats' page of daily returns: its monthly and yearly tables support no shorter bars.

    It takes as long as the rest of a backtest, so commands write it after everything else.

    Days without a return count, as in the report; quantstats' own choice is to leave out those at the beginning.
    """
    import quantstats

    use_plain_style()
    replace_missing_arial()
    draft = folder / "tearsheet.html.part"
    daily = {}
    for name, equity in (("Strategy", result.equity["equity"]), ("Buy and hold", result.holding_equity)):
        closes = equity.tz_convert(None).resample("D").last().dropna()
        daily[name] = equity_returns(closes.tz_localize("UTC"), result.settings.cash).rename(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantstats 0.0.86 uses deprecated calls of pandas 3.1 and matplotlib 3.11
        try:
            quantstats.reports.html(
                daily["Strategy"],
                benchmark=daily["Buy and hold"],
                title=f"{html.escape(result.source.dataset)}{f' ({result.mark})' if result.mark else ''}",
                output=str(draft),
                periods_per_year=round(min(365.0, result.metrics.bars_per_year)),
                match_dates=False,
                parameters={"Returns": "daily closes"},
            )
        # quantstats fails in many ways on a constant equity or a few days; the run is written all the same.
        except Exception as error:
            draft.write_text(_NO_TEARSHEET.format(reason=html.escape(str(error))), encoding="utf-8")
    draft.rename(draft.with_suffix(""))
