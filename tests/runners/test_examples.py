"""The examples run unchanged on small models, with warnings as errors."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from models import ModelSet
from runners import BacktestSettings, backtest
from runners.lookahead.orders import Cuts, orders
from runners.lookahead.under_test import code_under_test
from tests.conftest import ROOT, SMALL, switching_candles, to_csv
from training import TrainSettings, train

EXAMPLES = ROOT / "runners" / "examples"


@pytest.fixture(scope="module")
def csv(candles: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_csv(candles, tmp_path_factory.mktemp("csv") / "SWITCH.csv")


def run_example(name: str, *arguments: Path) -> str:
    """What an example prints."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_position_sized_by_the_forecast_is_traded_on_unseen_bars(csv: Path, saved: Path) -> None:
    results = re.findall(
        r"(\w+): final value ([\d,.]+), (\d+) orders?\n", run_example("sized_by_forecast.py", csv, saved)
    )
    (name, value, orders), (holding, held, bought) = results
    assert (name, holding, bought) == ("SizedByForecast", "BuyAndHold", "1")
    assert 3 < int(orders) <= 240  # it trades, and only the last fifth of 1,200 bars
    assert value != held != "10,000.00"


def test_your_own_cerebro_has_the_final_values_of_a_backtest(
    csv: Path,
    saved: Path,
    candles: pd.DataFrame,
    model_set: ModelSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_cerebro.py", str(csv), str(saved)])
    runpy.run_path(str(EXAMPLES / "own_cerebro.py"), run_name="__main__")
    result = backtest(candles, model_set, BacktestSettings())
    assert result.metrics.final_value != 100_000
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: final value {figures.final_value:,.2f} of 100,000.00, on unseen bars"
        for name, figures in (("LSTMRegimeStrategy", result.metrics), ("BuyAndHold", result.holding))
    ]


@pytest.mark.parametrize("name", ["own_cerebro.py", "sized_by_forecast.py", "several_instruments.py", "notebook.py"])
def test_an_example_without_arguments_prints_its_usage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit, match=rf"^usage: python runners/examples/{name} "):
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_rule_sized_by_the_forecast_does_not_look_ahead(candles: pd.DataFrame, model_set: ModelSet) -> None:
    outcome = orders(code_under_test(EXAMPLES / "sized_by_forecast.py", candles, model_set), Cuts(3, 0.0))
    assert "SizedByForecast" in outcome.scope
    assert outcome.findings == []


def test_several_instruments_are_traded_in_one_account(csv: Path, saved: Path, tmp_path: Path) -> None:
    other = switching_candles(seed=1).drop(columns="regime")
    models = train(other, "OTHER", TrainSettings(**SMALL)).save(tmp_path)
    lines = run_example("several_instruments.py", csv, saved, to_csv(other, tmp_path / "OTHER.csv"), models)
    first, second, value = lines.splitlines()
    for line, name in ((first, "SWITCH"), (second, "OTHER")):
        assert re.fullmatch(rf"{name}: \d+ closed trades, [-+][\d.]+ held", line)
    assert value.startswith("final value ")


def test_the_notebook_prints_and_draws_each_regime(csv: Path, saved: Path, tmp_path: Path) -> None:
    printed = run_example("notebook.py", csv, saved, tmp_path / "plot.png")
    assert "outcome" in printed
    assert "bullish" in printed
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
