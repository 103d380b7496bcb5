from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from data.errors import DataError, SettingsError
from data.features import compute_features
from models import Forecaster, ModelSet
from models.network import one_thread
from tests.conftest import SMALL, halted, switching_candles
from training import TrainSettings, train
from training.fit import Adam, fit_network
from training.prepare import NetworkData, Samples, detector_task, prepare
from training.provenance import git_commit
from training.settings import NetworkSettings
from training.trainer import Progress, assemble, network_tasks


def ignore(epoch: int, validation_loss: float) -> None:
    pass


def network_data(settings: NetworkSettings, inputs: np.ndarray, target: np.ndarray, samples: Samples) -> NetworkData:
    unscaled = {"mean": np.zeros(inputs.shape[1]), "scale": np.ones(inputs.shape[1]), "target_scale": 1.0}
    slots, inputs = np.arange(len(inputs)), inputs.astype(np.float32)
    return NetworkData(settings, inputs=inputs, target=target, slots=slots, samples=samples, fallback=None, **unscaled)


def weights(model_set: ModelSet) -> dict[str, torch.Tensor]:
    experts = [*model_set.experts.values(), model_set.all_regimes]
    networks = {f"{expert.name} {number}": one for expert in experts for number, one in enumerate(expert.networks)}
    return {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}


def equal(one: ModelSet, other: ModelSet) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_the_same_seed_gives_the_same_weights_at_any_number_of_jobs(model_set: ModelSet, candles: pd.DataFrame) -> None:
    alone = train(candles, "SWITCH", TrainSettings(**SMALL), jobs=1)
    assert alone.detector.parameters() == model_set.detector.parameters()
    assert equal(model_set, alone)
    assert not equal(model_set, train(candles, "SWITCH", TrainSettings(**SMALL, seed=1)))


def test_members_differ_and_the_first_is_the_network_of_a_set_of_one(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    single = train(candles, "SWITCH", TrainSettings(**{**SMALL, "members": 1}))
    assert single.n_members == 1
    both = weights(model_set)
    assert all(torch.equal(value, both[name]) for name, value in weights(single).items())
    first, second = (network.head.weight for network in model_set.experts[1].networks)
    assert not torch.equal(first, second)


def test_no_fitted_value_depends_on_later_parts(model_set: ModelSet, candles: pd.DataFrame) -> None:
    noise = switching_candles(seed=9).drop(columns="regime")
    after_training, after_validation = candles.copy(), candles.copy()
    after_training.iloc[840:] = noise.iloc[840:]
    after_validation.iloc[960:] = noise.iloc[960:]
    retrained = train(after_training, "SWITCH", TrainSettings(**SMALL))
    np.testing.assert_array_equal(retrained.all_regimes.mean, model_set.all_regimes.mean)
    np.testing.assert_array_equal(retrained.all_regimes.scale, model_set.all_regimes.scale)
    assert retrained.all_regimes.target_scale == model_set.all_regimes.target_scale
    assert retrained.detector.parameters() == model_set.detector.parameters()
    assert retrained.regime_returns == model_set.regime_returns
    unseen_changed = train(after_validation, "SWITCH", TrainSettings(**SMALL))
    assert equal(unseen_changed, model_set)
    assert unseen_changed.shrinkage == model_set.shrinkage
    for regime, expert in model_set.experts.items():
        losses = unseen_changed.experts[regime].training["relative_loss"]
        assert losses == expert.training["relative_loss"]
        assert set(losses) == {"train", "validation"}


def test_a_regime_column_trains_on_itself_and_further_regimes_keep_their_number() -> None:
    candles = switching_candles()
    candles.loc[candles["regime"] == 1, "regime"] = 3.0
    model_set = train(candles, "LABELS", TrainSettings(**SMALL))
    assert model_set.detector.name == "labels"
    assert {regime: expert.name for regime, expert in model_set.experts.items()} == {
        0: "bearish",
        2: "bullish",
        3: "regime3",
    }
    trained = candles["regime"].iloc[50:839]  # from the classifier's lookback to the training part's last target
    assert model_set.experts[3].training["windows"]["train"] == pytest.approx((trained == 3).sum(), abs=20)


def test_without_a_regime_column_the_hidden_markov_model_is_used(model_set: ModelSet) -> None:
    assert model_set.detector.name == "hmm"
    assert [expert.name for expert in model_set.experts.values()] == ["bearish", "sideways", "bullish"]


def test_a_rare_regime_uses_the_all_regimes_network_and_records_it() -> None:
    candles = switching_candles()
    candles["regime"] = np.where(np.arange(len(candles)) % 100 == 0, 2.0, candles["regime"] % 2)
    model_set = train(candles, "RARE", TrainSettings(**SMALL))
    rare = model_set.experts[2]
    assert rare.training["fallback"] == "only 8 training windows, min_windows is 30"
    assert torch.equal(rare.networks[1].head.weight, model_set.all_regimes.networks[1].head.weight)
    assert model_set.experts[0].training["fallback"] is None


def test_a_regime_that_the_validation_part_lacks_is_validated_on_its_last_training_windows() -> None:
    candles = switching_candles()
    candles["regime"] = np.where(np.arange(len(candles)) < 700, candles["regime"] % 2, 0.0)
    missing = train(candles, "LACKS", TrainSettings(**SMALL)).experts[1].training
    assert missing["validation_part"] == "train"
    assert missing["windows"]["validation"] >= 10
    assert missing["fallback"] is None


def test_a_regime_that_lacks_validation_and_is_too_rare_to_spare_windows_for_it_has_no_network() -> None:
    candles, bar = switching_candles(), np.arange(1200)
    candles["regime"] = np.where((bar % 20 == 0) & (bar < 740), 1.0, 0.0)  # some 35 windows, 30 are needed to train
    lacking = train(candles, "LACKS", TrainSettings(**SMALL)).experts[1].training
    assert lacking["fallback"] == "only 0 validation windows, 10 are needed"
    assert SMALL["min_windows"] < lacking["windows"]["train"] < SMALL["min_windows"] + 10


def test_a_jump_that_prevents_regimes_is_refused(candles: pd.DataFrame) -> None:
    split = candles.copy()
    split.iloc[600:, :4] *= 1000
    with pytest.raises(
        DataError, match=r"SPLIT: no hidden Markov model fits .* for a jump, .* --detector trend instead"
    ):
        train(split, "SPLIT", TrainSettings(**SMALL))
    assert train(split, "SPLIT", TrainSettings(**SMALL, detector="trend")).detector.name == "trend"


def test_too_few_bars_are_refused_with_the_number_needed(candles: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"SHORT: has 200 bars, but at least (\d+) are needed") as refused:
        train(candles.iloc[:200], "SHORT", TrainSettings(**SMALL))
    needed = int(str(refused.value).split("at least ")[1].split()[0])
    train(candles.iloc[:needed], "SHORT", TrainSettings(**SMALL))


def test_an_unknown_feature_is_refused_before_anything_is_fitted(candles: pd.DataFrame) -> None:
    for settings in ({"features": ("rsii",)}, {"networks": {"bullish": {"features": ("rsii",)}}}):
        with pytest.raises(DataError, match="feature 'rsii' is neither built in"):
            detector_task(candles, "SWITCH", TrainSettings(**{**SMALL, **settings}))  # what fits the first thing


def test_a_column_without_values_is_refused(candles: pd.DataFrame) -> None:
    empty = candles.assign(funding=np.nan)
    with pytest.raises(DataError, match="only 0 training and 0 validation windows have all features"):
        train(empty, "EMPTY", TrainSettings(**SMALL, features=("log_return", "funding")))


def test_a_price_that_never_changes_is_refused(candles: pd.DataFrame) -> None:
    flat = candles.assign(open=10.0, high=10.0, low=10.0, close=10.0)
    for detector, message in (("hmm", "price hardly moves"), ("trend", "close does not change")):
        with pytest.raises(DataError, match=message):
            train(flat, "FLAT", TrainSettings(**SMALL, detector=detector))


@pytest.mark.parametrize(("part", "bars"), [("training", slice(0, 1200)), ("validation", slice(840, 960))])
def test_a_regime_without_price_changes_uses_the_all_regimes_network(
    labelled: pd.DataFrame, part: str, bars: slice
) -> None:
    still = np.zeros(len(labelled), dtype=bool)
    still[bars] = labelled["regime"].iloc[bars] == 1
    model_set = train(halted(labelled, still), "HALTED", TrainSettings(**SMALL))
    assert model_set.experts[1].training["fallback"] == f"the returns after its {part} windows are all equal"
    assert torch.equal(model_set.experts[1].networks[0].head.weight, model_set.all_regimes.networks[0].head.weight)
    assert model_set.expert_notes() == [
        f"sideways uses the all-regimes network: the returns after its {part} windows are all equal."
    ]


def test_a_validation_part_without_price_changes_is_refused(labelled: pd.DataFrame) -> None:
    still = (np.arange(len(labelled)) >= 830) & (np.arange(len(labelled)) < 960)
    with pytest.raises(DataError, match="HALTED: the close does not change in the validation part"):
        train(halted(labelled, still), "HALTED", TrainSettings(**SMALL))


def test_a_training_without_a_finite_loss_is_refused(candles: pd.DataFrame) -> None:
    with pytest.raises(SettingsError, match=r"SWITCH: the all-regimes network has no epoch .* lower lr \(now 1e\+20\)"):
        train(candles, "SWITCH", TrainSettings(**SMALL, lr=1e20))


def test_an_expert_without_a_finite_loss_uses_the_all_regimes_network(candles: pd.DataFrame) -> None:
    model_set = train(candles, "SWITCH", TrainSettings(**SMALL, networks={"bullish": {"lr": 1e20}}))
    reason = "no epoch with a finite validation loss; lower lr (now 1e+20)"
    assert model_set.expert_notes() == [f"bullish uses the all-regimes network: {reason}."]
    assert torch.equal(model_set.experts[2].networks[0].head.weight, model_set.all_regimes.networks[0].head.weight)


def test_training_stops_at_the_first_loss_that_is_not_finite() -> None:
    """The weights do not recover, and the files of a model set hold finite numbers only."""
    random = np.random.default_rng(0)
    samples = Samples(np.arange(5, 150), np.arange(150, 190), np.arange(0))
    data = network_data(NetworkSettings(window=3), random.standard_normal((200, 1)), np.full(200, 1e-3), samples)
    overflows = replace(data, target=np.where(np.arange(200) < 150, 1e-3, 1e30))
    result = fit_network(overflows, TrainSettings(epochs=5), seed=0, on_epoch=ignore)
    assert (result.best_epoch, result.train_losses, result.validation_losses) == (0, [], [])


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


def test_fractions_must_leave_a_test_part(candles: pd.DataFrame) -> None:
    with pytest.raises(SettingsError, match="leave no bars to test on"):
        train(candles, "ALL", TrainSettings(**SMALL, train_fraction=0.9))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_refused(candles: pd.DataFrame) -> None:
    with pytest.raises(SettingsError, match="device is cuda, but torch finds no GPU"):
        train(candles, "SWITCH", TrainSettings(**SMALL, device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_same_training_as_the_cpu(candles: pd.DataFrame) -> None:
    slow, fast = (train(candles, "SWITCH", TrainSettings(**SMALL, device=device)) for device in ("cpu", "cuda"))
    for mine, theirs in zip(weights(slow).values(), weights(fast).values(), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-2, atol=1e-3)


def test_an_exception_in_progress_ends_the_training_of_all_networks(candles: pd.DataFrame) -> None:
    reports: list[Progress] = []

    def stop(report: Progress) -> None:
        reports.append(report)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(candles, "SWITCH", TrainSettings(**{**SMALL, "epochs": 1000, "patience": 1000}), progress=stop)
    assert {report.epoch for report in reports} == {1}


def test_progress_reports_every_epoch_of_every_network(candles: pd.DataFrame) -> None:
    reports: list[Progress] = []
    train(candles, "SWITCH", TrainSettings(**SMALL), progress=reports.append)
    epochs = sorted((report.name, report.member, report.epoch) for report in reports)
    assert epochs == list(itertools.product(("all", "bearish", "bullish", "density", "sideways"), (1, 2), (1, 2)))


@pytest.mark.parametrize("stride", [1, 20])
def test_training_reaches_most_of_the_best_possible_r2(stride: int) -> None:
    """An AR(1) return's best possible R2 is the square of its coefficient."""
    random = np.random.default_rng(0)
    coefficient, n_bars = 0.6, 4000
    returns = np.zeros(n_bars)
    for bar in range(1, n_bars):
        returns[bar] = coefficient * returns[bar - 1] + random.standard_normal()
    target = np.append(returns[1:], np.nan)
    settings = NetworkSettings(window=5, stride=stride, hidden_dim=16, num_layers=1, batch_size=32)
    bars = np.arange(30, n_bars - 1)
    data = network_data(settings, returns[:, None], target, Samples(bars[:3000], bars[3000:], bars[:0]))
    with one_thread():
        result = fit_network(data, TrainSettings(epochs=10, patience=5), seed=0, on_epoch=ignore)
    assert min(result.validation_losses) == result.validation_losses[result.best_epoch - 1]
    assert 1 - min(result.validation_losses) > 0.85 * coefficient**2


def test_adam_takes_the_steps_of_torchs() -> None:
    ours, torchs = (torch.nn.Linear(3, 2) for _ in range(2))
    torchs.load_state_dict(ours.state_dict())
    optimisers = Adam(ours.parameters(), lr=0.01), torch.optim.Adam(torchs.parameters(), lr=0.01, fused=True)
    inputs = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for network, optimiser in zip((ours, torchs), optimisers, strict=True):
        for _ in range(20):
            network.zero_grad()
            network(inputs).square().mean().backward()
            optimiser.step()
    assert all(map(torch.equal, ours.parameters(), torchs.parameters()))


def test_the_best_epoch_is_kept_and_training_stops_after_patience() -> None:
    random = np.random.default_rng(0)
    noise, target = random.standard_normal((400, 2)), random.standard_normal(400)
    settings = NetworkSettings(window=3, stride=5, hidden_dim=16, num_layers=1, lr=0.01)
    bars = np.arange(10, 399)
    data = network_data(settings, noise, target, Samples(bars[:300], bars[300:], bars[:0]))
    result = fit_network(data, TrainSettings(epochs=100, patience=2), seed=0, on_epoch=ignore)
    assert len(result.validation_losses) == result.best_epoch + 2


def test_a_network_can_have_settings_of_its_own(candles: pd.DataFrame) -> None:
    own = {"bullish": {"window": 9, "features": ["log_return", "momentum"]}, "all": {"hidden_dim": 4}}
    settings = TrainSettings(**SMALL, networks=own)
    trained = train(candles, "OWN", settings)
    shapes = {
        one.name: (one.window, one.features, one.networks[0].head.in_features) for one in trained.experts.values()
    }
    assert shapes["bullish"] == (9, ("log_return", "momentum"), SMALL["hidden_dim"])
    assert shapes["bearish"] == (SMALL["window"], TrainSettings().features, SMALL["hidden_dim"])
    assert trained.all_regimes.networks[0].head.in_features == 4
    again = TrainSettings(**trained.provenance.settings)
    assert again == settings  # what a set keeps of its settings trains it again


def test_settings_of_an_unknown_network_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no network 'bulish'"):
        TrainSettings(networks={"bulish": {"window": 9}})


def test_a_warm_start_begins_with_the_previous_weights(model_set: ModelSet, candles: pd.DataFrame) -> None:
    prepared = prepare(candles, "SWITCH", TrainSettings(**SMALL, lr=1e-12))
    fitted = {regime: task.fit() for regime, task in network_tasks(prepared, warm_start=model_set).items()}
    for name, value in weights(assemble(candles, prepared, fitted)).items():
        torch.testing.assert_close(value, weights(model_set)[name], rtol=0, atol=1e-6)


def test_a_network_without_previous_weights_begins_at_random(model_set: ModelSet, candles: pd.DataFrame) -> None:
    prepared = prepare(candles, "SWITCH", TrainSettings(**SMALL, lr=1e-12))
    bullish = model_set.experts[2]
    lacking = replace(model_set, experts={2: replace(bullish, training={**bullish.training, "fallback": "too few"})})
    warm, cold = (
        weights(assemble(candles, prepared, {regime: task.fit() for regime, task in tasks.items()}))
        for tasks in (network_tasks(prepared, warm_start=lacking), network_tasks(prepared))
    )
    for name, value in warm.items():
        before = weights(model_set)[name] if name.startswith("all") else cold[name]
        torch.testing.assert_close(value, before, rtol=0, atol=1e-6)


def test_scaled_inputs_of_the_training_part_have_mean_0_and_deviation_1(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    expert = model_set.all_regimes
    training_part = compute_features(candles, expert.features).to_numpy()[25:840]
    scaled = (training_part - expert.mean) / expert.scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), 1)


def test_forecasts_are_in_log_return_units(model_set: ModelSet, candles: pd.DataFrame) -> None:
    forecast = Forecaster(model_set).forecast(candles)["forecast"]
    realised = np.log(candles["close"]).diff().std()
    assert forecast.abs().max() < 3 * realised
