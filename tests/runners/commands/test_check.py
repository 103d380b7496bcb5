"""`regimes check` reports look-ahead bias by name and passes correct code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.candles import OHLCV
from data.errors import DataError, ModelSetError, RegimesError, SettingsError
from data.features import compute_features
from models import Forecaster, ModelSet
from runners.lookahead import planted_edge
from runners.lookahead.inputs import inputs
from runners.lookahead.orders import Cuts, orders
from runners.lookahead.outcome import Unchecked
from runners.lookahead.random_walk import random_walk
from runners.lookahead.recompute import recompute
from runners.lookahead.refit import refit
from runners.lookahead.run import run_checks
from runners.lookahead.sampling import excluded
from runners.lookahead.tasks import Pace
from runners.lookahead.under_test import UnderTest, code_under_test, models_under_test
from tests.conftest import ROOT, SMALL, command, invoke, to_csv
from training import TrainSettings, train

OWN = Path(__file__).parents[1] / "user_code"
EXAMPLE = ROOT / "runners" / "examples" / "own_code.py"
FEW = Pace(least=100, seconds=0.0)


def own(name: str, candles: pd.DataFrame) -> UnderTest:
    return code_under_test(OWN / f"{name}.py", candles, None)


def sound(candles: pd.DataFrame) -> UnderTest:
    return code_under_test(EXAMPLE, candles, None)


@pytest.mark.parametrize("name", ["centred_mean", "tomorrow", "scaled_close"])
def test_a_feature_that_looks_ahead_is_reported_with_bar_and_size(name: str, candles: pd.DataFrame) -> None:
    findings = recompute(own(name, candles), FEW).findings
    assert len(findings) == 1
    assert findings[0].startswith(f"feature {name} looks ahead: with the bars after 2022-")
    assert "standard deviations" in findings[0]


def test_the_size_of_a_leak_is_the_change_that_it_makes(candles: pd.DataFrame) -> None:
    under_test = own("scaled_close", candles)
    (finding,) = recompute(under_test, FEW).findings
    cut, part, bar = re.search(r"after (.+) cut off, it is (\S+) instead .+\) at (.+);", finding).groups()  # type: ignore[union-attr]
    alone = compute_features(candles.loc[:cut], ["scaled_close"])["scaled_close"]
    assert float(part) == pytest.approx(alone.loc[bar], rel=1e-4)


def test_smoothed_states_are_reported(candles: pd.DataFrame) -> None:
    findings = recompute(own("viterbi", candles), FEW).findings
    assert findings
    assert all("detector viterbi" in sentence for sentence in findings)


def test_a_fill_at_the_deciding_bar_is_reported(candles: pd.DataFrame) -> None:
    (finding,) = orders(own("same_bar", candles), Cuts(3, 0.0)).findings
    assert "orders of SameBar" in finding
    assert "fill at the bar that decided them" in finding


def test_a_strategy_that_reads_the_next_bar_is_reported(candles: pd.DataFrame) -> None:
    (finding,) = orders(own("next_close", candles), Cuts(3, 0.0)).findings
    assert "NextClose" in finding
    assert "reads a later one" in finding


def test_a_strategy_that_uses_the_whole_feed_is_reported(candles: pd.DataFrame) -> None:
    (finding,) = orders(own("half_known", candles), Cuts(3, 0.0)).findings
    assert "orders of HalfKnown" in finding
    assert "look ahead" in finding


@pytest.mark.parametrize(
    ("name", "strategy", "message"),
    [
        ("sells_at_the_end", "SellsAtTheEnd", r"sell 100 of 2022-\S+ \S+ is added"),
        ("rests_at_the_end", "RestsAtTheEnd", r"buy 1 of 2022-\S+ \S+ filled at \S+ is missing"),
    ],
)
def test_a_strategy_that_knows_the_end_of_the_feed_is_reported_with_the_changed_order(
    candles: pd.DataFrame, name: str, strategy: str, message: str
) -> None:
    (finding,) = orders(own(name, candles), Cuts(3, 0.0)).findings
    assert f"orders of {strategy}" in finding
    assert re.search(message, finding)


def test_a_strategy_that_uses_more_than_the_lookback_is_reported(candles: pd.DataFrame, model_set: ModelSet) -> None:
    (finding,) = orders(code_under_test(OWN / "long_memory.py", candles, model_set), Cuts(3, 0.0)).findings
    lookback = Forecaster(model_set).lookback
    assert (
        f"orders of LongMemory depend on more than the lookback of {lookback} bars: with only these before" in finding
    )


def test_an_error_in_user_code_names_the_code(tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet) -> None:
    file = tmp_path / "mine.py"
    for text, message in {
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
        with pytest.raises(RegimesError, match=message):
            list(run_checks(code_under_test(file, candles, model_set), quick=True))


def test_an_error_in_a_feature_names_the_feature(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    for number, (body, message) in enumerate(
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
        with pytest.raises(DataError, match=rf"^feature {name} fails on 1200 bars ending 2022-\S+ \S+: {message}"):
            list(run_checks(code_under_test(file, candles, None), quick=True))


def test_an_error_in_a_detector_names_the_detector(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from models.detectors.trend import TrendDetector\nfrom models.regimes import register_detector\n"
        "@register_detector\nclass Broken(TrendDetector):\n    name = 'broken'\n"
        "    def fit(self, features, labels, seed):\n        return self.fitted\n"
    )
    message = r"^training with detector broken fails on 1200 bars ending 2022-\S+ \S+: AttributeError: .* 'fitted'"
    with pytest.raises(DataError, match=message):
        list(run_checks(code_under_test(file, candles, None), quick=True))


def test_a_scaler_fitted_on_all_rows_is_reported(model_set: ModelSet, candles: pd.DataFrame) -> None:
    def on_all_rows(expert):  # type: ignore[no-untyped-def]
        rows = compute_features(candles, expert.features).dropna().to_numpy()
        return replace(expert, mean=rows.mean(axis=0), scale=rows.std(axis=0))

    experts = {regime: on_all_rows(expert) for regime, expert in model_set.experts.items()}
    broken = replace(model_set, experts=experts)
    (finding,) = refit(models_under_test(broken, candles)).findings
    assert finding.startswith("scaler: changes by")
    assert refit(models_under_test(model_set, candles)).findings == []


def with_classifier_of_all_rows(model_set: ModelSet, candles: pd.DataFrame) -> ModelSet:
    detector = model_set.detector
    features = compute_features(candles, detector.features).dropna()
    labels = candles.loc[features.index, "regime"].to_numpy()
    return replace(model_set, detector=type(detector)().fit(features.to_numpy(), labels, 0))


def test_a_classifier_fitted_on_all_rows_is_reported(labelled: pd.DataFrame) -> None:
    honest = train(labelled, "LABELLED", TrainSettings(**SMALL))
    findings = refit(models_under_test(with_classifier_of_all_rows(honest, labelled), labelled)).findings
    assert any(sentence.startswith("classifier coefficients: changes") for sentence in findings)
    assert refit(models_under_test(honest, labelled)).findings == []


def test_a_classifier_with_a_regime_from_after_training_is_reported(labelled: pd.DataFrame) -> None:
    late = labelled.copy()
    late.loc[late.index[-100:], "regime"] = 3.0
    honest = train(late, "LATE", TrainSettings(**SMALL))
    findings = refit(models_under_test(with_classifier_of_all_rows(honest, late), late)).findings
    assert any(sentence.startswith("classifier regimes: changes by inf") for sentence in findings)
    assert refit(models_under_test(honest, late)).findings == []


def test_a_feature_with_a_longer_memory_than_declared_is_no_look_ahead(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\nfrom data.features import feature\n@feature('slow', lookback=120)\ndef slow(candles):\n"
        "    return np.log(candles['close']).ewm(span=20).mean().to_numpy()\n"
    )
    (finding,) = recompute(code_under_test(file, candles, None), FEW).findings
    assert finding.startswith("feature slow depends on more than its lookback of 120 bars: ")
    value, other = re.search(r"it is (\S+) instead of (\S+) ", finding).groups()  # type: ignore[union-attr]
    assert value != other


def test_the_random_walk_finds_a_training_that_uses_the_next_bar(candles: pd.DataFrame) -> None:
    (finding,) = random_walk(own("tomorrow", candles), seeds=2, quick=False).findings
    assert "earns before costs" in finding


def test_correct_code_has_no_findings(candles: pd.DataFrame) -> None:
    outcomes = list(run_checks(sound(candles), quick=True))
    assert [outcome.name for outcome in outcomes] == ["recompute", "refit", "orders", "inputs", "random walk"]
    assert [outcome.findings for outcome in outcomes] == [[]] * 5


def test_only_the_checks_that_apply_to_a_file_run(candles: pd.DataFrame) -> None:
    only_a_feature = run_checks(own("tomorrow", candles.iloc[:600]), quick=True)
    assert [outcome.name for outcome in only_a_feature] == ["recompute", "refit", "inputs", "random walk"]
    only_a_strategy = run_checks(own("half_known", candles.iloc[:600]), quick=True)
    assert [outcome.name for outcome in only_a_strategy] == ["orders", "inputs", "random walk"]


def test_a_training_that_learns_nothing_misses_the_planted_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    standing_still = {"epochs": 1, "lr": 1e-12}
    monkeypatch.setattr(planted_edge, "_N_BARS", 1500)
    monkeypatch.setattr(planted_edge, "_SETTINGS", planted_edge._SETTINGS.model_copy(update=standing_still))
    by_detector, by_label = planted_edge.planted_edge().findings
    assert re.match(
        r"experts reach -?\d+ % of the planted edge's best R2 of 0\.\d+ on unseen bars; a working training", by_detector
    )
    assert by_label.startswith("regimes only in the label: Sharpe ratio per bar of the experts ")
    assert by_label.endswith("the experts must be significantly better.")


def test_an_error_in_a_file_names_the_line(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    for text, message in {
        "x = 1\ny = 1 / 0\n": "line 2: ZeroDivisionError",
        "def f(:\n": "line 1: invalid syntax",
        "x = 1\n": "registers no feature",
        "from strategies import LSTMRegimeStrategy\nclass Mine(LSTMRegimeStrategy):\n    pass\n": "--models",
    }.items():
        file.write_text(text)
        with pytest.raises(SettingsError, match=message):
            code_under_test(file, candles, None)


def test_too_few_candles_are_an_error(candles: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="hold 150 bars, but a check needs 200"):
        code_under_test(EXAMPLE, candles.iloc[:150], None)


def test_candles_other_than_those_of_the_training_are_an_error(model_set: ModelSet, candles: pd.DataFrame) -> None:
    with pytest.raises(ModelSetError, match="differ from those of the training"):
        models_under_test(model_set, candles.assign(volume=candles["volume"] + 1))


@pytest.fixture(scope="module")
def workspace(model_set: ModelSet, candles: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("home")
    (place / "data" / "csv").mkdir(parents=True)
    to_csv(candles, place / "data" / "csv" / "SWITCH.csv")
    model_set.save(place / "models" / "trained")
    return place


def test_the_exit_status_of_a_clean_model_set_is_0(workspace: Path) -> None:
    ran = invoke(workspace, "check", "--quick")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "found no look-ahead bias" in ran.stdout
    for name in ("recompute", "refit", "orders", "inputs", "random walk", "planted edge"):
        assert name in ran.stdout


def test_the_exit_status_is_1_for_look_ahead_and_2_for_an_error(workspace: Path) -> None:
    ran = invoke(workspace, "check", str(OWN / "same_bar.py"), "--quick")
    assert ran.returncode == 1
    assert "orders of SameBar: " in ran.stdout
    assert "1 finding: do not trust the results of same_bar.py." in ran.stdout
    missing = invoke(workspace, "check", "missing.py")
    assert missing.returncode == 2
    assert "missing.py: there is no such Python file." in missing.stderr


def test_every_command_reports_workspace_code_that_cannot_run(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("A = 1\n")
    for file, message in {"gone.py": "there is no such Python file", "mine.txt": "its name must end in .py"}.items():
        (tmp_path / "regimes.toml").write_text(f'code = ["{file}"]\n')
        for name in ("train", "data", "runs"):
            ran = invoke(tmp_path, name)
            assert ran.returncode == 2
            assert f"{tmp_path / file}: " in ran.stderr
            assert message in ran.stderr


def test_every_command_loads_workspace_code(workspace: Path) -> None:
    (workspace / "mine.py").write_text(EXAMPLE.read_text())
    (workspace / "regimes.toml").write_text('code = ["mine.py"]\n')
    small = ["--features", "log_return,close_to_mean", "--epochs", "1", "--hidden-dim", "8", "--num-layers", "1"]
    trained = command(workspace, "train", "SWITCH", "--detector", "mean_reversion", *small)
    assert trained.returncode == 0, trained.stderr
    assert command(workspace, "evaluate", "SWITCH").returncode == 0
    (workspace / "regimes.toml").unlink()
    assert command(workspace, "evaluate", "SWITCH").returncode == 2


COLUMN = (
    "from data.features import feature\n@feature('level', lookback=0)\ndef level(candles):\n"
    "    return candles['signal'].to_numpy()\n"
)


def test_an_input_that_cannot_be_checked_needs_a_vouch(workspace: Path, candles: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(COLUMN)
    noise = np.random.default_rng(0).standard_normal(len(candles))
    csv = to_csv(candles.assign(signal=noise).iloc[:600], tmp_path / "SIGNAL.csv")
    options = ["check", str(tmp_path / "mine.py"), "--on", str(csv), "--quick"]
    ran = invoke(workspace, *options)
    assert ran.returncode == 4
    assert "column signal comes with the file, read by feature level: it cannot be checked" in ran.stdout
    assert "they cannot see all that mine.py reads" in ran.stdout
    assert invoke(workspace, *options, "--vouch", "signal").returncode == 0


def test_an_implausible_column_is_a_finding_even_with_a_vouch(
    workspace: Path, candles: pd.DataFrame, tmp_path: Path
) -> None:
    later = np.log(candles["close"]).diff().shift(-1).fillna(0.0)
    csv = to_csv(candles.assign(signal=later).iloc[:600], tmp_path / "SIGNAL.csv")
    (tmp_path / "mine.py").write_text(COLUMN)
    ran = invoke(workspace, "check", str(tmp_path / "mine.py"), "--on", str(csv), "--quick", "--vouch", "signal")
    assert ran.returncode == 1
    assert "level has a rank correlation (IC) of +1.00 with the next return" in ran.stdout


def test_files_are_vouched_for_by_name_path_or_folder(tmp_path: Path) -> None:
    file = Unchecked(str(tmp_path / "daily.csv"), "mine.py opens it")
    assert all(file.vouched([name]) for name in ("daily.csv", str(tmp_path / "daily.csv"), str(tmp_path)))
    assert not file.vouched(["signal", str(tmp_path / "other")])


def test_code_that_ends_its_process_is_an_error(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "mine.py"
    file.write_text(COLUMN.replace("    return", "    import os\n    os._exit(3)\n    return"))
    with pytest.raises(DataError, match=r"mine\.py: the process that ran it ended early"):
        recompute(code_under_test(file, candles, None), FEW)


def test_every_bar_is_recomputed_if_asked(candles: pd.DataFrame) -> None:
    outcome = recompute(sound(candles.iloc[:300]), Pace(None, 0.0))
    assert outcome.scope.startswith("every bar from its lookback alone: feature close_to_mean")


def test_a_thousand_random_bars_exclude_a_leak_at_1_bar_in_334() -> None:
    """(1 - 1 / 334)^1000 = 0.0499."""
    assert excluded(1000 + 50) == "a leak at 1 bar in 334 (95 %)"


def test_a_regime_column_is_named_only_if_backtests_trade_on_it(labelled: pd.DataFrame, model_set: ModelSet) -> None:
    def named(*, trades_column: bool) -> list[str]:
        own = models_under_test(model_set, labelled[OHLCV], trades_column=trades_column)
        return [one.name for one in inputs(replace(own, candles=labelled)).unchecked]

    assert named(trades_column=True) == ["regime"]
    assert named(trades_column=False) == []
