"""Model sets and runs that earlier versions wrote; CONTRIBUTING says which formats load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.candles import read_candles
from data.errors import DataError, ModelSetError
from models import Forecaster, ModelSet
from runners.backtesting.runs import find_run, read_runs
from tests.conftest import invoke

EARLIER = Path(__file__).parents[1] / "fixtures" / "earlier_formats"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a model set of format 2 and a run of format 1, as version 0.1 left them."""
    return workspace_with(tmp_path, "run_format_1")


def workspace_with(folder: Path, run_fixture: str) -> Path:
    run = folder / "results" / "OLD" / "20260101T000000.000000Z"
    (folder / "data" / "csv").mkdir(parents=True)
    shutil.copy(EARLIER / "OLD.csv", folder / "data" / "csv")
    shutil.copytree(EARLIER / "model_set_format_2", folder / "models" / "trained" / "OLD" / run.name)
    shutil.copytree(EARLIER / run_fixture, run)
    config = run / "config.toml"
    config.write_text(config.read_text().replace("WORKSPACE", str(folder)).replace("20261126T190502.993499Z", run.name))
    return folder


def test_a_model_set_of_format_2_forecasts(workspace: Path) -> None:
    models = ModelSet.load(workspace / "models" / "trained" / "OLD")
    forecasts = Forecaster(models).forecast(read_candles(EARLIER / "OLD.csv"))
    recorded = find_run(workspace / "results", "OLD").equity()
    np.testing.assert_allclose(forecasts["forecast"].loc[recorded.index], recorded["forecast"], rtol=1e-9)


def test_a_model_set_of_format_2_has_plain_names_and_its_test_loss_is_not_shown(workspace: Path) -> None:
    models = ModelSet.load(workspace / "models" / "trained" / "OLD")
    assert models.all_regimes.training["relative_loss"]["test"] > 0
    assert "test loss" not in repr(models)
    assert "(" not in "".join(models.regime_returns.label(expert.name) for expert in models.experts.values())
    assert models.regime_returns.notes() == []


def test_a_run_of_format_1_is_read_under_the_new_names(workspace: Path) -> None:
    run = find_run(workspace / "results", "OLD")
    assert run.settings.neutral == "flat"
    assert run.metrics.time_in_market == pytest.approx((run.equity()["position"] != 0).mean())
    assert run.note == "of before"


def test_a_run_of_format_2_has_one_member_and_its_trades_are_read(tmp_path: Path) -> None:
    run = find_run(workspace_with(tmp_path, "run_format_2") / "results", "OLD")
    forecasts = run.forecasts()
    assert list(forecasts) == ["regime", "member_1"]
    assert forecasts["member_1"].equals(run.equity()["forecast"].rename("member_1"))
    assert run.training.settings["members"] == 1
    assert len(run.trades()) == run.metrics.trades


@pytest.mark.parametrize("fixture", ["run_format_1", "run_format_2"])
def test_a_run_of_an_earlier_format_is_repeated_swept_and_compared(tmp_path: Path, fixture: str) -> None:
    workspace = workspace_with(tmp_path, fixture)
    old = find_run(workspace / "results", "OLD")
    repeated = invoke(workspace, "backtest", "--config", str(old.folder / "config.toml"))
    assert (repeated.returncode, "not a repetition" in repeated.stderr) == (0, False)
    new = find_run(workspace / "results", "OLD")
    assert new.id != old.id
    same = [name for name in old.equity() if name not in ("vote", "forecast")]
    assert new.equity()[same].equals(old.equity()[same])
    np.testing.assert_allclose(new.equity()["forecast"], old.equity()["forecast"], rtol=1e-12)  # another batch, or CPU
    traded = invoke(workspace, "backtest", "--forecasts", old.id)
    assert traded.returncode == 0, traded.stderr
    assert find_run(workspace / "results", "OLD").equity()[same].equals(new.equity()[same])
    assert invoke(workspace, "sweep", old.id, "--long-threshold", "0,0.0002").returncode == 0
    compared = invoke(workspace, "compare", old.id, new.id)
    assert "A and B earned the same at every bar" in compared.stdout


def test_a_damaged_run_is_named_and_a_newer_format_is_refused(workspace: Path) -> None:
    old = find_run(workspace / "results", "OLD").folder
    newer = shutil.copytree(old, old.with_name("20260101T000001.000000Z"))
    figures = json.loads((newer / "metrics.json").read_text())
    (newer / "metrics.json").write_text(json.dumps({**figures, "format_version": 99}))
    damaged = shutil.copytree(old, old.with_name("20260101T000002.000000Z"))
    (damaged / "metrics.json").write_text("{")
    runs, warnings = read_runs(old.parent)
    assert [run.folder for run in runs] == [old]
    assert any(str(newer) in warning and "format 99" in warning for warning in warnings)
    assert any(str(damaged) in warning and "the run is incomplete" in warning for warning in warnings)
    listed = invoke(workspace, "runs")
    assert str(damaged) in listed.stderr.replace("\n", "")
    with pytest.raises(DataError, match="format 99"):
        find_run(old.parent.parent, newer.name)


def test_a_model_set_of_format_1_is_refused_with_the_remedy(workspace: Path) -> None:
    manifest = next((workspace / "models" / "trained" / "OLD").glob("*/model_set.json"))
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 1}))
    with pytest.raises(ModelSetError, match=r"has format 1, this version reads 2 and 3\. Train again"):
        ModelSet.load(manifest.parent)
