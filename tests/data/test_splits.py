from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError, SettingsError
from data.splits import Fold, walk_forward_folds


def test_rolling_folds_move_both_ends_and_expanding_ones_keep_the_first() -> None:
    assert walk_forward_folds(100, 60, 20) == [
        Fold(slice(0, 60), slice(60, 80)),
        Fold(slice(20, 80), slice(80, 100)),
    ]
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


def test_settings_that_make_no_fold_are_refused() -> None:
    with pytest.raises(SettingsError, match="test_bars is 1; it must be at least 2"):
        walk_forward_folds(100, 50, 1)
