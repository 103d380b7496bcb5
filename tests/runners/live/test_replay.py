"""Replays through the live services equal the backtest."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from models import ModelSet
from runners.backtesting.engine import backtest
from runners.live.bus.stream import Entry
from runners.live.replay import first_difference
from tests.conftest import BTC, SMALL, invoke, make_workspace, to_csv
from training import TrainSettings, train


@pytest.fixture
def workspace(tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet) -> Path:
    return make_workspace(tmp_path, candles, model_set)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["--neutral", "flat", "--blend", "--borrow-rate", "0.0003"],
        ["--exposure", "1", "--commission", "0.05", "--slippage", "0.03"],  # orders without enough cash
        ["--long-threshold", "0", "--short-threshold", "0", "--exposure", "3"],  # a bankrupt account
        ["--stop-loss", "0.02", "--take-profit", "0.03", "--max-position", "60000", "--max-daily-loss", "0.02"],
        ["--trailing-stop", "2", "--stop-unit", "scale", "--max-holding", "9", "--funding", "-0.001"],
        ["--sizing", "volatility", "--rebalance-band", "0.1", "--min-probability", "0.3"],
    ],
)
def test_a_replay_equals_the_backtest(workspace: Path, settings: list[str]) -> None:
    ran = invoke(workspace, "live", "SWITCH", "--replay", "--json", *settings)
    output = json.loads(ran.stdout)
    assert output["compared"]
    assert output["difference"] is None
    assert ran.returncode == 0
    assert output["orders"] > 0


def test_a_replay_of_five_members_equals_the_backtest(tmp_path: Path, candles: pd.DataFrame) -> None:
    workspace = make_workspace(tmp_path, candles, train(candles, "SWITCH", TrainSettings(**{**SMALL, "members": 5})))
    flags = ["--long-threshold", "0.0003", "--short-threshold", "-0.0003", "--min-order", "25000"]
    output = json.loads(invoke(workspace, "live", "SWITCH", "--replay", "--json", *flags).stdout)
    assert (output["compared"], output["difference"]) == (True, None)
    assert output["orders"] > 10


def test_a_replay_of_real_candles_equals_the_backtest(tmp_path: Path, sp500: pd.DataFrame) -> None:
    workspace = make_workspace(tmp_path, sp500, train(sp500, "SWITCH", TrainSettings(**SMALL)))
    ran = invoke(workspace, "live", "SWITCH", "--replay")
    assert "Regime, forecast, vote, position and equity equal the backtest's on every bar." in ran.stdout
    assert "1,006 decisions from 2015-01-02 00:00 to 2018-12-31 00:00" in ran.stdout


@pytest.mark.skipif(not BTC.exists(), reason="needs the shared candles")
def test_a_replay_of_exchange_candles_equals_the_backtest(tmp_path: Path) -> None:
    from data.candles import read_candles

    candles = read_candles(BTC).iloc[-3000:]
    workspace = make_workspace(tmp_path, candles, train(candles, "SWITCH", TrainSettings(**SMALL)))
    output = json.loads(invoke(workspace, "live", "SWITCH", "--replay", "--json").stdout)
    assert (output["decisions"], output["compared"], output["difference"]) == (600, True, None)


def test_the_regime_may_come_from_the_file_s_column(tmp_path: Path, labelled: pd.DataFrame) -> None:
    workspace = make_workspace(tmp_path, labelled, train(labelled, "SWITCH", TrainSettings(**SMALL)))
    output = json.loads(invoke(workspace, "live", "SWITCH", "--replay", "--json", "--regime-source", "column").stdout)
    assert (output["compared"], output["difference"]) == (True, None)


def test_the_bars_of_the_backtest_s_table_are_replayed(workspace: Path, candles: pd.DataFrame) -> None:
    start, end = candles.index[-100], candles.index[-51]
    (workspace / "regimes.toml").write_text(f"[backtest]\nstart = {start.isoformat()}\nend = {end.isoformat()}\n")
    output = json.loads(invoke(workspace, "live", "SWITCH", "--replay", "--json").stdout)
    assert (output["decisions"], output["difference"]) == (50, None)


def test_a_replay_with_limits_is_not_compared(workspace: Path) -> None:
    ran = invoke(workspace, "live", "SWITCH", "--replay", "--max-order", "1000")
    assert "Not compared with the backtest, which has no limits of orders (max_order)." in ran.stdout
    assert ran.returncode == 0


def test_a_replay_leaves_nothing_behind(workspace: Path) -> None:
    before = sorted(workspace.rglob("*"))
    invoke(workspace, "live", "SWITCH", "--replay")
    assert sorted(workspace.rglob("*")) == before


def test_an_invalid_speed_is_refused(workspace: Path) -> None:
    ran = invoke(workspace, "live", "SWITCH", "--replay", "--speed", "fast")
    assert ran.returncode == 2
    assert "Unknown --speed 'fast'. Use max" in ran.stderr


def test_a_speed_paces_the_candles(workspace: Path, candles: pd.DataFrame) -> None:
    start = candles.index[-5]
    (workspace / "regimes.toml").write_text(f"[backtest]\nstart = {start.isoformat()}\n")
    ran = invoke(workspace, "live", "SWITCH", "--replay", "--speed", "1e6", "--json")
    assert json.loads(ran.stdout)["decisions"] == 5
    assert ran.stderr.count('"event": "decision"') == 5


def test_candles_that_do_not_fit_the_models_are_refused(workspace: Path, sp500: pd.DataFrame) -> None:
    file = to_csv(sp500.loc["2017":], workspace / "DAILY.csv")
    ran = invoke(workspace, "live", str(file), "--replay", "--models", str(workspace / "models" / "trained" / "SWITCH"))
    assert ran.returncode == 2
    assert "bars are 1 d apart, but the models of SWITCH were trained on bars 4 h apart" in ran.stderr


def test_a_difference_is_reported_with_its_bar(candles: pd.DataFrame, model_set: ModelSet) -> None:
    equity = backtest(candles, model_set).equity
    entries = [
        Entry(
            time,
            {
                "regime": int(row["regime"]),
                "log_return": row["forecast"],
                "vote": None if math.isnan(row["vote"]) else row["vote"],
                "position": row["position"],
                "equity": row["equity"],
            },
        )
        for time, row in equity.iterrows()
    ]
    assert first_difference(entries, equity) is None
    entries[7].values["equity"] += 1e-9
    assert f"{equity.index[7]:%Y-%m-%d %H:%M}: equity" in str(first_difference(entries, equity))
    entries[3].values["log_return"] *= 1 + 2e-6
    assert f"{equity.index[3]:%Y-%m-%d %H:%M}: forecast" in str(first_difference(entries, equity))
    del entries[2]
    assert "the first difference is at" in str(first_difference(entries, equity))


def test_a_replay_that_differs_ends_with_status_1(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.live.replay.TOLERANCE", -1.0)
    ran = invoke(workspace, "live", "SWITCH", "--replay")
    assert ran.returncode == 1
    assert "DIFFERS from the backtest at 2022-" in ran.stdout
