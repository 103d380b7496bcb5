from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from data.synthetic import with_noise_from
from models import ModelSet
from models.provenance import Study
from runners.backtesting.runs import read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import read_trials, trials_of
from runners.cli import app
from runners.report.study_page import study_html
from runners.report.study_tables import result_rows
from runners.search.folder import Search, StudyFolder
from runners.search.objective import ValidationTrade
from tests.conftest import ROOT, needs_browser, switching_candles, to_csv
from tests.patience import new_page, wait_until
from training import TrainSettings
from training.search.result import StudyResult
from training.search.settings import RANGES, SearchSettings
from training.search.storage import open_storage
from training.settings import NetworkSettings

QUICK = ["--epochs", "3", "--hidden-dim", "2,6", "--num-layers", "1", "--window", "4,8", "--batch-size", "64,128",
         "--min-windows", "30"]  # fmt: skip
NETWORKS = ["all", "bearish", "sideways"]


def new_workspace(path: Path, candles: pd.DataFrame) -> Path:
    (path / "data" / "csv").mkdir(parents=True)
    to_csv(candles, path / "data" / "csv" / "SWITCH.csv")
    return path


def study_folders(workspace: Path) -> list[Path]:
    return study_folders_in(workspace / "results")


def study_folders_in(results: Path) -> list[Path]:
    return sorted((results / "SWITCH" / "studies").glob("2*"))


def content_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "study.json").read_text())


def invoke(*arguments: str | Path) -> Result:
    """A command, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: str | Path) -> str:
    refused = invoke(*arguments)
    assert refused.exit_code == 2
    return refused.stderr


def test_the_settings_file_has_a_table_for_the_search(candles: pd.DataFrame, tmp_path: Path) -> None:
    workspace = new_workspace(tmp_path, candles)
    (workspace / "regimes.toml").write_text("[optimize]\ntrails = 3\n")
    assert "there is no setting 'trails'. Did you mean 'trials'?" in refusal("optimize", "--workspace", workspace)
    (workspace / "regimes.toml").write_text("[optimize]\nlr = [0.1, 0.01]\n")
    assert "regimes.toml, lr: the lower bound comes first" in refusal("optimize", "--workspace", workspace)


@dataclass(frozen=True)
class SearchedWorkspace:
    """A workspace after a search of all networks that Ctrl-C stopped, and a resumed search of one of them."""

    path: Path
    stopped: subprocess.CompletedProcess[str]
    left_behind: dict[str, Any]
    resumed: Result


@pytest.fixture(scope="module")
def rare() -> pd.DataFrame:
    """Labelled candles that hardly have a bullish bar."""
    candles = switching_candles()
    return candles.assign(regime=np.where(np.arange(len(candles)) % 100 == 0, 2.0, candles["regime"] % 2))


@pytest.fixture(scope="module")
def searched(rare: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> SearchedWorkspace:
    workspace = new_workspace(tmp_path_factory.mktemp("home"), rare)
    search = ["--workspace", str(workspace), "SWITCH", *QUICK, "--trials"]
    first = [sys.executable, "-W", "error", "-m", "runners.cli", "optimize", *search, "500", "--jobs", "3"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(first, cwd=ROOT, start_new_session=True, **pipes) as started:
        assert wait_until(lambda: all(finished >= 4 for finished in finished_trials(workspace)))
        os.killpg(started.pid, signal.SIGINT)  # like a terminal
        output = started.communicate()
    stopped = subprocess.CompletedProcess(first, started.returncode, *output)
    left_behind = content_of(study_folders(workspace)[0])
    trials = left_behind["studies"]["sideways"]["finished"] + 2
    return SearchedWorkspace(
        workspace, stopped, left_behind, invoke("optimize", *search, str(trials), "--regime", "sideways")
    )


def finished_trials(workspace: Path) -> list[int]:
    """Of each network, while others write; 0 where its study has not begun."""
    journals = list(workspace.rglob("journal.log"))
    if not journals:
        return [0]
    storage = open_storage(str(journals[0]))
    studies = [(study.study_name.split()[-1], study.study_name) for study in storage.get_all_studies()]
    counts = {name: len(StudyResult.read(name, SearchSettings(), storage, study).trials) for name, study in studies}
    return [counts.get(name, 0) for name in NETWORKS]


@pytest.fixture(scope="module")
def workspace(searched: SearchedWorkspace) -> Path:
    return searched.path


def test_ctrl_c_keeps_finished_trials_and_reports_it(searched: SearchedWorkspace) -> None:
    assert searched.stopped.returncode == 130
    assert "bullish: only 8 training windows, min_windows is 30; it will use" in searched.stopped.stderr
    assert "Run the same command to resume" in searched.stopped.stderr
    assert "Traceback" not in searched.stopped.stderr
    assert "looks better there than it is" in " ".join(searched.stopped.stdout.split())
    for name in NETWORKS:
        assert f"{name}: window" in searched.stopped.stdout
    assert list(searched.left_behind["studies"]) == NETWORKS
    assert list(searched.left_behind["skipped"]) == ["bullish"]


def test_one_network_can_resume_without_the_others(searched: SearchedWorkspace) -> None:
    assert searched.resumed.exit_code == 0
    (folder,) = study_folders(searched.path)
    before, after = searched.left_behind["studies"], content_of(folder)["studies"]
    earlier = sum(study["finished"] for study in before.values())
    output = " ".join(searched.resumed.output.split())
    assert f"resuming study {folder.name} with {earlier} finished trials" in output
    assert after["sideways"]["trials"][:-2] == before["sideways"]["trials"]
    assert [after[name] for name in ("all", "bearish")] == [before[name] for name in ("all", "bearish")]


def test_a_search_writes_its_settings_and_results(workspace: Path, rare: pd.DataFrame) -> None:
    (folder,) = study_folders(workspace)
    assert {path.name for path in folder.iterdir()} == {"study.json", "study.html", "journal.log"}
    assert (folder.parent / "latest").read_text().strip() == folder.name
    content = content_of(folder)
    assert content["validation_end"] == rare.index[929].isoformat()
    for study in content["studies"].values():
        assert study["finished"] == len(study["trials"]) >= 4
        values = [trial["value"] for trial in study["trials"] if trial["state"] == "complete"]
        assert study["best"]["value"] == min(values)
        assert all((trial["sharpe"] is None) == (trial["state"] == "pruned") for trial in study["trials"])
        assert TrainSettings(**study["best"]["settings"]).features[0] == "log_return"


def test_training_uses_the_best_settings_of_the_study_and_reports_it(workspace: Path) -> None:
    ran = invoke("train", "--workspace", workspace, "SWITCH", "--from-study")
    assert ran.exit_code == 0
    (folder,) = study_folders(workspace)
    assert f"settings from study {folder.name}" in ran.stderr
    studies = content_of(folder)["studies"]
    trained = ModelSet.load(workspace / "models" / "trained" / "SWITCH")
    assert trained.experts[2].training["fallback"]
    for expert in [trained.experts[0], trained.experts[1], trained.all_regimes]:
        best = studies[expert.name]["best"]
        assert list(expert.features) == best["settings"]["features"]
    assert trained.provenance.study == Study(
        id=folder.name,
        validation_end=pd.Timestamp(content_of(folder)["validation_end"]),
        bars=90,
        trials={name: study["finished"] for name, study in studies.items()},
        sharpes={name: [trial["sharpe"] for trial in study["trials"]] for name, study in studies.items()},
    )


def test_retraining_keeps_the_study_so_that_its_trials_still_count(workspace: Path, tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(workspace, tmp_path / "home"))
    (folder,) = study_folders(workspace)
    for name in ("train", "retrain"):
        assert (
            invoke(name, "--workspace", workspace, "SWITCH", *(["--from-study"] if name == "train" else [])).exit_code
            == 0
        )
        trained = ModelSet.load(workspace / "models" / "trained" / "SWITCH")
        study = trained.provenance.study
        assert study is not None
        assert study.id == folder.name
    newest = read_runs(workspace / "results" / "SWITCH").runs[-1]
    assert newest.training.study == study
    trials = sum(study.trials.values())
    counted = trials_of(newest, read_trials(workspace / "results"))
    assert trials < counted.count <= trials + 2


def test_training_with_a_test_part_that_the_study_has_seen_is_an_error(workspace: Path, tmp_path: Path) -> None:
    from_study = ("train", "SWITCH", "--from-study", "--workspace")
    seen = refusal(*from_study, workspace, "--train-fraction", "0.6")
    assert re.search(r"study \S+ has seen the bars up to 2022-06-04 20:00.*traded as unseen", seen)
    assert "--lr cannot be used with --from-study" in refusal(*from_study, workspace, "--lr", "0.1")
    shutil.copytree(workspace / "data", tmp_path / "data")
    assert "Search first: regimes optimize SWITCH" in refusal(*from_study, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regime", "bulish", "--detector", "trend"], "there is no regime 'bulish'. Did you mean 'bullish'?"),
        (["--storage", "redis://127.0.0.1:1/0"], "--storage redis://127.0.0.1:1/0: cannot be used"),
        (["--storage", "here.log"], "--storage: expected an address such as"),
        (["--window", "60,5"], "--window: the lower bound comes first"),
        (["--lr", "0,1"], "--lr: Input should be greater than 0, but '0' was given"),
        (["--objective", "profit"], "--objective: Input should be 'loss' or 'sharpe'"),
        (["--features", "rsj"], "'rsj' is neither built in"),
        (["--window", "5,2000"], "has 1200 bars, but at least"),
        (["--regime", "bullish", "--min-windows", "600", "--detector", "trend"], "SWITCH, bullish: only"),
    ],
)
def test_a_user_error_leaves_no_study(
    candles: pd.DataFrame, tmp_path: Path, arguments: list[str], message: str
) -> None:
    workspace = new_workspace(tmp_path, candles)
    assert message in refusal("optimize", "--workspace", workspace, "SWITCH", *QUICK, *arguments)
    assert study_folders(workspace) == []


def test_without_a_successful_trial_there_are_no_best_settings(rare: pd.DataFrame, tmp_path: Path) -> None:
    diverging = ["--lr", "1e30", "--trials", "1", "--jobs", "1"]
    ran = invoke("optimize", "--workspace", new_workspace(tmp_path, rare), "SWITCH", *QUICK, *diverging)
    assert ran.exit_code == 0, ran.output
    assert "bullish: only 8 training windows, min_windows is 30; it will use" in " ".join(ran.stderr.split())
    rows = [line.split() for line in ran.stdout.splitlines() if line.split()[:1] in [[name] for name in NETWORKS]]
    assert rows == [[name, "1", "1", "-", "-", "-"] for name in NETWORKS]
    assert "To train with these" not in ran.stdout
    assert [study["best"] for study in content_of(study_folders(tmp_path)[0])["studies"].values()] == [None] * 3


def test_a_read_only_storage_is_an_error(candles: pd.DataFrame, tmp_path: Path) -> None:
    workspace, database = new_workspace(tmp_path, candles), tmp_path / "study.db"
    open_storage(f"sqlite:///{database}")
    read_only = f"sqlite:///file:{database}?mode=ro&uri=true"
    one = ["--regime", "bearish", "--jobs", "1", "--storage", read_only]
    assert "attempt to write a readonly database" in refusal(
        "optimize", "--workspace", workspace, "SWITCH", *QUICK, *one
    )
    assert "No trial is finished yet" in (study_folders(workspace)[0] / "study.html").read_text()


def search_of(candles: pd.DataFrame, changes: dict[str, Any] | None = None) -> Search:
    return replace(Search("SWITCH", candles, TrainSettings(), SearchSettings(), BacktestSettings()), **changes or {})


def test_the_same_search_reuses_its_folder_and_another_does_not(candles: pd.DataFrame, tmp_path: Path) -> None:
    first = StudyFolder.open(tmp_path, search_of(candles))
    noisy = with_noise_from(candles, 960, seed=0)
    same = [
        {"options": SearchSettings(trials=99, timeout=1, pruner="hyperband", stale_after=1)},
        {"settings": TrainSettings(window=9, lr=0.1)},  # the start of the search
        {"candles": noisy},  # equal up to the end of validation
        {"trading": BacktestSettings(in_sample=True)},
    ]
    other = [
        {"options": SearchSettings(objective="sharpe")},
        {"options": SearchSettings(window=(5, 59))},
        {"options": SearchSettings(features=("rsi",))},
        {"options": SearchSettings(storage="redis://elsewhere/0")},
        {"settings": TrainSettings(seed=1)},
        {"settings": TrainSettings(epochs=9)},
        {"trading": BacktestSettings(commission=0)},
        {"trading": BacktestSettings(neutral="flat")},
        {"candles": candles.iloc[:-5]},
    ]
    for changes in same:
        assert StudyFolder.open(tmp_path, search_of(candles, changes)).path == first.path
    keys = {search_of(candles, changes).study("all") for changes in [{}, *same]}
    assert len(keys) == 1  # the same name on all machines
    for number, changes in enumerate(other):
        StudyFolder.open(tmp_path, search_of(candles, changes))
        assert len(study_folders_in(tmp_path)) == 2 + number


def test_a_damaged_study_is_not_changed(candles: pd.DataFrame, tmp_path: Path) -> None:
    damaged = StudyFolder.open(tmp_path, search_of(candles)).path / "study.json"
    damaged.write_text("{")
    assert StudyFolder.open(tmp_path, search_of(candles)).path != damaged.parent
    assert damaged.read_text() == "{"


@pytest.mark.parametrize("neutral", ["hold", "flat"])
def test_validation_is_traded_by_the_rule_after_costs(neutral: Literal["hold", "flat"]) -> None:
    """By hand: bought at the open of bar 1 and, if neutral is flat, sold at that of bar 3, with all costs."""
    open_, close = np.array([100.0, 100, 110, 120, 120]), np.array([100.0, 110, 120, 120, 130])
    trading = BacktestSettings(neutral=neutral, exposure=0.5, commission=0.01, slippage=0.02, cash=1000)
    forecast = np.array([0.01, 0.01, 0.0, 0.0, 0.0])
    units = 500 / 100
    bought, sold = 1000 - units * 102 * 1.01, units * 120 * 0.98 * 0.99
    rest = [bought + sold, bought + sold] if neutral == "flat" else [bought + units * 120, bought + units * 130]
    equity = np.array([1000, 1000, bought + units * 110, bought + units * 120, *rest])
    returns = equity[1:] / equity[:-1] - 1
    sharpe = ValidationTrade(open_, close, trading)(slice(0, 5), forecast)
    assert sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))


def test_a_validation_without_orders_has_a_sharpe_of_zero_and_a_bankrupt_one_none() -> None:
    rises = np.array([1.0, 1, 9])
    trade = ValidationTrade(rises, rises, BacktestSettings())
    assert trade(slice(0, 3), np.zeros(3)) == 0
    assert trade(slice(0, 3), np.full(3, -1.0)) is None  # short


@pytest.mark.parametrize("kept", [0, 1, 2, 4])
def test_the_page_works_for_any_number_of_trials(workspace: Path, candles: pd.DataFrame, kept: int) -> None:
    study = results_in(workspace)[0]
    results = [StudyResult("some", study.search, study.trials[:kept])]
    results += [StudyResult("equal", study.search, study.trials[:1] * kept)]
    page = study_html(search_of(candles), results, {"regime3": "only 3 training windows"})
    assert "regime3 was not searched: only 3 training windows." in page
    assert ("No trial is finished" in page) if not kept else (f"The best of {kept} trial" in page)
    assert [row[1] for row in result_rows(results)] == [str(kept)] * 2


def study_of(search: SearchSettings, value: Callable[[NetworkSettings], float], trials: int = 30) -> StudyResult:
    """A study whose trials have the given value of their settings."""
    study = optuna.create_study(direction=search.direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, value(search.suggest(trial)))
    return StudyResult("all", search, study.trials)


@pytest.mark.parametrize("objective", ["loss", "sharpe"])
def test_the_page_shows_the_most_important_setting(candles: pd.DataFrame, objective: Any) -> None:
    search = SearchSettings(objective=objective)
    page = study_html(
        search_of(candles, {"options": search}), [study_of(search, lambda settings: settings.dropout)], {}
    )
    texts = {"loss": "the validation loss over the zero forecast's", "sharpe": "the validation Sharpe ratio per bar"}
    assert f"Values are {texts[objective]}" in page.replace("&#39;", "'")
    drawn = page.split("<h3>What matters</h3>")[1].split("</svg>")[0]
    names = [text for text in re.findall(r"<!-- (.*?) -->", drawn) if text in RANGES or text.startswith("feature ")]
    assert len(names) == len(RANGES) + len(search.features)
    assert names[-1] == "dropout"  # the topmost


def test_equal_trials_have_no_important_setting(candles: pd.DataFrame) -> None:
    page = study_html(search_of(candles), [study_of(SearchSettings(), lambda settings: 0.9)], {})
    assert "<h3>History</h3>" in page
    assert "What matters" not in page


def results_in(workspace: Path) -> list[StudyResult]:
    (folder,) = study_folders(workspace)
    storage = open_storage(str(folder / "journal.log"))
    search = SearchSettings(**content_of(folder)["optimize"])
    names = {study.study_name.split()[-1]: study.study_name for study in storage.get_all_studies()}
    return [StudyResult.read(name, search, storage, names[name]) for name in NETWORKS]


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_quiet_self_contained_and_readable(browser: Any, workspace: Path, theme: str) -> None:
    page = new_page(browser, color_scheme=theme)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    address = (study_folders(workspace)[0] / "study.html").as_uri()
    page.goto(address)
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    ink, ground = page.evaluate(
        "() => [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    drawn = page.locator("svg [style*='currentcolor' i]")
    assert drawn.count() > 100
    assert drawn.first.evaluate("one => getComputedStyle(one).color") == ink
    halo = page.locator("svg [style*='--paper']").first
    assert halo.evaluate("one => getComputedStyle(one).stroke") == ground
    assert page.locator("section").count() == len(NETWORKS)
    assert page.get_by_role("heading", name="History").count() == len(NETWORKS)
    page.close()


@needs_browser
def test_the_page_fits_a_phone(browser: Any, workspace: Path) -> None:
    page = new_page(browser, viewport={"width": 400, "height": 800})
    page.goto((study_folders(workspace)[0] / "study.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()
