from __future__ import annotations

import numpy as np

from data.features import log_returns
from data.windows import samples_of_regime, targets, windows


def test_the_target_is_the_return_to_the_next_close() -> None:
    close = np.array([100.0, 110.0, 99.0])
    np.testing.assert_allclose(log_returns(close), [np.nan, np.log(1.1), np.log(0.9)])
    np.testing.assert_allclose(targets(close), [np.log(1.1), np.log(0.9), np.nan])


def test_windows_are_views_of_consecutive_bars() -> None:
    values = np.arange(12.0).reshape(6, 2)
    view = windows(values, 3)
    assert view.shape == (4, 3, 2)
    assert np.shares_memory(view, values)
    np.testing.assert_array_equal(view[2], values[2:5])


def test_a_series_shorter_than_a_window_has_none_and_one_as_long_has_one() -> None:
    assert windows(np.zeros((2, 3)), 5).shape == (0, 5, 3)
    assert windows(np.zeros((5, 3)), 5).shape == (1, 5, 3)
    assert windows(np.zeros((2, 3), dtype=np.float32), 5).dtype == np.float32


def test_a_sample_is_a_bar_in_the_regime_with_the_bars_before_it_whatever_their_regime() -> None:
    bar = np.arange(12.0)
    regimes = np.tile([0.0, 1.0, 2.0], 4)  # a regime's rows alone are never neighbours
    complete = bar >= 3
    samples = samples_of_regime(slice(0, 12), regimes, 2, complete, targets(bar + 1))
    assert samples.tolist() == [5, 8]
    for end in samples:
        window = windows(bar, 4)[end - 3]
        assert window.tolist() == [end - 3, end - 2, end - 1, end]  # contiguous, not bars 5, 8, 11 glued together


def test_a_sample_whose_target_lies_in_the_next_part_is_dropped() -> None:
    everything = np.ones(10, dtype=bool)
    first = samples_of_regime(slice(0, 6), np.zeros(10), None, everything, targets(np.arange(1.0, 11)))
    second = samples_of_regime(slice(6, 10), np.zeros(10), None, everything, targets(np.arange(1.0, 11)))
    assert first.tolist() == [0, 1, 2, 3, 4]
    assert second.tolist() == [6, 7, 8]


def test_bars_of_unknown_regime_are_not_samples() -> None:
    regimes = np.array([np.nan, 0.0, 1.0, np.nan, 2.0, 1.0])
    everything = np.ones(6, dtype=bool)
    assert samples_of_regime(slice(0, 6), regimes, None, everything, np.ones(6)).tolist() == [1, 2, 4]
    assert samples_of_regime(slice(0, 6), regimes, 1, everything, np.ones(6)).tolist() == [2]
