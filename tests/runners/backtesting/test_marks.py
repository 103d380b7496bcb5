"""A backtest on the CSV's regimes is marked wherever its figures appear."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from models import ModelSet
from runners.backtesting.engine import backtest
from runners.backtesting.marks import REGIME_COLUMN
from runners.backtesting.runs import find_run
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import ALONE
from runners.report.comparison_tables import run_row
from runners.report.verdict import verdict
from runners.report.write_run import write_backtest
from tests.conftest import to_csv


def test_figures_on_the_csv_s_regimes_are_marked(labelled: pd.DataFrame, model_set: ModelSet, tmp_path: Path) -> None:
    low = BacktestSettings(regime_source="column", long_threshold=-0.001, short_threshold=-0.002)
    result = backtest(labelled, model_set, low)
    folder = write_backtest(
        result, ALONE, tmp_path, candle_file=to_csv(labelled, tmp_path / "SWITCH.csv"), origin={"models": "none"}
    )
    run = find_run(tmp_path, str(folder))
    assert result.mark == run.mark == REGIME_COLUMN
    assert f"on unseen bars, with {REGIME_COLUMN}, which nobody can check for look-ahead" in verdict(result, ALONE)
    assert run_row(run, None)[-1] == f"backtest, {REGIME_COLUMN.upper()}"
    assert f'<span class="mark">{REGIME_COLUMN}</span>' in (folder / "report.html").read_text()


def test_the_detector_s_regimes_need_no_mark(labelled: pd.DataFrame, model_set: ModelSet) -> None:
    assert backtest(labelled, model_set, BacktestSettings()).mark == ""
