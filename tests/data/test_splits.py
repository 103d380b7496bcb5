from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError, SettingsError
from data.splits import Fold, Split, chronological_split, walk_forward_folds


@pytest.mark.parametrize("n_bars", [100, 101, 5031, 7704])
def test_the_parts_of_a_split_follow_each_other_and_cover_the_series(n_bars: int) -> None:
    split = chronological_split(n_bars, 0.7, 0.1)
    assert split.train.start == 0
    assert split.train.stop == split.validation.start
    assert split.validation.stop == split.test.start
    assert split.test.stop == n_bars
    assert split.train.stop / n_bars == pytest.approx(0.7, abs=1 / n_bars)
    assert (n_bars - split.test.start) / n_bars == pytest.approx(0.2, abs=1 / n_bars)


def test_a_split_trains_on_seven_tenths_and_validates_on_one_by_default() -> None:
    assert chronological_split(1000) == Split(slice(0, 700), slice(700, 800), slice(800, 1000))


def test_a_split_rounds_to_the_nearest_bar() -> None:
    assert chronological_split(1001, 0.7, 0.1) == Split(slice(0, 701), slice(701, 801), slice(801, 1001))
    assert chronological_split(10, 0.55, 0.25) == Split(slice(0, 6), slice(6, 8), slice(8, 10))


def test_rolling_folds_move_both_ends_and_expanding_ones_keep_the_first() -> None:
    assert walk_forward_folds(100, 60, 20) == [Fold(slice(0, 60), slice(60, 80)), Fold(slice(20, 80), slice(80, 100))]
    assert walk_forward_folds(100, 60, 20, expanding=True)[1] == Fold(slice(0, 80), slice(80, 100))


def test_an_embargo_leaves_bars_out_between_fitting_and_trading() -> None:
    assert walk_forward_folds(90, 60, 20, embargo=5) == [
        Fold(slice(0, 60), slice(65, 85)),
        Fold(slice(20, 80), slice(85, 90)),
    ]


@settings(derandomize=True, deadline=None)
@given(st.integers(3, 400), st.integers(1, 300), st.integers(2, 100), st.booleans(), st.integers(0, 30))
def test_folds_learn_only_from_the_past_and_trade_every_later_bar_once(
    n_bars: int, train_bars: int, test_bars: int, expanding: bool, embargo: int
) -> None:
    if n_bars < train_bars + embargo + 2:
        with pytest.raises(DataError, match="to trade need"):
            walk_forward_folds(n_bars, train_bars, test_bars, expanding=expanding, embargo=embargo)
        return
    folds = walk_forward_folds(n_bars, train_bars, test_bars, expanding=expanding, embargo=embargo)
    traded = [bar for fold in folds for bar in range(fold.test.start, fold.test.stop)]
    assert traded == list(range(train_bars + embargo, n_bars))
    for fold in folds:
        assert fold.fit.stop + embargo == fold.test.start
        assert fold.test.stop - fold.test.start >= 2
        assert fold.fit.start == 0 if expanding else fold.fit.stop - fold.fit.start == train_bars


def test_a_last_bar_alone_joins_the_fold_before() -> None:
    assert walk_forward_folds(101, 60, 20)[-1] == Fold(slice(20, 80), slice(80, 101))
    assert walk_forward_folds(102, 60, 20)[-1] == Fold(slice(40, 100), slice(100, 102))
    assert walk_forward_folds(61 + 40, 60, 40) == [Fold(slice(0, 60), slice(60, 101))]


def test_settings_that_make_no_fold_are_refused() -> None:
    for name, least in (("train_bars", 1), ("test_bars", 2), ("embargo", 0)):
        given = {"train_bars": 50, "test_bars": 10, "embargo": 0}
        with pytest.raises(SettingsError, match=f"{name} is {least - 1}; it must be at least {least}"):
            walk_forward_folds(100, **{**given, name: least - 1})
        assert walk_forward_folds(100, **{**given, name: least})


def test_a_series_too_short_for_one_fold_is_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match="there are 1,061 bars; 1,060 to train on and two to trade need 1,062"):
        walk_forward_folds(1061, 1060, 20)
    with pytest.raises(DataError, match="1,060 to train on, 3 of embargo and two to trade need 1,065"):
        walk_forward_folds(1061, 1060, 20, embargo=3)
    assert len(walk_forward_folds(1062, 1060, 20)) == 1
