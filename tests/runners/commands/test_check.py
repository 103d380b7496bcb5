"""`regimes check` catches what looks ahead, names it, and lets what does not pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.errors import DataError, ModelSetError, RegimesError, SettingsError
from data.features import FEATURES, compute_features
from models import Forecaster, ModelSet
from models.regimes import DETECTORS
from runners.lookahead import planted_edge
from runners.lookahead.orders import orders
from runners.lookahead.random_walk import null
from runners.lookahead.refit import refit
from runners.lookahead.run import run_checks
from runners.lookahead.target import Subject, of_file, of_model_set
from runners.lookahead.truncation import start, truncation
from tests.conftest import ROOT, SMALL, command, invoke, to_csv
from training import TrainSettings, train

OWN = Path(__file__).parents[1] / "user_code"
EXAMPLE = ROOT / "runners" / "examples" / "own_code.py"


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """What a test's file registers is gone after it."""
    features, detectors = dict(FEATURES), dict(DETECTORS)
    yield
    for registry, before in ((FEATURES, features), (DETECTORS, detectors)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


def own(name: str, candles: pd.DataFrame) -> Subject:
    return of_file(OWN / f"{name}.py", candles, None)


def sound(candles: pd.DataFrame) -> Subject:
    return of_file(EXAMPLE, candles, None)


@pytest.mark.parametrize("name", ["centred_mean", "tomorrow", "scaled_close"])
def test_a_feature_that_looks_ahead_is_named_with_bar_and_size(name: str, candles: pd.DataFrame) -> None:
    found = truncation(own(name, candles), cuts=6).findings
    assert len(found) == 1
    assert f"feature {name} at 2022-" in found[0]
    assert "looks ahead" in found[0]
    assert "standard deviations" in found[0]


def test_the_size_of_a_leak_is_the_change_that_it_makes(candles: pd.DataFrame) -> None:
    subject = own("scaled_close", candles)
    (found,) = truncation(subject, cuts=6).findings
    bar, part = found.split(" at ")[1].split(" is ")[0], float(found.split(" is ")[1].split(" instead")[0])
    cut = found.split("after ")[1].split(" cut off")[0]
    alone = compute_features(candles.loc[:cut], ["scaled_close"])["scaled_close"]
    assert part == pytest.approx(alone.loc[bar], rel=1e-4)


def test_states_with_hindsight_are_named(candles: pd.DataFrame) -> None:
    found = truncation(own("viterbi", candles), cuts=6).findings
    assert found
    assert all("detector viterbi" in sentence for sentence in found)


def test_a_fill_at_the_deciding_bar_is_named(candles: pd.DataFrame) -> None:
    (found,) = orders(own("same_bar", candles), cuts=3).findings
    assert "orders of SameBar" in found
    assert "fill at the bar that decided them" in found


def test_a_strategy_that_reads_the_next_bar_is_named(candles: pd.DataFrame) -> None:
    (found,) = orders(own("next_close", candles), cuts=3).findings
    assert "NextClose" in found
    assert "reads a later one" in found


def test_a_strategy_that_knows_the_whole_feed_is_named(candles: pd.DataFrame) -> None:
    (found,) = orders(own("half_known", candles), cuts=3).findings
    assert "orders of HalfKnown" in found
    assert "looks ahead" in found


@pytest.mark.parametrize(
    ("name", "strategy", "said"),
    [
        ("sells_at_the_end", "SellsAtTheEnd", r"sell 100 of 2022-\S+ \S+ is added: it looks ahead"),
        ("rests_at_the_end", "RestsAtTheEnd", r"buy 1 of 2022-\S+ \S+ filled at \S+ is missing: it looks ahead"),
    ],
)
def test_a_strategy_that_knows_where_the_feed_ends_is_named_with_the_order_that_changes(
    candles: pd.DataFrame, name: str, strategy: str, said: str
) -> None:
    (found,) = orders(own(name, candles), cuts=3).findings
    assert f"orders of {strategy}" in found
    assert re.search(said, found)


def test_a_strategy_that_remembers_more_than_the_lookback_is_named(candles: pd.DataFrame, model_set: ModelSet) -> None:
    (found,) = orders(of_file(OWN / "long_memory.py", candles, model_set), cuts=3).findings
    lookback = Forecaster(model_set).lookback
    assert f"orders of LongMemory: with only the lookback of {lookback} bars before" in found


def test_code_that_fails_is_told_by_its_name_and_error(
    tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    file = tmp_path / "mine.py"
    for text, said in {
        "import backtrader as bt\nclass Breaks(bt.Strategy):\n    def next(self):\n        self.price\n": (
            "Breaks fails on 1200 bars: AttributeError"
        ),
        "from strategies import LSTMRegimeStrategy\nclass Mine(LSTMRegimeStrategy):\n"
        "    params = (('neutral', 'keep'),)\n": "neutral: Input should be 'hold' or 'flat', but 'keep' was given",
        "from data.features import feature\n@feature('first_thousand', lookback=0)\ndef first_thousand(candles):\n"
        "    return candles['close'].to_numpy() / candles['close'].iloc[999]\n": (
            r"feature first_thousand fails on \d+ bars ending 2022-\S+ \S+: IndexError"
        ),
    }.items():
        file.write_text(text)
        with pytest.raises(RegimesError, match=said):
            list(run_checks(of_file(file, candles, model_set), quick=True))


def test_a_feature_that_fails_on_all_bars_is_told_by_its_name(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    for number, (body, said) in enumerate(
        {
            "return candles['funding'].to_numpy()": "KeyError: 'funding'",
            "return candles['close'].to_numpy()[1:]": "ValueError: cannot reshape array of size 1199",
            "return None": "ValueError: cannot reshape array of size 1 ",
        }.items()
    ):
        name = f"broken_{number}"
        file.write_text(
            f"from data.features import feature\n@feature('{name}', lookback=0)\ndef broken(candles):\n    {body}\n"
        )
        with pytest.raises(DataError, match=rf"^feature {name} fails on 1200 bars ending 2022-\S+ \S+: {said}"):
            list(run_checks(of_file(file, candles, None), quick=True))


def test_a_detector_that_cannot_be_fitted_is_told_by_its_name(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from models.detectors.trend import TrendDetector\nfrom models.regimes import register_detector\n"
        "@register_detector\nclass Broken(TrendDetector):\n    name = 'broken'\n"
        "    def fit(self, features, labels, seed):\n        return self.fitted\n"
    )
    said = r"^training with detector broken fails on 1200 bars ending 2022-\S+ \S+: AttributeError: .* 'fitted'"
    with pytest.raises(DataError, match=said):
        list(run_checks(of_file(file, candles, None), quick=True))


def test_a_scaler_of_all_rows_is_named(model_set: ModelSet, candles: pd.DataFrame) -> None:
    def on_all_rows(expert):  # type: ignore[no-untyped-def]
        rows = compute_features(candles, expert.features).dropna().to_numpy()
        return replace(expert, mean=rows.mean(axis=0), scale=rows.std(axis=0))

    experts = {regime: on_all_rows(expert) for regime, expert in model_set.experts.items()}
    broken = replace(model_set, experts=experts)
    (found,) = refit(of_model_set(broken, candles)).findings
    assert found.startswith("scaler: moves by")
    assert refit(of_model_set(model_set, candles)).findings == []


def test_a_classifier_fitted_to_all_rows_is_named(labelled: pd.DataFrame) -> None:
    honest = train(labelled, "LABELLED", TrainSettings(**SMALL))
    features = compute_features(labelled, honest.detector.features).dropna()
    everything = type(honest.detector)().fit(features.to_numpy(), labelled.loc[features.index, "regime"].to_numpy(), 0)
    found = refit(of_model_set(replace(honest, detector=everything), labelled)).findings
    assert any(sentence.startswith("classifier coefficients: moves") for sentence in found)
    assert refit(of_model_set(honest, labelled)).findings == []


def test_a_classifier_that_knows_a_regime_from_after_training_is_named(labelled: pd.DataFrame) -> None:
    late = labelled.copy()
    late.loc[late.index[-100:], "regime"] = 3.0
    honest = train(late, "LATE", TrainSettings(**SMALL))
    features = compute_features(late, honest.detector.features).dropna()
    everything = type(honest.detector)().fit(features.to_numpy(), late.loc[features.index, "regime"].to_numpy(), 0)
    found = refit(of_model_set(replace(honest, detector=everything), late)).findings
    assert any(sentence.startswith("classifier regimes: moves by inf") for sentence in found)
    assert refit(of_model_set(honest, late)).findings == []


def test_a_detector_with_a_longer_memory_than_it_declares_is_found_by_start(candles: pd.DataFrame) -> None:
    subject = sound(candles)
    assert start(subject, cuts=6).findings == []
    FEATURES["close_to_mean"] = replace(
        FEATURES["close_to_mean"], compute=lambda frame: np.log(frame["close"]).ewm(span=20).mean().to_numpy()
    )
    found = start(subject, cuts=6).findings
    assert any("feature close_to_mean" in sentence and "the 9 earlier bars" in sentence for sentence in found)


def test_the_null_finds_a_training_that_knows_tomorrow(candles: pd.DataFrame) -> None:
    (found,) = null(own("tomorrow", candles), seeds=2, quick=False).findings
    assert "earns before costs" in found


def test_sound_code_is_clean(candles: pd.DataFrame) -> None:
    outcomes = list(run_checks(sound(candles), quick=True))
    assert [outcome.name for outcome in outcomes] == ["truncation", "start", "refit", "orders", "null"]
    assert [outcome.findings for outcome in outcomes] == [[]] * 5


def test_a_file_is_checked_for_what_it_holds(candles: pd.DataFrame) -> None:
    only_a_feature = run_checks(own("tomorrow", candles.iloc[:600]), quick=True)
    assert [outcome.name for outcome in only_a_feature] == ["truncation", "start", "refit", "null"]
    only_a_strategy = run_checks(own("half_known", candles.iloc[:600]), quick=True)
    assert [outcome.name for outcome in only_a_strategy] == ["orders", "null"]


def test_a_training_that_learns_nothing_misses_the_planted_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    standing_still = {"epochs": 1, "lr": 1e-12}
    monkeypatch.setattr(planted_edge, "_N_BARS", 1500)
    monkeypatch.setattr(planted_edge, "_SETTINGS", planted_edge._SETTINGS.model_copy(update=standing_still))
    by_detector, by_label = planted_edge.planted_edge().findings
    assert re.match(r"experts reach -?\d+ % of the planted edge's best R2 of 0\.\d+ on unseen bars; 60 %", by_detector)
    assert by_label.startswith("on regimes that only the label tells, experts' Sharpe ratio a bar ")
    assert by_label.endswith("experts that trade on the label must win.")


def test_a_files_faults_are_told_with_their_line(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    for text, said in {
        "x = 1\ny = 1 / 0\n": "line 2: ZeroDivisionError",
        "def f(:\n": "line 1: invalid syntax",
        "x = 1\n": "registers no feature",
        "from strategies import LSTMRegimeStrategy\nclass Mine(LSTMRegimeStrategy):\n    pass\n": "--models",
    }.items():
        file.write_text(text)
        with pytest.raises(SettingsError, match=said):
            of_file(file, candles, None)


def test_too_few_candles_to_cut_are_refused(candles: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="hold 150 bars, a check needs 200"):
        of_file(EXAMPLE, candles.iloc[:150], None)


def test_other_candles_than_the_trained_ones_are_refused(model_set: ModelSet, candles: pd.DataFrame) -> None:
    with pytest.raises(ModelSetError, match="not those that the set was trained on"):
        of_model_set(model_set, candles.assign(volume=candles["volume"] + 1))


@pytest.fixture(scope="module")
def workspace(model_set: ModelSet, candles: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("home")
    (place / "data" / "csv").mkdir(parents=True)
    to_csv(candles, place / "data" / "csv" / "SWITCH.csv")
    model_set.save(place / "models" / "trained")
    return place


def test_a_clean_model_set_ends_with_status_0(workspace: Path) -> None:
    ran = invoke(workspace, "check", "--quick")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Nothing looks ahead" in ran.stdout
    for name in ("truncation", "start", "refit", "orders", "null", "planted edge"):
        assert name in ran.stdout


def test_look_ahead_ends_with_status_1_and_a_mistake_with_2(workspace: Path) -> None:
    found = invoke(workspace, "check", str(OWN / "same_bar.py"), "--quick")
    assert found.returncode == 1
    assert "orders of SameBar: " in found.stdout
    assert "1 thing found: results of same_bar.py are not to be trusted." in found.stdout
    missing = invoke(workspace, "check", "missing.py")
    assert missing.returncode == 2
    assert "missing.py: there is no such Python file." in missing.stderr


def test_code_of_the_home_that_cannot_be_run_is_said_by_every_command(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("A = 1\n")
    for file, message in {"gone.py": "there is no such Python file", "mine.txt": "its name must end in .py"}.items():
        (tmp_path / "regimes.toml").write_text(f'code = ["{file}"]\n')
        for name in ("train", "data", "runs"):
            ran = invoke(tmp_path, name)
            assert ran.returncode == 2
            assert f"{tmp_path / file}: " in ran.stderr
            assert message in ran.stderr


def test_code_of_the_home_is_known_to_every_command(workspace: Path) -> None:
    (workspace / "mine.py").write_text(EXAMPLE.read_text())
    (workspace / "regimes.toml").write_text('code = ["mine.py"]\n')
    small = ["--features", "log_return,close_to_mean", "--epochs", "1", "--hidden-dim", "8", "--num-layers", "1"]
    trained = command(workspace, "train", "SWITCH", "--detector", "mean_reversion", *small)
    assert trained.returncode == 0, trained.stderr
    assert command(workspace, "evaluate", "SWITCH").returncode == 0
    (workspace / "regimes.toml").unlink()
    assert command(workspace, "evaluate", "SWITCH").returncode == 2
