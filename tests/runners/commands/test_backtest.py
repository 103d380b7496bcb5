from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.errors import DataError, SettingsError
from models import ModelSet
from models.expert import member_names
from models.forecaster import member_forecasts
from runners.backtesting.engine import EQUITY_COLUMNS, backtest
from runners.backtesting.result import Backtest
from runners.backtesting.runs import find_run
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import ALONE
from runners.backtesting.yardsticks import CURVES
from runners.cli import COMMANDS, load_command
from runners.report.backtest_tables import figures
from runners.report.comparison_tables import run_row
from runners.report.verdict import verdict
from runners.report.write_run import write_backtest, write_tearsheet
from tests.conftest import BTC, ROOT, SMALL, command, invoke, make_workspace, switching_candles, to_csv
from training import TrainSettings, train

SETTINGS = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002, borrow_rate=0.0001)
NAMES = [["bearish"], ["sideways"], ["bullish"]]
QUICK = ["--epochs", "1", "--hidden-dim", "8", "--num-layers", "1", "--window", "6", "--min-windows", "30"]
QUICK += ["--members", "2"]
NO_YES_FILE = (["--shrinkage", "none"], ["--shrinkage", "learnt"], [])


@pytest.fixture(scope="module")
def result(candles: pd.DataFrame, model_set: ModelSet) -> Backtest:
    return backtest(candles, model_set, SETTINGS)


def test_only_the_test_part_is_traded(result: Backtest, candles: pd.DataFrame, model_set: ModelSet) -> None:
    assert result.equity.index[0] > model_set.validation_end
    assert result.equity.index.equals(candles.index[960:])
    assert result.holding_equity.index.equals(candles.index[960:])
    assert np.isfinite(result.equity).all(axis=None)  # the bars before have filled the lookback
    assert not result.in_sample
    assert result.equity["equity"].iloc[0] == SETTINGS.cash


def test_the_ledger_of_trades_adds_up_to_the_equity(result: Backtest, candles: pd.DataFrame) -> None:
    trades, last = result.trades, result.equity.iloc[-1]
    assert len(trades) > 3
    np.testing.assert_allclose(trades["net_pnl"], trades["pnl"] - trades["commission"] - trades["borrowing"])
    side = np.where(trades["direction"] == "long", 1, -1)
    gains = side * (trades["exit_price"] - trades["entry_price"])
    assert (np.sign(gains) == np.sign(trades["pnl"])).all()
    whole = trades["orders"] == 2  # neither enlarged nor reduced
    np.testing.assert_allclose((gains * trades["size"])[whole], trades["pnl"][whole])
    one_entry = trades[trades["orders"] == 2]
    entry_bars = candles.loc[one_entry["opened"].dt.tz_localize("UTC")]
    slip = np.where(one_entry["direction"] == "long", 1 + SETTINGS.slippage, 1 - SETTINGS.slippage)
    np.testing.assert_allclose(one_entry["entry_price"], entry_bars["open"] * slip)
    assert result.metrics.open_trades == len(result.open_trade) == 1
    short = -result.equity["position"].shift(fill_value=0.0).clip(upper=0)  # held into each bar
    np.testing.assert_allclose(result.equity["borrowing"], SETTINGS.borrow_rate * short * result.candles["open"])
    assert result.metrics.borrowing == result.equity["borrowing"].sum() > 0
    parts = pd.concat([trades, result.open_trade])
    assert result.metrics.borrowing == pytest.approx(parts["borrowing"].sum())
    assert result.metrics.costs == pytest.approx(parts["commission"].sum())
    assert last["equity"] - SETTINGS.cash == pytest.approx(parts["net_pnl"].sum())


def test_a_trades_forecast_is_from_the_bar_that_decided_it(result: Backtest) -> None:
    for trade in result.trades.itertuples():
        filled = result.equity.index.get_loc(trade.opened.tz_localize("UTC"))
        decided = result.equity.iloc[filled - 1]
        assert (trade.forecast, trade.regime) == (decided["forecast"], decided["regime"])
        assert (decided["vote"] > 0) == (trade.direction == "long")


def test_costs_are_not_zero_by_default() -> None:
    assert BacktestSettings().commission > 0
    assert BacktestSettings().slippage > 0


def test_training_bars_are_traded_only_on_request_and_marked(candles: pd.DataFrame, model_set: ModelSet) -> None:
    early = candles.index[700].to_pydatetime()
    with pytest.raises(SettingsError, match=r"training and validation have seen .* add --in-sample"):
        backtest(candles, model_set, BacktestSettings(start=early))
    early_run = backtest(candles, model_set, BacktestSettings(start=early, in_sample=True))
    assert early_run.in_sample
    assert early_run.equity.index[0] == candles.index[700]


@pytest.mark.parametrize(
    "settings",
    [
        BacktestSettings(long_threshold=1.0, short_threshold=-1.0),  # it never trades
        BacktestSettings(long_threshold=-1.0, short_threshold=-2.0),  # it buys once
        BacktestSettings(end=switching_candles().index[961].to_pydatetime()),  # two bars
    ],
)
def test_a_run_with_few_trades_or_bars_is_written_completely(
    candles: pd.DataFrame, model_set: ModelSet, settings: BacktestSettings, tmp_path: Path
) -> None:
    result = backtest(candles, model_set, settings)
    folder = write_backtest(
        result, ALONE, tmp_path, candle_file=tmp_path / "SWITCH.csv", origin={"models": str(tmp_path)}
    )
    write_tearsheet(result, folder)
    assert len(list(folder.iterdir())) == 7
    assert all(path.stat().st_size > 0 for path in folder.iterdir())


def test_a_bankrupt_account_is_reported_and_its_equity_stays_constant(
    candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    prices = ["open", "high", "low", "close"]
    leap = candles.copy()
    leap.loc[candles.index[1050] :, prices] *= 4
    always_short = BacktestSettings(long_threshold=1.0, short_threshold=0.9)
    result = backtest(leap, model_set, always_short)
    equity, end = result.equity, leap.index[1050]
    left = equity.loc[end, "equity"]
    assert (equity.loc[: candles.index[1049], "equity"] > 0).all()
    assert left < 0
    assert (equity.loc[end:, "equity"] == left).all()
    assert not equity.loc[end:, ["position", "borrowing"]].any(axis=None)
    assert equity["forecast"].notna().all()
    (trade,) = result.trades.to_dict("records")
    assert (trade["closed"], trade["exit_price"]) == (end.tz_localize(None), pytest.approx(leap.loc[end, "close"]))
    assert trade["net_pnl"] == pytest.approx(left - always_short.cash)
    assert (result.metrics.final_value, result.metrics.max_drawdown) == (left, -1)
    folder = write_backtest(result, ALONE, tmp_path, candle_file=tmp_path / "X.csv", origin={"models": "X"})
    sentence = f"The account went bankrupt on {end:%Y-%m-%d} and traded no more. It owes {-left:,.2f}"
    page = (folder / "report.html").read_text()
    assert sentence in page
    assert '<span class="mark">bankrupt</span>' in page
    assert sentence in verdict(result, ALONE)
    assert json.loads((folder / "metrics.json").read_text())["strategy"]["bankrupt"]
    assert dict(row[:2] for row in figures(result, ALONE))["total return"] == f"{100 * (left / 1e5 - 1):.1f} % BANKRUPT"
    assert run_row(find_run(tmp_path, str(folder)), None)[-1] == "backtest, BANKRUPT"


def test_a_run_from_before_the_borrowing_fee_can_be_read(result: Backtest, tmp_path: Path) -> None:
    folder = write_backtest(result, ALONE, tmp_path, candle_file=tmp_path / "X.csv", origin={"models": "X"})
    figures = json.loads((folder / "metrics.json").read_text())
    for name in ("strategy", "buy_and_hold"):
        del figures[name]["borrowing"]
    (folder / "metrics.json").write_text(json.dumps(figures))
    pd.read_csv(folder / "equity.csv").drop(columns="borrowing").to_csv(folder / "equity.csv", index=False)
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("borrow_rate = 0.0001\n", ""))
    run = find_run(tmp_path, str(folder))
    assert (run.metrics.borrowing, run.settings.borrow_rate) == (0, 0)
    assert list(run.equity()) == [*EQUITY_COLUMNS, *result.curves]
    assert not run.equity()["borrowing"].any()


def test_a_range_may_end_early_and_must_contain_bars(candles: pd.DataFrame, model_set: ModelSet) -> None:
    end = candles.index[1000].to_pydatetime()
    assert backtest(candles, model_set, BacktestSettings(end=end)).equity.index[-1] == candles.index[1000]
    with pytest.raises(DataError, match="only 0 bars lie in the range to trade"):
        backtest(candles.iloc[:900], model_set)


@pytest.fixture(scope="module")
def workspace(candles: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where `regimes train` and `regimes backtest` ran once."""
    workspace = tmp_path_factory.mktemp("home")
    (workspace / "data" / "csv").mkdir(parents=True)
    to_csv(candles, workspace / "data" / "csv" / "SWITCH.csv")
    trained = command(workspace, "train", *QUICK)
    assert trained.returncode == 0, trained.stderr
    assert "bullish" in trained.stdout
    tested = command(workspace, "backtest", "SWITCH", "--long-threshold", "0.0002", "--short-threshold=-0.0002")
    assert tested.returncode == 0, tested.stderr
    assert "Sharpe" in tested.stdout
    assert "buy and hold" in tested.stdout
    return workspace


def run_folders(workspace: Path) -> list[Path]:
    return sorted(path for path in (workspace / "results" / "SWITCH").glob("2*"))


def test_a_backtest_writes_all_its_files(workspace: Path) -> None:
    (folder,) = run_folders(workspace)[:1]
    assert {path.name for path in folder.iterdir()} == {
        "config.toml",
        "metrics.json",
        "equity.csv",
        "forecasts.csv",
        "trades.csv",
        "report.html",
        "tearsheet.html",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    equity = pd.read_csv(folder / "equity.csv")
    assert list(equity) == ["timestamp", *EQUITY_COLUMNS, *CURVES.values(), *member_names(2)]
    assert equity["equity"].iloc[-1] == metrics["strategy"]["final_value"]
    assert len(pd.read_csv(folder / "trades.csv")) == metrics["strategy"]["trades"]
    assert tomllib.loads((folder / "config.toml").read_text())["backtest"]["long_threshold"] == 0.0002
    page = (folder / "report.html").read_text()
    assert "buy and hold" in page
    assert f"regimes backtest --config {folder / 'config.toml'}" in page


def test_its_config_repeats_a_run_bit_for_bit_in_a_new_process(
    workspace: Path, labelled: pd.DataFrame, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(workspace, tmp_path / "home"))
    to_csv(labelled, place / "data" / "csv" / "LABELS.csv")
    train(labelled, "LABELS", TrainSettings(**SMALL)).save(place / "models" / "trained")
    kinds = [
        ["SWITCH", "--blend", "--neutral", "flat", "--borrow-rate", "0.0001", "--start", "2022-07-10"],
        ["LABELS", "--regime-source", "column", "--start", "2022-07-01", "--end", "2022-07-10"],
    ]
    for kind in kinds:
        assert invoke(place, "backtest", *kind).returncode == 0
    runs = sorted((place / "results").glob("*/2*"))
    assert len(runs) == 3
    program = (
        "import sys; from runners.cli import app\n"
        "for run in sys.argv[2:]: app(['backtest', '--workspace', sys.argv[1], '--config', run], standalone_mode=False)"
    )
    configs = [str(run / "config.toml") for run in runs]
    repeat = [sys.executable, "-W", "error", "-c", program, str(place), *configs]
    repeated = subprocess.run(repeat, cwd=ROOT, capture_output=True, text=True, check=False)
    assert repeated.returncode == 0, repeated.stderr
    again = sorted(set((place / "results").glob("*/2*")) - set(runs))
    for first, second in zip(sorted(runs, key=lambda run: (run.parent, run.name)), again, strict=True):
        for name in ("metrics.json", "equity.csv", "forecasts.csv", "trades.csv", "config.toml"):
            assert (second / name).read_bytes() == (first / name).read_bytes()


def test_training_again_with_the_same_seed_gives_the_same_weights(workspace: Path) -> None:
    assert invoke(workspace, "train", "SWITCH", *QUICK).returncode == 0
    one, other = sorted(path for path in (workspace / "models" / "trained" / "SWITCH").iterdir() if path.is_dir())[-2:]
    for path in one.glob("*.pt"):
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_shrunk_forecasts_are_a_flag_and_a_setting_and_are_told(workspace: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(workspace, tmp_path / "home"))
    (place / "regimes.toml").write_text('[backtest]\nshrinkage = "learnt"\n')
    plain, by_flag, by_file = (invoke(place, "backtest", *arguments) for arguments in NO_YES_FILE)
    assert plain.returncode == by_flag.returncode == by_file.returncode == 0, by_flag.stderr
    assert "Forecasts are shrunk to" not in plain.stderr
    assert "Forecasts are shrunk to" in by_flag.stderr
    assert "Forecasts are shrunk to" in by_file.stderr
    *_, unshrunk, shrunk, again = (find_run(place / "results", str(folder)) for folder in run_folders(place))
    assert shrunk.config["backtest"]["shrinkage"] == "learnt"
    assert shrunk.forecasts().equals(again.forecasts())
    weights = ModelSet.load(place / "models" / "trained" / "SWITCH").shrinkage
    assert weights is not None
    sizes = [np.abs(member_forecasts(run.forecasts())).mean() for run in (shrunk, unshrunk)]
    assert sizes[0] < sizes[1]
    refused = invoke(place, "backtest", "--forecasts", shrunk.id, "--shrinkage", "none")
    assert "--shrinkage cannot be used with --forecasts" in refused.stderr


def test_repeating_a_run_on_changed_candles_is_a_warning(workspace: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(workspace, tmp_path / "home"))
    csv = again / "data" / "csv" / "SWITCH.csv"
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]) + "\n")
    repeated = invoke(again, "backtest", str(csv), "--config", str(run_folders(again)[0] / "config.toml"))
    assert repeated.returncode == 0
    assert "has changed since the run" in repeated.stderr
    too_late = [str(csv), "--config", str(run_folders(again)[0] / "config.toml"), "--start", "2100-01-01"]
    assert "has changed since the run" in invoke(again, "backtest", *too_late).stderr  # before anything is traded


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("backtest", ["NOTHING"], "NOTHING.csv: there is no such file"),
        ("backtest", ["SWITCH", "--models", "elsewhere"], "elsewhere: there is no model set"),
        ("backtest", ["SWITCH", "--exposure", "0"], "--exposure: Input should be greater than 0, but 0.0 was given"),
        ("backtest", ["SWITCH", "--neutral", "keep"], "--neutral: Input should be 'hold' or 'flat', but 'keep'"),
        ("backtest", ["SWITCH", "--start", "2022-01-01"], "add --in-sample"),
        ("train", ["SWITCH", "--features", "rsj"], "'rsj' is neither built in"),
        ("train", ["SWITCH", "--detector", "hnm"], "there is no detector 'hnm'"),
        ("train", ["--config", "nothing.toml"], "nothing.toml: there is no such file"),
    ],
)
def test_a_user_error_is_one_line_without_a_traceback(
    workspace: Path, name: str, arguments: list[str], message: str
) -> None:
    failed = invoke(workspace, name, *arguments)
    assert failed.returncode == 2
    last_line = failed.stderr.splitlines()[-1]
    assert last_line.startswith("Error: ")
    assert message in last_line
    assert "Traceback" not in failed.stderr


def test_the_error_for_an_unknown_setting_suggests_the_nearest(workspace: Path, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("[train]\nhiden_dim = 8\n")
    failed = invoke(workspace, "train", "SWITCH", "--config", str(config))
    assert failed.returncode == 2
    assert "there is no setting 'hiden_dim'. Did you mean 'hidden_dim'?" in failed.stderr


def test_flags_override_the_toml_file(workspace: Path, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("[train]\nhidden_dim = 4\nepochs = 9\nwindow = 5\nnum_layers = 1\nmin_windows = 30\n")
    assert invoke(workspace, "train", "SWITCH", "--config", str(config), "--epochs", "1").returncode == 0
    newest = ModelSet.load(workspace / "models" / "trained" / "SWITCH").provenance.settings
    assert (newest["hidden_dim"], newest["window"], newest["epochs"]) == (4, 5, 1)


def test_the_example_with_an_own_cerebro_runs(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, models = workspace / "data" / "csv" / "SWITCH.csv", workspace / "models" / "trained" / "SWITCH"
    monkeypatch.setattr(sys, "argv", ["own_cerebro.py", str(csv), str(models)])
    runpy.run_path(str(ROOT / "runners" / "examples" / "own_cerebro.py"), run_name="__main__")
    ours, holding = capsys.readouterr().out.splitlines()
    assert ours.startswith("LSTMRegimeStrategy: final value ")
    assert holding.startswith("BuyAndHold: final value ")


def test_evaluate_prints_its_tables_and_writes_figures_and_a_page(workspace: Path) -> None:
    ran = invoke(workspace, "evaluate")
    assert ran.returncode == 0, ran.stderr
    assert "one LSTM" in ran.stdout
    assert "unseen bars the experts' squared error is" in " ".join(ran.stdout.split())
    (folder,) = (workspace / "results" / "SWITCH" / "evaluations").iterdir()
    assert {path.name for path in folder.iterdir()} == {"evaluation.json", "evaluation.html"}
    assert json.loads((folder / "evaluation.json").read_text())["scores"]["all bars"]["zero"]["r2_zero"] == 0


def test_datasets_trained_side_by_side_get_the_weights_that_each_gets_alone(
    candles: pd.DataFrame, labelled: pd.DataFrame, tmp_path: Path
) -> None:
    series = {"ONE": candles, "OTHER": labelled}
    files = [str(to_csv(one, tmp_path / f"{name}.csv")) for name, one in series.items()]
    trained = command(tmp_path, "train", *files, *QUICK)
    assert trained.returncode == 0, trained.stderr
    settings = ModelSet.load(tmp_path / "models" / "trained" / "ONE").provenance.settings
    for name, one in series.items():
        together = ModelSet.load(tmp_path / "models" / "trained" / name)
        alone = train(one, name, TrainSettings(**settings))
        assert f"models: {tmp_path}/models/trained/{name}/" in trained.stdout.replace("\n", "")
        for mine, other in zip(together.ensembles, alone.ensembles, strict=True):
            for a, b in zip(mine.networks, other.networks, strict=True):
                assert all(torch.equal(a.state_dict()[key], value) for key, value in b.state_dict().items())


def test_evaluate_shows_the_confusion_matrix_of_the_label_classifier(labelled: pd.DataFrame, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, labelled, train(labelled, "SWITCH", TrainSettings(**SMALL)))
    ran = invoke(workspace, "evaluate")
    assert ran.returncode == 0, ran.stderr
    table = ran.stdout.split("classifier: ")[1].splitlines()
    hits = float(table[0].removeprefix("accuracy ").split(" %")[0])
    counts = np.array([line.split()[1:] for line in table if line.split()[:1] in NAMES and len(line.split()) == 4], int)
    assert counts.sum(axis=1).tolist() == [int((labelled["regime"].iloc[960:] == regime).sum()) for regime in range(3)]
    assert hits == pytest.approx(100 * np.trace(counts) / 240, abs=0.05)


def test_help_does_not_import_heavy_libraries() -> None:
    heavy = ["torch", "numpy", "pandas", "quantstats", "backtrader", "numba", "pydantic"]
    probe = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))
from runners.cli import app
app(["--help"])
"""
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "train" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_begins_with_its_line_in_the_help_of_all(name: str) -> None:
    assert (load_command(name).help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name]


@pytest.mark.skipif(not BTC.exists(), reason="real four-hour candles are not beside this checkout")
def test_real_candles_train_and_backtest_without_a_warning(tmp_path: Path) -> None:
    quick = ["--epochs", "1", "--hidden-dim", "16", "--num-layers", "1"]
    trained = command(tmp_path, "train", str(BTC), *quick)
    tested = command(tmp_path, "backtest", str(BTC))
    assert trained.returncode == tested.returncode == 0, trained.stderr + tested.stderr
    assert "Warning" not in trained.stderr + tested.stderr
    experts = ModelSet.load(tmp_path / "models" / "trained" / BTC.stem).experts
    assert [expert.name for expert in experts.values()] == ["bearish", "sideways", "bullish"]
    assert len(list((tmp_path / "results" / BTC.stem).glob("*/report.html"))) == 1
