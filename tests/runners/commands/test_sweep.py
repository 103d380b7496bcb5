"""`regimes sweep` and `regimes overfit`: grids of trading settings on a run's forecasts."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.candles import read_candles
from models import ModelSet
from models.forecaster import member_forecasts
from runners.backtesting.engine import replay_run
from runners.backtesting.grid import Grid, GridRun
from runners.backtesting.grid_figures import COSTS
from runners.backtesting.metrics import simple_returns
from runners.backtesting.runs import Run, read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.sweep import sweep
from runners.backtesting.trials import read_trials, trials_of
from runners.report.sweep_page import verdict
from strategies.rule_settings import RuleSettings
from strategies.settings import AXES
from tests.conftest import invoke, make_workspace, to_csv
from tests.training.test_overfitting import combinatorial_paths, probability_of_overfitting

OWN = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002, commission=0.002, borrow_rate=0.0001)
THRESHOLDS = ["--long-threshold", "0:0.002:6", "--short-threshold=-0.002:0:6"]


@pytest.fixture(scope="module")
def traded(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("home"), candles, model_set, OWN)


@pytest.fixture(scope="module")
def swept(traded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workspace, after a sweep over thresholds, exposures, least orders and costs."""
    workspace = Path(shutil.copytree(traded, tmp_path_factory.mktemp("swept") / "home"))
    costs = ["--commission", "0,0.002,0.004", "--borrow-rate", "0"]
    ran = invoke(workspace, "sweep", "SWITCH", *THRESHOLDS, "--exposure", "0.5", "--min-order", "60000", *costs)
    assert ran.returncode == 0, ran.stderr
    assert "gives the same equity at every bar, to the last bit" in " ".join(ran.stdout.split())
    return workspace


@pytest.fixture
def workspace(traded: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(traded, tmp_path / "home"))


@pytest.fixture(scope="module")
def table(swept: Path) -> pd.DataFrame:
    (file,) = (swept / "results" / "SWITCH" / "sweeps").glob("*/settings.csv")
    return pd.read_csv(file)


# Every kind of rule, on densities.
RULED = OWN.model_copy(
    update={
        "sizing": "volatility",
        "rebalance_band": 0.1,
        "min_probability": 0.3,
        "stop_loss": 2.0,
        "trailing_stop": 3.0,
        "stop_unit": "scale",
        "max_holding": 20,
        "max_daily_loss": 0.05,
    }
)


def test_a_sweep_varies_stops_and_sizes_on_densities_and_backtrader_agrees(
    tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    workspace = make_workspace(tmp_path, candles, model_set, RULED)
    (run,) = runs_of(workspace)
    assert {"stop_loss", "max_holding"} < set(run.trades()["closed_by"])
    few = ["--long-threshold", "0", "--short-threshold=-0.0002", "--neutral", "hold"]
    axes = ["--stop-loss", "0,1", "--max-holding", "0:10:3", "--sizing", "fixed,kelly", "--commission", "0,0.001"]
    ran = invoke(workspace, "sweep", "SWITCH", *few, *axes)
    assert ran.returncode == 0, ran.stderr
    assert "gives the same equity at every bar, to the last bit" in " ".join(ran.stdout.split())
    assert "min_probability 0.3" in " ".join(ran.stdout.split())
    (file,) = (workspace / "results" / "SWITCH" / "sweeps").glob("*/settings.csv")
    assert len(pd.read_csv(file)) == 2 * 3 * 4 * 3 * 3  # with the run's own values
    replayed = replay_run(run, read_candles(run.file), run.settings)  # the recorded densities and volatilities
    np.testing.assert_array_equal(replayed.equity["equity"], run.equity()["equity"])


def runs_of(workspace: Path) -> list[Run]:
    return read_runs(workspace / "results" / "SWITCH").runs


def test_parts_of_any_size_give_the_same_figures(traded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = GridRun.of(runs_of(traded)[0], {"long_threshold": "0:0.001:4", "min_order": "0,30000"})
    whole = sweep(grid)
    monkeypatch.setattr("runners.backtesting.grid._CELLS_AT_ONCE", 3 * len(grid.bars))
    parts = sweep(grid)
    assert parts.table.equals(whole.table)
    different = np.flatnonzero(whole.table["tried"] & ~whole.table["returns"].duplicated())
    correlations = np.corrcoef(simple_returns(grid.equity_of(different), OWN.cash).T)
    for result in (whole, parts):
        expected = correlations[np.triu_indices(len(different), 1)].mean()
        assert result.summary.mean_correlation == pytest.approx(expected, rel=1e-9)


def test_every_combination_is_traded_and_the_runs_own_setting_is_among_them(table: pd.DataFrame) -> None:
    # 7 thresholds a side (the run's own joins six), both rules, 2 exposures (1 its own), 2 least orders (1 its own),
    # 3 commissions, 2 rates
    assert len(table) == 7 * 7 * 2 * 2 * 2 * 3 * 2
    assert not table.duplicated(list(AXES)).any()
    assert (np.all([table[name] == getattr(OWN, name) for name in AXES], axis=0)).sum() == 1


def test_its_figures_equal_those_of_backtrader(swept: Path, table: pd.DataFrame) -> None:
    run = runs_of(swept)[0]
    candles = read_candles(run.file)
    grid = Grid(table[list(AXES)])
    for number in (0, 100, 333, 555, len(table) - 1, grid.number_of(OWN)):
        row = table.iloc[number]
        real = replay_run(run, candles, grid.settings(number, OWN)).metrics
        assert row["final_value"] == real.final_value
        assert row["max_drawdown"] == pytest.approx(real.max_drawdown, abs=1e-12)
        assert row["sharpe"] == pytest.approx(real.sharpe or 0.0, rel=1e-9)
        assert row["trades"] == real.trades


def test_the_best_at_the_runs_own_costs_becomes_a_run_that_its_config_repeats(swept: Path, table: pd.DataFrame) -> None:
    source, best = runs_of(swept)
    chosen_from = table[table["tried"] & (table["orders"] > 0)]
    assert all(set(chosen_from[name]) == {getattr(OWN, name)} for name in COSTS)
    row = chosen_from.loc[chosen_from["sharpe_per_bar"].idxmax()]
    assert {name: best.config["backtest"][name] for name in AXES} == {name: row[name] for name in AXES}
    assert best.metrics.sharpe == pytest.approx(row["sharpe"])
    assert best.models == f"of {source.id}"
    assert best.kind == "hindsight"
    assert (swept / "results" / "SWITCH" / "latest").read_text().strip() == source.id
    repeated = invoke(swept, "backtest", "--config", str(best.folder / "config.toml"))
    assert repeated.returncode == 0, repeated.stderr
    assert "CHOSEN IN HINDSIGHT" in repeated.stdout
    again = runs_of(swept)[-1]
    assert (again.folder / "metrics.json").read_bytes() == (best.folder / "metrics.json").read_bytes()
    again.remove()
    assert best.note == f"best of {len(table):,} settings swept on the forecasts of {source.id}"


def test_every_setting_that_could_be_chosen_counts_as_a_trial(swept: Path, table: pd.DataFrame) -> None:
    _, best = runs_of(swept)
    trials = trials_of(best, read_trials(swept / "results"))
    tried = table[table["tried"]]
    assert trials.count == tried["returns"].nunique()  # equal results are one trial, the traded ones among them
    (file,) = (swept / "results" / "SWITCH" / "sweeps").glob("*/grid.json")
    correlation = json.loads(file.read_text())["mean_correlation"]
    assert trials.effective == pytest.approx(correlation + (1 - correlation) * trials.count)
    deflated, undeflated = trials.deflated_sharpe(best.metrics), best.metrics.probabilistic_sharpe
    assert deflated is not None
    assert undeflated is not None
    assert deflated < undeflated
    listed = invoke(swept, "runs")
    assert f"{100 * deflated:.1f} %" in listed.stdout
    page = (best.folder / "report.html").read_text()
    assert f"best of {trials.count} trials" in page
    assert trials.sentence() in page.replace("\N{NO-BREAK SPACE}", " ")
    assert re.fullmatch(
        rf"{trials.count} trials on these bars: {trials.count} from the sweep of \d{{4}}-\d\d-\d\d; they count as "
        rf"{trials.effective_text} independent ones\.",
        trials.sentence(),
    )


def test_the_settings_that_a_sweep_lists_are_marked_wherever_they_are_traded(swept: Path, tmp_path: Path) -> None:
    """The command that it prints, and models instead of recorded forecasts; but not the setting that it began from."""
    workspace = Path(shutil.copytree(swept, tmp_path / "home"))
    source, best = runs_of(workspace)
    (file,) = (workspace / "results" / "SWITCH" / "sweeps").glob("*/grid.json")
    grid, table = json.loads(file.read_text()), pd.read_csv(file.with_name("settings.csv"))
    assert grid["own"] == OWN.model_dump(include=set(RuleSettings.model_fields))
    assert len(grid["listed"]) == 10
    names = {f"--{name.replace('_', '-')}": name for name in grid["own"]}
    own, third = ([f"{flag}={rule[name]}" for flag, name in names.items()] for rule in (grid["own"], grid["listed"][2]))
    costs = [f"--{name.replace('_', '-')}={getattr(OWN, name)}" for name in COSTS]
    for arguments, chosen_from in (
        (["--forecasts", source.id, *third], len(table)),
        (["SWITCH", *third, *costs], len(table)),
        (["SWITCH", *own, *costs], 0),
    ):
        ran = invoke(workspace, "backtest", *arguments)
        assert ran.returncode == 0, ran.stderr
        run = runs_of(workspace)[-1]
        assert ("CHOSEN IN HINDSIGHT" in ran.stdout) == bool(chosen_from)
        assert run.config.get("chosen_from", 0) == chosen_from
        assert ((workspace / "results" / "SWITCH" / "latest").read_text().strip() == run.id) == (not chosen_from)
    shutil.rmtree(file.parent)  # the settings file of a marked run keeps the mark
    marked = runs_of(workspace)[-2]
    repeated = invoke(workspace, "backtest", "--config", str(marked.folder / "config.toml"))
    assert "CHOSEN IN HINDSIGHT" in repeated.stdout
    assert best.kind == runs_of(workspace)[-1].kind == "hindsight"


def test_the_settings_that_an_overfitting_analysis_lists_are_marked(workspace: Path) -> None:
    few = ["--long-threshold", "0,0.0004", "--short-threshold=-0.0004,0"]
    assert invoke(workspace, "overfit", "SWITCH", *few, "--blocks", "8", "--groups", "6").returncode == 0
    (folder,) = (workspace / "results" / "SWITCH" / "overfitting").iterdir()
    chosen = json.loads((folder / "overfitting.json").read_text())["chosen"][0]
    flags = [f"--{name.replace('_', '-')}={chosen[name]}" for name in RuleSettings.model_fields]
    assert "CHOSEN IN HINDSIGHT" in invoke(workspace, "backtest", "SWITCH", *flags).stdout


def test_without_values_thresholds_span_the_forecasts_and_both_rules_are_tried(workspace: Path) -> None:
    ran = invoke(workspace, "sweep", "SWITCH")
    assert ran.returncode == 0, ran.stderr
    (file,) = (workspace / "results" / "SWITCH" / "sweeps").glob("*/settings.csv")
    table = pd.read_csv(file)
    members = np.abs(member_forecasts(runs_of(workspace)[0].forecasts()))
    assert table["long_threshold"].max() == pytest.approx(np.quantile(members, 0.99), rel=0.01)
    assert table["short_threshold"].min() == -table["long_threshold"].max()
    assert set(table["neutral"]) == {"hold", "flat"}
    assert set(table["commission"]) == {OWN.commission}


def test_a_sweep_of_one_pair_of_thresholds_draws_no_heatmap(workspace: Path) -> None:
    own = ["--long-threshold", "0.0002", "--short-threshold=-0.0002"]
    ran = invoke(workspace, "sweep", "SWITCH", *own, "--neutral", "flat")
    assert ran.returncode == 0, ran.stderr
    (folder,) = (workspace / "results" / "SWITCH" / "sweeps").iterdir()
    assert set(pd.read_csv(folder / "settings.csv")["neutral"]) == {"hold", "flat"}  # its own, and the requested one
    page = (folder / "sweep.html").read_text()
    assert "Of 2 settings on unseen bars" in page
    assert 'class="heat"' not in page


def test_by_how_much_backtrader_differs_is_said(workspace: Path) -> None:
    few = {"long_threshold": "0.0004", "short_threshold": "-0.0004", "neutral": "hold"}
    result = sweep(GridRun.of(runs_of(workspace)[0], few))
    assert "gives the same equity at every bar, to the last bit" in verdict(result)
    assert "differs by at most 2.0e-07 of its value" in verdict(replace(result, disagreement=2e-7))


def test_a_sweep_of_an_in_sample_run_is_no_try(candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path) -> None:
    seen = OWN.model_copy(update={"start": candles.index[500].to_pydatetime(), "in_sample": True})
    workspace = make_workspace(tmp_path / "home", candles, model_set, seen)
    ran = invoke(workspace, "sweep", "SWITCH", *THRESHOLDS)
    assert ran.returncode == 0, ran.stderr
    assert "which proves nothing" in " ".join(ran.stdout.split())
    assert [len(record.hashes) for record in read_trials(workspace / "results").records] == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NOTHING"], "NOTHING: there is no such run"),
        (["SWITCH", "--long-threshold", "low"], "--long-threshold low: write values separated by commas"),
        (["SWITCH", "--long-threshold", "nan"], "--long-threshold nan: write values separated by commas"),
        (["SWITCH", "--exposure", "0.1:1:0"], "--exposure 0.1:1:0: write values separated by commas"),
        (["SWITCH", "--long-threshold", "0:1:400", "--short-threshold=-1:0:400"], "at most 100,000 are allowed"),
        (["SWITCH", "--neutral", "wait"], "--neutral wait: write one or several of hold, flat"),
        (["SWITCH", "--exposure", "0"], "setting 0: exposure 0 must be above 0"),
    ],
)
def test_a_grid_that_cannot_be_traded_is_said(traded: Path, arguments: list[str], message: str) -> None:
    failed = invoke(traded, "sweep", *arguments)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert not (traded / "results" / "SWITCH" / "sweeps").exists()


def test_a_grid_in_which_nothing_trades_is_said(candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path) -> None:
    never = BacktestSettings(long_threshold=9.0, short_threshold=-9.0)
    workspace = make_workspace(tmp_path / "home", candles, model_set, never)
    for name, folder in (("sweep", "sweeps"), ("overfit", "overfitting")):
        failed = invoke(workspace, name, "SWITCH", "--long-threshold", "8", "--short-threshold=-8")
        assert failed.returncode == 2
        assert "none of these settings trades" in failed.stderr
        assert not (workspace / "results" / "SWITCH" / folder).exists()


@pytest.mark.parametrize("change", ["a bar is missing", "a price is another"])
def test_candles_that_changed_since_the_run_are_an_error(workspace: Path, change: str) -> None:
    csv = workspace / "data" / "csv" / "SWITCH.csv"
    (run,) = runs_of(workspace)
    config = run.folder / "config.toml"
    config.write_text(config.read_text().replace(str(run.file), str(csv)))
    candles = read_candles(csv)
    if change == "a bar is missing":
        candles = candles.drop(candles.index[-5])
    else:
        candles.iloc[-100, candles.columns.get_indexer(["high", "close"])] *= 1.01
    to_csv(candles, csv)
    failed = invoke(workspace, "sweep", "SWITCH")
    assert failed.returncode == 2
    assert "its bars have changed since" in failed.stderr


def test_overfit_applies_the_papers_methods_to_backtraders_returns(workspace: Path) -> None:
    few = ["--long-threshold", "0,0.0004", "--short-threshold=-0.0004,0"]
    ran = invoke(workspace, "overfit", "SWITCH", *few, "--blocks", "8", "--groups", "6")
    assert ran.returncode == 0, ran.stderr
    (folder,) = (workspace / "results" / "SWITCH" / "overfitting").iterdir()
    analysis = json.loads((folder / "overfitting.json").read_text())
    (run,) = runs_of(workspace)
    candles, values = read_candles(run.file), [0.0, 0.0002, 0.0004]
    others = {name: [getattr(OWN, name)] for name in AXES}
    thresholds = {"long_threshold": values, "short_threshold": [-value for value in reversed(values)]}
    grid = Grid.of({**others, **thresholds, "neutral": ["flat", "hold"]})
    equity = [replay_run(run, candles, grid.settings(number, OWN)).equity["equity"] for number in range(len(grid))]
    returns = simple_returns(np.stack(equity, axis=1), OWN.cash)
    assert analysis["settings"] == len(grid) == 18
    assert analysis["combinations"] == 70
    assert analysis["probability_of_overfitting"] == probability_of_overfitting(returns, 8).probability
    paths = combinatorial_paths(returns, 6, 2, 1)
    np.testing.assert_allclose(analysis["path_sharpes"], paths.sharpe * np.sqrt(run.metrics.bars_per_year), rtol=1e-6)
    table = pd.read_csv(folder / "settings.csv")  # what it shows was tried
    np.testing.assert_allclose(table["final_value"], [one.iloc[-1] for one in equity])
    assert trials_of(run, read_trials(workspace / "results")).count == table["returns"].nunique()  # with the run's own
    picked = {one["splits"] for one in analysis["chosen"]}
    assert picked == set(paths.times_chosen[paths.times_chosen > 0].tolist())


def test_overfit_holds_a_few_settings_in_memory_at_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is that of all settings at once."""

    def path_sharpes() -> list[float]:
        few = ["--long-threshold", "0:0.0004:5", "--short-threshold=-0.0004:0:5"]
        ran = invoke(workspace, "overfit", "SWITCH", *few, "--blocks", "8", "--groups", "6")
        assert ran.returncode == 0, ran.stderr
        newest = max((workspace / "results" / "SWITCH" / "overfitting").iterdir())
        return list(json.loads((newest / "overfitting.json").read_text())["path_sharpes"])

    def counted(equity: np.ndarray, cash: float) -> np.ndarray:
        sizes.append(equity.size)
        return simple_returns(equity, cash)

    whole, sizes = path_sharpes(), list[int]()
    monkeypatch.setattr("runners.backtesting.grid._CELLS_AT_ONCE", 2000)
    for module in ("grid_figures", "overfitting"):
        monkeypatch.setattr(f"runners.backtesting.{module}.simple_returns", counted)
    assert path_sharpes() == pytest.approx(whole, rel=1e-9)
    assert max(sizes[:-1]) <= 2000  # the last one is of the settings that were chosen


def test_a_grid_that_is_too_large_is_refused_before_it_is_expanded(traded: Path) -> None:
    for name in ("sweep", "overfit"):
        failed = invoke(traded, name, "SWITCH", "--long-threshold", "0:1:1000000000000")
        assert failed.returncode == 2
        assert "the grid has 1,000,000,000,000 settings; at most 100,000 are allowed" in failed.stderr


def test_more_groups_and_settings_than_fit_into_memory_are_refused(
    traded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.backtesting.overfitting._MOST_SUMS", 1000)
    failed = invoke(traded, "overfit", "SWITCH")
    assert failed.returncode == 2
    assert "10 groups of 882 settings are too many" in failed.stderr


def test_if_not_trading_is_best_in_every_half_there_is_no_slope(
    candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    ruinous = OWN.model_copy(update={"neutral": "flat", "commission": 0.2})
    workspace = make_workspace(tmp_path / "home", candles, model_set, ruinous)
    few = ["--long-threshold", "9", "--short-threshold=-9", "--neutral", "flat"]
    ran = invoke(workspace, "overfit", "SWITCH", *few, "--blocks", "4")
    assert ran.returncode == 0, ran.stderr
    (folder,) = (workspace / "results" / "SWITCH" / "overfitting").iterdir()
    assert json.loads((folder / "overfitting.json").read_text())["degradation_slope"] is None
    (row,) = [line.split() for line in ran.stdout.splitlines() if line.lstrip().startswith("slope")]
    assert row[-1] == "-"
    assert "regression" not in (folder / "overfitting.html").read_text()


def test_an_impossible_cross_validation_is_an_error(traded: Path) -> None:
    failed = invoke(traded, "overfit", "SWITCH", "--blocks", "7")
    assert failed.returncode == 2
    assert "take an even number" in failed.stderr
