from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import linregress, rankdata

from data.errors import DataError, SettingsError
from training import overfitting
from training.overfitting import CrossValidated, Overfitting, ReturnSums, Splits, block_bounds, training_bars


def probability_of_overfitting(returns: np.ndarray, blocks: int = 16) -> Overfitting:
    """Of a table of returns ``(n_bars, n_settings)``."""
    return overfitting.probability_of_overfitting(ReturnSums.of(returns, block_bounds(len(returns), blocks)))


def combinatorial_paths(
    returns: np.ndarray, groups: int = 10, test_groups: int = 2, embargo: int = 1
) -> CrossValidated:
    """Of a table of returns ``(n_bars, n_settings)``."""
    splits = Splits.of(len(returns), groups, test_groups, embargo)
    sums = ReturnSums.of(returns, splits.part_bounds)
    return overfitting.combinatorial_paths(sums, splits, lambda settings: returns[:, settings])


def noise(seed: int, n_bars: int = 320, n_settings: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (n_bars, n_settings))


def with_one_dominant(seed: int, place: int) -> np.ndarray:
    """Noise, and one setting whose mean is ten times its spread."""
    returns = noise(seed)
    returns[:, place] = np.random.default_rng(seed + 100).normal(0.01, 0.001, len(returns))
    return returns


def awkward() -> np.ndarray:
    """Settings that never trade, earn the same every bar, trade one half of the time only, or equal another."""
    returns = noise(1, 43, 7)
    returns[:, 1] = 0.0
    returns[:, 2] = 0.1
    returns[:22, 3] = 0.0
    returns[:, 5] = returns[:, 4]
    return returns


def direct_sharpe(returns: np.ndarray) -> np.ndarray:
    """Per bar of each column, as the definition says."""
    return np.array([0.0 if np.ptp(one) == 0 else one.mean() / one.std(ddof=1) for one in returns.T])


def test_a_setting_that_dominates_everywhere_is_not_overfitted() -> None:
    result = probability_of_overfitting(with_one_dominant(0, place=7), blocks=8)
    assert result.probability == 0
    assert result.probability_of_loss == 0
    assert result.logits == pytest.approx(np.full(math.comb(8, 4), math.log(20)))  # rank 20 of 20


def test_a_setting_and_its_opposite_without_a_mean_are_overfitted_in_every_combination() -> None:
    """What sums to 0 over all bars has opposite sums in the two halves: the better in one is the worse in the other."""
    moves = noise(2, 100, 1)
    moves -= moves.mean()
    result = probability_of_overfitting(np.hstack([moves, -moves]), blocks=10)
    assert result.probability == 1
    assert result.probability_of_loss == 1
    assert result.logits == pytest.approx(np.full(math.comb(10, 5), math.log(1 / 2)))
    assert result.slope is not None
    assert result.slope < 0


def test_settings_equally_good_over_all_bars_look_overfitted() -> None:
    """The method's known bias: the two halves mirror each other around one common average."""
    returns = noise(3)
    alike = (returns - returns.mean(axis=0)) / returns.std(axis=0)
    assert probability_of_overfitting(alike, blocks=8).probability > 0.9


def test_pure_noise_is_overfitted_half_of_the_time_on_average_only() -> None:
    """In one combination the halves are independent, so the in-sample best is as likely above the median as below.

    The combinations of one table share its bars: tables of 20 settings have a standard deviation of 0.2 (measured over
    300). The mean of 60 has a standard error of 0.2 / sqrt(60) = 0.026, and the tolerance is three of them.
    """
    result = [probability_of_overfitting(noise(seed), blocks=8) for seed in range(60)]
    probabilities = [one.probability for one in result]
    assert np.mean(probabilities) == pytest.approx(0.5, abs=0.08)
    assert 0.1 < np.std(probabilities) < 0.3
    assert np.mean([one.slope for one in result if one.slope is not None]) < 0


def test_every_combination_follows_the_definition() -> None:
    returns = awkward()
    result = probability_of_overfitting(returns, blocks=6)
    bounds = [len(returns) * block // 6 for block in range(7)]
    block_of_bar = np.searchsorted(bounds, np.arange(len(returns)), side="right") - 1
    for number, inside in enumerate(combinations(range(6), 3)):
        seen = np.isin(block_of_bar, inside)
        in_sample, out_of_sample = direct_sharpe(returns[seen]), direct_sharpe(returns[~seen])
        best = min(np.flatnonzero(in_sample == in_sample.max()), key=lambda tied: out_of_sample[tied])
        rank = rankdata(np.round(out_of_sample, 10))[best]
        assert result.in_sample[number] == pytest.approx(in_sample[best], abs=1e-12)
        assert result.out_of_sample[number] == pytest.approx(out_of_sample[best], abs=1e-12)
        assert result.logits[number] == pytest.approx(math.log(rank / 8 / (1 - rank / 8)), abs=1e-12)
    assert number + 1 == len(result.logits) == math.comb(6, 3)
    assert result.probability == np.mean(result.logits <= 0)
    assert result.probability_of_loss == np.mean(result.out_of_sample < 0)
    assert result.slope == pytest.approx(linregress(result.in_sample, result.out_of_sample).slope)


def test_the_chunk_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, paths = probability_of_overfitting(noise(4), blocks=8), combinatorial_paths(noise(4))
    monkeypatch.setattr("training.overfitting._CHUNK", 60)  # three combinations of 35
    portions = probability_of_overfitting(noise(4), blocks=8)
    np.testing.assert_array_equal(combinatorial_paths(noise(4)).paths, paths.paths)
    np.testing.assert_array_equal(portions.logits, whole.logits)
    np.testing.assert_allclose(portions.in_sample, whole.in_sample, atol=1e-14)
    np.testing.assert_allclose(portions.out_of_sample, whole.out_of_sample, atol=1e-14)


def test_a_mean_far_above_the_spread_loses_no_digits() -> None:
    returns = 1 + noise(5, 80, 3) / 100
    result = probability_of_overfitting(returns, blocks=2)
    assert result.in_sample == pytest.approx(
        [direct_sharpe(returns[:40]).max(), direct_sharpe(returns[40:]).max()], rel=1e-9
    )


def test_the_order_of_the_settings_changes_nothing() -> None:
    returns = awkward()
    result = probability_of_overfitting(returns, blocks=6)
    shuffled = probability_of_overfitting(returns[:, np.random.default_rng(6).permutation(7)], blocks=6)
    np.testing.assert_array_equal(shuffled.logits, result.logits)
    np.testing.assert_allclose(shuffled.in_sample, result.in_sample, atol=1e-14)
    np.testing.assert_allclose(shuffled.out_of_sample, result.out_of_sample, atol=1e-14)


def test_the_order_of_the_blocks_only_renames_the_combinations() -> None:
    returns = noise(7)
    order = np.random.default_rng(7).permutation(8)
    result = probability_of_overfitting(returns, blocks=8)
    moved = probability_of_overfitting(returns.reshape(8, 40, 20)[order].reshape(320, 20), blocks=8)
    number = {inside: place for place, inside in enumerate(combinations(range(8), 4))}
    renamed = [number[tuple(sorted(order[list(inside)]))] for inside in number]
    np.testing.assert_array_equal(moved.logits, result.logits[renamed])
    np.testing.assert_allclose(moved.in_sample, result.in_sample[renamed], atol=1e-14)
    assert moved.slope == pytest.approx(result.slope)


def test_equal_settings_rank_in_the_middle_which_counts_as_overfitted() -> None:
    result = probability_of_overfitting(np.repeat(noise(8, n_settings=1), 5, axis=1), blocks=8)
    assert (result.logits == 0).all()
    assert result.probability == 1


@pytest.mark.parametrize("exposure", [1.0, 0.3])
def test_settings_listed_twice_or_at_another_exposure_leave_the_probability(exposure: float) -> None:
    returns = noise(9)
    result = probability_of_overfitting(returns, blocks=8)
    twice = probability_of_overfitting(np.hstack([returns, exposure * returns]), blocks=8)
    np.testing.assert_array_equal(twice.logits <= 0, result.logits <= 0)
    np.testing.assert_allclose(twice.in_sample, result.in_sample, atol=1e-12)


def test_settings_that_never_move_have_a_sharpe_of_zero_and_no_slope() -> None:
    """Cash, and interest that is the same every bar but for the rounding of the equity it is taken from."""
    equity = 10_000 * 1.00001 ** np.arange(201)
    assert np.ptp(equity[1:] / equity[:-1]) > 0
    result = probability_of_overfitting(np.stack([np.zeros(200), equity[1:] / equity[:-1] - 1], axis=1), blocks=4)
    assert (result.in_sample == 0).all()
    assert (result.out_of_sample == 0).all()
    assert (result.logits == 0).all()
    assert result.slope is None


def test_of_settings_that_tie_in_sample_the_worst_out_of_sample_counts() -> None:
    """Two settings without trades in the first half beat the loser there; one of them loses in the second half."""
    moves = np.tile([-0.02, 0.01], 20)
    idle_then_loses = np.concatenate([np.zeros(20), moves[20:]])
    idle_then_wins = np.concatenate([np.zeros(20), -moves[20:]])
    result = probability_of_overfitting(np.stack([idle_then_wins, idle_then_loses, moves - 0.001], axis=1), blocks=2)
    assert result.in_sample[0] == 0
    assert result.out_of_sample[0] == pytest.approx(direct_sharpe(idle_then_loses[20:, None])[0])


@pytest.mark.parametrize("exposure", [0.1, 0.3, 0.7, 0.95])
def test_settings_that_differ_in_exposure_only_tie_in_spite_of_rounding(exposure: float) -> None:
    seen, unseen = noise(17, 20, 1), noise(18, 20, 2)
    worse = int(direct_sharpe(unseen).argmin())
    for exposures in ([1.0, exposure], [exposure, 1.0]):
        result = probability_of_overfitting(np.vstack([seen * exposures, unseen]), blocks=2)
        assert result.out_of_sample[0] == pytest.approx(direct_sharpe(unseen)[worse])


@given(
    arrays(np.int64, st.tuples(st.integers(20, 60), st.integers(2, 6)), elements=st.integers(-3, 3)),
    st.sampled_from([2, 4]),
    st.randoms(use_true_random=False),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_any_returns_give_shares_and_finite_figures_that_neither_order_nor_exposure_changes(
    moves: np.ndarray, blocks: int, random: Random
) -> None:
    returns = moves / 100
    result = probability_of_overfitting(returns, blocks)
    assert 0 <= result.probability <= 1
    assert 0 <= result.probability_of_loss <= 1
    assert np.isfinite([result.logits, result.in_sample, result.out_of_sample]).all()
    assert (np.abs(result.logits) <= math.log(returns.shape[1]) + 1e-12).all()
    order = list(range(returns.shape[1]))
    random.shuffle(order)
    again = probability_of_overfitting(returns[:, order] * np.linspace(0.3, 1.7, len(order)), blocks)
    np.testing.assert_allclose(again.logits, result.logits, atol=1e-12)
    np.testing.assert_allclose(again.in_sample, result.in_sample, atol=1e-12)
    np.testing.assert_allclose(again.out_of_sample, result.out_of_sample, atol=1e-12)


def test_the_paths_are_those_of_the_book() -> None:
    """López de Prado (2018), figure 12.1 and the text below it: six groups, two of them tested, five paths."""
    result = combinatorial_paths(noise(10), groups=6, test_groups=2)
    assert result.path_splits[:2].tolist() == [[0, 0, 1, 2, 3, 4], [1, 5, 5, 6, 7, 8]]
    assert result.test_groups.tolist() == [list(pair) for pair in combinations(range(6), 2)]


def test_every_bar_of_every_path_was_tested_by_the_setting_picked_without_it() -> None:
    returns, embargo = noise(11, 61, 5), 2
    result = combinatorial_paths(returns, groups=6, test_groups=2, embargo=embargo)
    bars = np.arange(61)
    used = set()
    for number, tested in enumerate(combinations(range(6), 2)):
        kept = np.ones(61, dtype=bool)
        for group in tested:
            kept &= (bars < result.bounds[group] - 1) | (bars > result.bounds[group + 1] + embargo)
        assert result.chosen[number] == direct_sharpe(returns[kept]).argmax()
    for path, path_splits in zip(result.paths, result.path_splits, strict=True):
        for group, split in enumerate(path_splits):
            assert group in result.test_groups[split]
            span = slice(result.bounds[group], result.bounds[group + 1])
            np.testing.assert_array_equal(path[span], returns[span, result.chosen[split]])
            used.add((int(split), group))
    assert len(used) == 15 * 2  # each test of each split serves exactly one path
    np.testing.assert_allclose(result.sharpe, direct_sharpe(result.paths.T), atol=1e-14)
    assert result.times_chosen.tolist() == [int((result.chosen == setting).sum()) for setting in range(5)]


@pytest.mark.parametrize(("groups", "test_groups"), [(2, 1), (5, 1), (6, 2), (10, 2), (7, 4), (6, 5)])
def test_the_number_of_paths_is_the_number_of_splits_that_test_a_group(groups: int, test_groups: int) -> None:
    result = combinatorial_paths(noise(12, 203, 3), groups, test_groups)
    assert result.paths.shape == (math.comb(groups, test_groups) * test_groups // groups, 203)
    assert len(result.chosen) == len(result.test_groups) == math.comb(groups, test_groups)
    assert result.bounds[[0, -1]].tolist() == [0, 203]
    assert np.ptp(np.diff(result.bounds)) <= 1


def test_with_a_dominant_setting_each_path_is_its_returns() -> None:
    returns = with_one_dominant(13, place=4)
    result = combinatorial_paths(returns)
    np.testing.assert_array_equal(result.paths, np.tile(returns[:, 4], (9, 1)))
    assert result.sharpe == pytest.approx(np.full(9, direct_sharpe(returns[:, 4:5])[0]))
    assert result.times_chosen[4] == 45


def test_a_setting_that_is_good_only_while_tested_is_not_picked_for_it() -> None:
    """Each setting earns in its own fifth of the bars and loses elsewhere: no path ever earns."""
    returns = np.tile([-0.003, -0.001], 50)[:, None].repeat(5, axis=1)
    for setting in range(5):
        returns[setting * 20 : (setting + 1) * 20, setting] *= -1
    assert (combinatorial_paths(returns, groups=5, test_groups=1).paths < 0).all()


def test_paths_of_settings_that_do_not_trade_have_a_sharpe_of_zero() -> None:
    result = combinatorial_paths(np.zeros((60, 3)), groups=6)
    assert (result.sharpe == 0).all()
    assert result.times_chosen.tolist() == [15, 0, 0]


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=100)
def test_training_bars_touch_neither_test_bars_nor_their_targets_nor_the_embargo(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=2, max_size=8))
    bounds = np.cumsum([0, *lengths])
    tested = data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1, max_size=len(lengths) - 1))
    embargo = data.draw(st.integers(0, 15))
    training = training_bars(bounds, np.array(sorted(tested)), embargo)
    test = np.isin(np.repeat(np.arange(len(lengths)), lengths), sorted(tested))
    assert not (training & test).any()
    assert not (training[:-1] & test[1:]).any()  # a training bar's target reaches no test bar
    for bars_after in range(1, embargo + 2):  # one purged, then the embargo
        assert not (training[bars_after:] & test[:-bars_after]).any()
    for bar in np.flatnonzero(~training):  # and no bar is lost without such a reason
        assert test[max(bar - embargo - 1, 0) : bar + 2].any()


def test_a_billion_groups_are_refused_before_their_splits_are_counted() -> None:
    with pytest.raises(DataError, match="320 bars in 1000000000 groups are fewer than 5 each"):
        combinatorial_paths(noise(16), 10**9, 5 * 10**8)


@pytest.mark.parametrize(
    ("blocks", "says"), [(7, "even number"), (0, "even number"), (-2, "even number"), (22, "from 2 to 20")]
)
def test_blocks_that_cannot_be_halved_or_are_too_many_are_refused(blocks: int, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        probability_of_overfitting(noise(14), blocks)


@pytest.mark.parametrize("ask", [probability_of_overfitting, combinatorial_paths])
def test_invalid_tables_are_refused(ask: Callable[[np.ndarray], object]) -> None:
    with pytest.raises(DataError, match="try two or more"):
        ask(noise(15, n_settings=1))
    with pytest.raises(DataError, match=r"49 bars in 1\d (blocks|groups) are fewer than 5 each"):
        ask(noise(15, n_bars=49))
    for wrong in (np.nan, np.inf):
        returns = noise(15)
        returns[12, 3] = wrong
        with pytest.raises(DataError, match=f"setting 3 at bar 12 is {wrong}"):
            ask(returns)


@pytest.mark.parametrize(
    ("groups", "test_groups", "embargo", "says"),
    [
        (5, 5, 1, "leave 1 to train on"),
        (5, 0, 1, "take at least 1"),
        (1, 1, 1, "leave 1 to train on"),
        (20, 10, 1, "more than 1,000 splits"),
        (10, 2, -1, "0 bars or more"),
        (10, 2, 400, "shorten the embargo"),
        (2, 1, 155, "keeps 4 bars"),
    ],
)
def test_splits_with_too_few_training_bars_are_refused(groups: int, test_groups: int, embargo: int, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        combinatorial_paths(noise(16), groups, test_groups, embargo)
