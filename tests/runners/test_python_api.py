"""The Python API gives the figures of the command line, and shows results in a notebook."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from data.notebook import result_html
from models import ModelSet
from runners import BacktestSettings, backtest, compare, find_run
from runners.backtesting.comparison import Comparison
from runners.backtesting.result import Backtest
from runners.commands.backtest import backtest_candles
from runners.workspace.workspace import Workspace
from training.evaluation import Evaluation, evaluate

SETTINGS = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002)


@pytest.fixture(scope="module")
def traded(candles: pd.DataFrame, model_set: ModelSet) -> Backtest:
    return backtest(candles, model_set, SETTINGS)


@pytest.fixture(scope="module")
def compared(
    candles: pd.DataFrame, model_set: ModelSet, saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> Comparison:
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    both = (SETTINGS, BacktestSettings())
    runs = [backtest_candles(workspace, Path("SWITCH.csv"), candles, model_set, saved, settings) for settings in both]
    return compare([find_run(str(workspace.results), folder.name) for *_, folder in runs])


@pytest.fixture(scope="module")
def evaluated(candles: pd.DataFrame, model_set: ModelSet) -> Evaluation:
    return evaluate(model_set, candles)


def test_compare_lists_the_settings_that_differ(traded: Backtest, compared: Comparison) -> None:
    assert compared.title == "SWITCH"
    assert compared.runs[0].metrics == traded.metrics
    assert dict(compared.differing) == {
        "backtest: long_threshold": ["0.0002", "0.001"],
        "backtest: short_threshold": ["-0.0002", "-0.001"],
    }


def test_an_unknown_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match="cannot import name 'backtests'"):
        from runners import backtests  # noqa: F401


def notebook_view(result: Any) -> tuple[list[list[str]], str]:
    """Table rows and text of a notebook's view; fails on malformed HTML."""
    tree = ElementTree.fromstring(result._repr_html_())
    assert not {"script", "style"} & {element.tag for element in tree.iter()}
    return [[cell.text or "" for cell in row] for row in tree.iter("tr")], " ".join(tree.itertext())


def test_a_notebook_shows_figures_and_verdict_of_a_backtest(traded: Backtest) -> None:
    rows, text = notebook_view(traded)
    assert rows[:2] == [
        ["", "strategy", "buy and hold"],
        ["Sharpe", f"{traded.metrics.sharpe:.2f}", f"{traded.holding.sharpe:.2f}"],
    ]
    assert "SWITCH, 2022-06-10 to 2022-07-19, 240 bars" in text
    assert "After costs and on unseen bars, the strategy returned" in text


def test_a_backtest_counts_as_a_trial_if_it_is_recorded_and_otherwise_says_that_it_does_not(
    traded: Backtest, candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    rows, text = notebook_view(traded)
    assert ["... as best of all trials", "not recorded", ""] in rows
    assert "Not recorded as a trial" in text
    assert "Not recorded as a trial" in str(traded)
    results = [
        backtest(candles, model_set, settings, record=tmp_path) for settings in (SETTINGS, SETTINGS, BacktestSettings())
    ]
    assert [result.trials and result.trials.count for result in results] == [1, 1, 2]
    rows, text = notebook_view(results[2])
    assert "... as best of 2 trials" in {row[0] for row in rows}
    assert "2 trials on these bars: 2 backtests; they count as" in text
    assert traded.metrics == results[0].metrics


def test_an_in_sample_or_hindsight_backtest_is_marked(traded: Backtest) -> None:
    assert "240 bars, in-sample" in notebook_view(replace(traded, in_sample=True))[1]
    chosen = replace(traded, source=replace(traded.source, chosen_from=20))
    assert "240 bars, chosen in hindsight" in notebook_view(chosen)[1]


def test_a_comparison_shows_its_runs_side_by_side(compared: Comparison) -> None:
    rows, text = notebook_view(compared)
    sharpes = [f"{one.metrics.sharpe:.2f}" for one in compared.runs]
    assert rows[:2] == [["", "A", "B"], ["Sharpe", *sharpes]]
    assert f"A: {compared.runs[0].run.id.split('.')[0]}, models" in text
    assert "B's Sharpe ratio is" in text


def test_an_evaluation_shows_every_score_and_its_conclusion(evaluated: Evaluation) -> None:
    rows, text = notebook_view(evaluated)
    experts = evaluated.scores["all bars"]["experts"]
    assert rows[1][:4] == ["all bars", str(experts.bars), "experts", f"{1e4 * experts.rmse:.4f}"]
    assert len(rows) == 1 + 6 * len(evaluated.scores)
    assert ["-", "-", "-", "-"] in [row[5:] for row in rows]  # the forecast 0 has no hit rate and no test
    assert evaluated.conclusion in text


def test_a_model_set_shows_its_experts(model_set: ModelSet) -> None:
    rows, text = notebook_view(model_set)
    assert [row[0] for row in rows] == ["regime", "bearish", "sideways", "bullish", "all"]
    loss = model_set.all_regimes.training["relative_loss"]["validation"]
    assert rows[-1][-1] == f"{loss:.4f}"
    assert text.startswith("SWITCH: detector hmm, unseen bars after 2022-06-09 20:00")


def test_results_print_in_a_few_lines(
    traded: Backtest, compared: Comparison, evaluated: Evaluation, model_set: ModelSet
) -> None:
    for result in (traded, compared, compared.runs[0].run, evaluated, model_set):
        lines = str(result).splitlines()
        assert str(result) == repr(result)
        assert len(lines) <= 14
        assert max(map(len, lines)) <= 100
        assert lines[0].startswith("SWITCH")
    assert f"{traded.metrics.sharpe:.2f}" in str(traded)
    assert f"Its Sharpe ratio of {traded.metrics.sharpe:.2f}" in " ".join(str(traded).split())
    assert "B's Sharpe ratio is" in str(compared)
    assert [line.split()[0] for line in str(model_set).splitlines()[1:6]][1:] == [
        "bearish",
        "sideways",
        "bullish",
        "all",
    ]


def test_names_are_escaped_and_not_truncated() -> None:
    name = "<script>&" + 100 * "x"
    tree = ElementTree.fromstring(result_html(name, pd.DataFrame({name: [name, None]}), [name]))
    assert [cell.text for cell in tree.iter("td")] == [name, "-"]
    assert [cell.text for cell in tree.iter("th")] == [name]
    assert "".join(tree.itertext()).count(name) == 4
