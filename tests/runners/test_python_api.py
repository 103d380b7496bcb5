"""The same from Python as from the command line, and results that show themselves in a notebook."""

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
def compared(candles: pd.DataFrame, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    workspace = Workspace(tmp_path_factory.mktemp("home"), {})
    both = (SETTINGS, BacktestSettings())
    models = ModelSet.load(saved)
    made = [backtest_candles(workspace, Path("SWITCH.csv"), candles, models, saved, one) for one in both]
    return compare([find_run(str(workspace.results), folder.name) for *_, folder in made])


@pytest.fixture(scope="module")
def evaluated(candles: pd.DataFrame, model_set: ModelSet) -> Evaluation:
    return evaluate(model_set, candles)


def test_what_was_backtested_is_compared(traded: Backtest, compared: Comparison) -> None:
    assert compared.title == "SWITCH"
    assert compared.runs[0].metrics == traded.metrics
    assert dict(compared.differing) == {
        "backtest: long_threshold": ["0.0002", "0.001"],
        "backtest: short_threshold": ["-0.0002", "-0.001"],
    }


def test_there_is_nothing_else() -> None:
    with pytest.raises(ImportError, match="cannot import name 'backtests'"):
        from runners import backtests  # noqa: F401


def shown(result: Any) -> tuple[list[list[str]], str]:
    """The rows of what a notebook shows, and all its text; fails where that is no well-formed HTML."""
    tree = ElementTree.fromstring(result._repr_html_())
    assert not {"script", "style"} & {element.tag for element in tree.iter()}
    return [[cell.text or "" for cell in row] for row in tree.iter("tr")], " ".join(tree.itertext())


def test_a_backtest_shows_its_figures_and_its_verdict(traded: Backtest) -> None:
    rows, text = shown(traded)
    assert rows[:2] == [
        ["", "strategy", "buy and hold"],
        ["Sharpe", f"{traded.metrics.sharpe:.2f}", f"{traded.holding.sharpe:.2f}"],
    ]
    assert "SWITCH, 2022-06-10 to 2022-07-19, 240 bars" in text
    assert "After costs and on unseen bars, the strategy returned" in text


def test_a_backtest_that_proves_nothing_is_marked(traded: Backtest) -> None:
    assert "240 bars, in-sample" in shown(replace(traded, in_sample=True))[1]
    chosen = replace(traded, source=replace(traded.source, chosen_from=20))
    assert "240 bars, chosen in hindsight" in shown(chosen)[1]


def test_a_comparison_shows_its_runs_side_by_side(compared: Comparison) -> None:
    rows, text = shown(compared)
    sharpes = [f"{one.metrics.sharpe:.2f}" for one in compared.runs]
    assert rows[:2] == [["", "A", "B"], ["Sharpe", *sharpes]]
    assert f"A: {compared.runs[0].run.id.split('.')[0]}, models" in text
    assert "B's Sharpe ratio is" in text


def test_an_evaluation_shows_every_score_and_its_conclusion(evaluated: Evaluation) -> None:
    rows, text = shown(evaluated)
    experts = evaluated.scores["all bars"]["experts"]
    assert rows[1][:4] == ["all bars", str(experts.bars), "experts", f"{1e4 * experts.rmse:.4f}"]
    assert len(rows) == 1 + 5 * len(evaluated.scores)
    assert ["-", "-", "-", "-"] in [row[5:] for row in rows]  # the forecast 0 has no hits, and nothing to be tested by
    assert evaluated.conclusion in text


def test_a_model_set_shows_its_experts(model_set: ModelSet) -> None:
    rows, text = shown(model_set)
    assert [row[0] for row in rows] == ["regime", "bearish", "sideways", "bullish", "all"]
    loss = model_set.all_regimes.training["relative_loss"]["test"]
    assert rows[-1][-1] == f"{loss:.4f}"
    assert text.startswith("SWITCH: detector hmm, unseen bars after 2022-06-09 20:00")


def test_results_print_themselves_in_a_few_lines(traded: Backtest, compared: Comparison, model_set: ModelSet) -> None:
    for result in (traded, compared, model_set):
        lines = str(result).splitlines()
        assert str(result) == repr(result)
        assert len(lines) <= 14
        assert max(map(len, lines)) <= 100
        assert lines[0].startswith("SWITCH")
    assert f"{traded.metrics.sharpe:.2f}" in str(traded)
    assert "be told from 0" in " ".join(str(traded).split())
    assert "B's Sharpe ratio is" in str(compared)
    assert [line.split()[0] for line in str(model_set).splitlines()[1:6]][1:] == [
        "bearish",
        "sideways",
        "bullish",
        "all",
    ]


def test_names_are_text_and_never_markup_and_are_shown_whole() -> None:
    name = "<script>&" + 100 * "x"
    tree = ElementTree.fromstring(result_html(name, pd.DataFrame({name: [name, None]}), [name]))
    assert [cell.text for cell in tree.iter("td")] == [name, "-"]
    assert [cell.text for cell in tree.iter("th")] == [name]
    assert "".join(tree.itertext()).count(name) == 4
