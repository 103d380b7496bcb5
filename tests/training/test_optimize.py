from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from data.errors import DataError, SettingsError
from data.synthetic import with_noise_from
from models import Forecaster, ModelSet
from models.detectors.trend import TrendDetector
from runners.backtesting.settings import BacktestSettings
from runners.search.objective import ValidationTrade
from tests.conftest import SMALL, switching_candles
from training import TrainSettings
from training.prepare import Prepared
from training.search.optimize import StudyTask, prepare_search, validation_forecast
from training.search.result import StudyResult
from training.search.settings import SearchSettings
from training.search.slots import START, finished_trial, slots_of
from training.search.storage import open_storage
from training.search.worker import SearchProgress
from training.trainer import Member, NetworkTask

SETTINGS = TrainSettings(**SMALL | {"epochs": 4, "features": ("log_return", "rsi")})
SEARCH = SearchSettings(
    trials=12,
    features=("rsi", "macd"),
    window=(4, 8),
    stride=(2, 8),
    hidden_dim=(2, 8),
    num_layers=(1, 1),
    batch_size=(32, 256),
)
BEARISH, BULLISH = 0, 2


@pytest.fixture(scope="module")
def prepared(candles: pd.DataFrame) -> Prepared:
    return prepare_search(candles, "SWITCH", SETTINGS, SEARCH)


@pytest.fixture
def task(prepared: Prepared, candles: pd.DataFrame, tmp_path: Path) -> StudyTask:
    return study_task(prepared, candles, tmp_path / "journal.log")


def study_task(prepared: Prepared, candles: pd.DataFrame, storage: Path | str) -> StudyTask:
    seen = candles.iloc[: prepared.split.validation.stop]
    trading = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002)
    trade = ValidationTrade(seen["open"].to_numpy(), seen["close"].to_numpy(), trading)
    return StudyTask(BULLISH, prepared, SEARCH, SETTINGS.of("bullish"), str(storage), "study", trade)


def elsewhere(task: StudyTask, name: str) -> StudyTask:
    """The same in a storage of its own."""
    return replace(task, storage=str(Path(task.storage).with_name(name)))


def trials_of(task: StudyTask) -> list[FrozenTrial]:
    return optuna.load_study(study_name=task.study, storage=open_storage(task.storage)).trials


def result_of(task: StudyTask) -> StudyResult:
    return StudyResult.read(task.name, task.search, open_storage(task.storage), task.study)


def record(task: StudyTask) -> list[tuple[Any, ...]]:
    """All that the finished trials tell, bit for bit."""
    return [
        (trial.state, trial.params, trial.values, trial.intermediate_values, trial.user_attrs.get("sharpe"))
        for trial in result_of(task).trials
    ]


def test_equal_settings_give_equal_trials(task: StudyTask) -> None:
    again = elsewhere(task, "again.log")
    other_seed = elsewhere(task, "other.log")
    other_seed = replace(
        other_seed, prepared=replace(task.prepared, settings=task.prepared.settings.model_copy(update={"seed": 1}))
    )
    for one in (task, again, other_seed):
        one.run()
    assert len(record(task)) == SEARCH.trials
    assert record(task) == record(again)
    assert [trial[1] for trial in record(task)[1:]] != [trial[1] for trial in record(other_seed)[1:]]


def test_trials_do_not_use_the_bars_after_validation(task: StudyTask, candles: pd.DataFrame) -> None:
    noisy = with_noise_from(candles, task.prepared.split.validation.stop, seed=3)
    prepared = prepare_search(noisy, "SWITCH", SETTINGS, SEARCH)
    other = study_task(prepared, noisy, Path(task.storage).with_name("noisy.log"))
    for one in (task, other):
        one.run()
    assert record(task) == record(other)
    end = prepared.split.validation.stop
    assert end == 930  # three quarters of the validation part
    assert {len(values) for values in [*prepared.features.values(), prepared.regimes, prepared.log_returns]} == {end}
    assert np.isnan(prepared.log_returns[-1])  # it would be the move into the test part


def test_a_stopped_study_continues_to_the_same_result(task: StudyTask) -> None:
    class StopError(Exception):
        pass

    def stop_after_a_while() -> Callable[[SearchProgress], None]:
        calls = iter(range(1000))

        def on_progress(progress: SearchProgress) -> None:
            if next(calls) > 12:
                raise StopError

        return on_progress

    whole = elsewhere(task, "whole.log")
    whole.run()
    stops = 0
    while True:
        try:
            task.run(stop_after_a_while())
        except StopError:
            stops += 1
        else:
            break
    assert stops > 2
    assert any(trial.state == TrialState.FAIL for trial in trials_of(task))
    assert record(task) == record(whole)


def test_a_task_can_be_sent_to_a_process_without_the_users_detector(task: StudyTask) -> None:
    class OwnDetector(TrendDetector):
        pass

    own = replace(elsewhere(task, "own.log"), prepared=replace(task.prepared, detector=OwnDetector()))
    sent = pickle.loads(pickle.dumps(own))
    for one in (task, sent):
        one.run()
    assert record(task) == record(sent)


def test_the_initial_settings_are_the_first_trial_if_the_search_space_has_them(task: StudyTask) -> None:
    task = replace(task, search=SEARCH.model_copy(update={"trials": 1}))
    outside = replace(elsewhere(task, "outside.log"), start=task.start.model_copy(update={"window": 50}))
    inside = replace(
        elsewhere(task, "inside.log"), start=task.start.model_copy(update={"features": ("log_return", "macd")})
    )
    for one in (outside, inside):
        one.run()
    assert result_of(outside).start is None
    begun = result_of(inside).start
    assert begun is not None
    assert begun.settings == inside.start
    assert begun == result_of(inside).best


def test_a_trial_trains_the_network_that_training_trains(task: StudyTask) -> None:
    task.run()
    best = result_of(task).best
    assert best is not None
    data = task.prepared.network(BULLISH, best.settings)
    assert min(NetworkTask(Member(BULLISH, 1), data, SETTINGS).fit().validation_losses) == best.value


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_pruner_ends_trials_before_their_last_epoch(task: StudyTask, pruner: str) -> None:
    task = replace(task, search=SEARCH.model_copy(update={"trials": 15, "pruner": pruner}))
    task.run()
    tried = result_of(task).tried
    pruned = [one for one in tried if one.value is None]
    assert 0 < len(pruned) < len(tried) == 15
    assert all(one.epochs < SETTINGS.epochs and one.sharpe is None for one in pruned)
    assert all(one.sharpe is not None for one in tried if one.value is not None)


def test_without_a_pruner_every_trial_has_a_value(task: StudyTask) -> None:
    replace(task, search=SEARCH.model_copy(update={"pruner": "none"})).run()
    assert all(one.value is not None for one in result_of(task).tried)


def test_the_objective_can_be_the_sharpe_ratio(task: StudyTask) -> None:
    task = replace(task, search=SEARCH.model_copy(update={"objective": "sharpe"}))
    task.run()
    result = result_of(task)
    known = [one.sharpe for one in result.tried if one.sharpe is not None]
    assert result.best is not None
    assert result.best.value == result.best.sharpe == max(known)
    assert len(set(known)) > 1


def test_a_network_that_bankrupts_the_account_has_no_sharpe_ratio(task: StudyTask, candles: pd.DataFrame) -> None:
    rises = 9.0 ** np.digitize(np.arange(960), [800, 880])  # before the validation part and within it
    always_short = BacktestSettings(long_threshold=1.0, short_threshold=0.9)
    broke = ValidationTrade(*(candles[name].iloc[:960].to_numpy() * rises for name in ("open", "close")), always_short)
    by_sharpe = SEARCH.model_copy(update={"trials": 2, "pruner": "none", "objective": "sharpe"})
    task = replace(task, search=by_sharpe, trade=broke)
    task.run()
    assert [(one.value, one.sharpe) for one in result_of(task).tried] == [(None, None)] * 2
    assert result_of(task).best is None


def test_a_network_that_diverges_is_pruned(task: StudyTask) -> None:
    task = replace(task, search=SEARCH.model_copy(update={"trials": 2, "lr": (1e30, 1e30), "pruner": "none"}))
    task.run()
    assert [one.value for one in result_of(task).tried] == [None, None]
    assert result_of(task).best is None


def test_the_timeout_ends_a_study_between_trials(task: StudyTask) -> None:
    replace(task, search=SEARCH.model_copy(update={"timeout": 1e-9})).run()
    assert trials_of(task) == []


def test_too_few_bars_for_the_longest_window_are_refused_before_a_trial(candles: pd.DataFrame) -> None:
    wide = SEARCH.model_copy(update={"window": (4, 900)})
    with pytest.raises(DataError, match=r"SWITCH: has 1200 bars, but at least \d+ are needed"):
        prepare_search(candles, "SWITCH", SETTINGS, wide)
    with pytest.raises(SettingsError, match="leave no bars to test on"):
        prepare_search(candles, "SWITCH", SETTINGS.model_copy(update={"train_fraction": 0.9}), SEARCH)


def test_validation_is_traded_on_the_forecasts_that_a_backtest_would_have(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    settings = TrainSettings(**SMALL)
    search = SEARCH.model_copy(update={"features": settings.features[1:]})
    prepared = prepare_search(candles, "SWITCH", settings, search)
    data = prepared.network(BEARISH, settings.of("bearish"))
    bars, forecast = validation_forecast(model_set.experts[BEARISH].networks[0], data, prepared.split)
    assert bars == slice(840, 930)
    expected = Forecaster(model_set).forecast(candles).iloc[840:929]  # the last bar's target lies beyond
    bearish = np.append(expected["regime"] == BEARISH, False)
    assert bearish.any()
    np.testing.assert_allclose(forecast[bearish], expected["member_1"][bearish[:-1]], rtol=1e-4, atol=1e-8)
    assert (forecast[~bearish] == 0).all()


def test_a_regime_without_validation_bars_is_validated_on_its_last_training_windows() -> None:
    candles = switching_candles()
    candles["regime"] = np.where(np.arange(len(candles)) < 700, candles["regime"] % 2, 0.0)
    prepared = prepare_search(candles, "LACKS", SETTINGS, SEARCH)
    data = prepared.network(1, SEARCH.widest)
    result = NetworkTask(Member(1, 1), data, SETTINGS).fit()
    bars, forecast = validation_forecast(result.network, data, prepared.split)
    assert (bars.start, bars.stop) == (data.samples.validation[0], 840)
    assert np.count_nonzero(forecast) == len(data.samples.validation)


def test_each_trial_is_counted_once_however_often_it_was_repeated(task: StudyTask) -> None:
    """Two trials that repeat the same, as two workers may ask for: the second is not run."""
    study = optuna.create_study(storage=open_storage(task.storage), study_name=task.study)
    study.tell(study.ask(), state=TrialState.FAIL)
    for _ in range(2):
        study.enqueue_trial({"lr": 0.005}, user_attrs={"repeats": 0})
    task.run()
    slots = slots_of(trials_of(task))
    assert [trial.state for trial in slots[0]] == [TrialState.FAIL, slots[0][1].state, TrialState.FAIL]
    assert slots[0][1].state.is_finished()
    assert slots[0][1].params["lr"] == 0.005
    assert slots[0][2].params == {}
    assert sum(finished_trial(slot) is not None for slot in slots.values()) == len(slots) == SEARCH.trials
    assert START not in slots  # the study had begun


@pytest.mark.parametrize(
    ("given", "bounds"), [("20", (20, 20)), ("5,60", (5, 60)), ([5, 60], (5, 60)), (7, (7, 7)), ([7], (7, 7))]
)
def test_a_range_is_two_bounds_or_one_value(given: Any, bounds: tuple[int, int]) -> None:
    assert SearchSettings(window=given).window == bounds


@pytest.mark.parametrize(
    "wrong",
    [{"window": "60,5"}, {"window": "0,5"}, {"window": "1,2,3"}, {"dropout": (0, 1)}, {"storage": "redis"}, {"lr": 0}],
)
def test_an_invalid_search_space_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SearchSettings(**wrong)


def test_settings_and_a_trials_parameters_convert_into_each_other() -> None:
    search = SearchSettings(features="macd,log_return,rsi,macd")
    assert search.features == ("macd", "rsi")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggested: Iterable[Any] = [search.suggest(study.ask()) for _ in range(20)]
    for trial, network in zip(study.trials, suggested, strict=True):
        assert search.parameters(network) == trial.params
        assert search.network(trial.params) == network
        assert network.features[0] == "log_return"


def test_a_search_over_periods_takes_one_period_of_each_feature() -> None:
    search = SearchSettings(features="rsi(7..9),volatility(50)@1d,CCI(20)")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    networks: list[Any] = [search.suggest(study.ask()) for _ in range(40)]
    assert {name for network in networks for name in network.features} == set(search.widest.features)
    assert set(search.widest.features) == {"log_return", "rsi(7)", "rsi(8)", "rsi(9)", "volatility(50)@1d", "CCI(20)"}
    for network in networks:
        assert sum(name.startswith("rsi") for name in network.features) <= 1
        parameters = search.parameters(network)
        assert parameters is not None
        assert search.network(parameters) == network
    with pytest.raises(ValueError, match=r"rsi\(9..7\)"):
        SearchSettings(features="rsi(9..7)")
