from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.inference import EnsembleReader
from models.network import Passes, RegimeLSTM, time_slots


def outputs(passes: Passes, network: RegimeLSTM, values: np.ndarray, bars: np.ndarray) -> np.ndarray:
    """By torch, as a training computes them; a forecast must equal them."""
    result = np.full(len(values), np.nan)
    for some, output in passes.outputs(network, torch.from_numpy(passes.pad(values)), bars):
        result[some] = output.numpy()
    forecast = EnsembleReader([network]).outputs(passes, values, bars)[0, 0]
    np.testing.assert_allclose(forecast, result[bars], rtol=1e-12)
    return forecast


@pytest.fixture(scope="module")
def network() -> RegimeLSTM:
    return RegimeLSTM(3, hidden_dim=8, num_layers=2, draws=torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((600, 3))


def test_stride_1_is_a_sliding_window(network: RegimeLSTM, values: np.ndarray) -> None:
    passes, bars = Passes.over(np.arange(600), 5, 1), np.array([4, 5, 77, 599])
    windows = torch.from_numpy(np.stack([values[bar - 4 : bar + 1] for bar in bars]))
    with torch.no_grad():
        expected = network(windows)[0][:, -1]
    np.testing.assert_allclose(outputs(passes, network, values, bars), expected, rtol=1e-12)


def test_a_bar_is_forecast_from_the_start_of_its_blocks_pass(network: RegimeLSTM, values: np.ndarray) -> None:
    slots = 1003 + np.arange(600)  # blocks of 10 begin at bars 7, 17 ...
    passes = Passes.over(slots, 5, 10)
    for bar, first in ((27, 23), (30, 23), (36, 23), (37, 33)):
        with torch.no_grad():
            expected = network(torch.from_numpy(values[first : bar + 1])[None])[0][0, -1]
        assert outputs(passes, network, values, np.array([bar]))[0] == pytest.approx(float(expected), rel=1e-12)


def test_continuing_from_a_state_equals_reading_all_bars(network: RegimeLSTM, values: np.ndarray) -> None:
    bars = torch.from_numpy(values[:30])[None]
    with torch.no_grad():
        whole, _ = network(bars)
        first, state = network(bars[:, :17])
        rest, _ = network(bars[:, 17:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, rtol=1e-12, atol=0)


def test_a_bar_is_complete_if_all_bars_of_its_longest_pass_are_finite() -> None:
    values = np.zeros((40, 2))
    values[20, 1] = np.nan
    complete = np.flatnonzero(Passes.over(np.arange(40), 4, 6).complete(values))
    assert complete.tolist() == [*range(8, 20), *range(29, 40)]
    assert not Passes.over(np.arange(3), 4, 6).complete(np.zeros((3, 2))).any()


def test_later_values_change_no_output(network: RegimeLSTM, values: np.ndarray) -> None:
    passes, bars = Passes.over(np.arange(600), 5, 10), np.arange(14, 300)
    later = values.copy()
    later[300:] = np.nan
    np.testing.assert_array_equal(outputs(passes, network, values, bars), outputs(passes, network, later, bars))


@given(
    steps=st.lists(st.integers(0, 4), min_size=30, max_size=80),
    window=st.integers(1, 6),
    stride=st.integers(1, 9),
    cut=st.integers(0, 29),
)
def test_a_bars_context_depends_on_its_date_only_and_is_bounded(
    steps: list[int], window: int, stride: int, cut: int
) -> None:
    """Also with gaps, and with several bars in one place."""
    slots = 1_000_000 + np.cumsum(steps)
    whole, later = (Passes.over(given, window, stride) for given in (slots, slots[cut:]))
    bars = np.arange(len(slots))
    assert ((bars - whole.block_start >= 0) & (bars - whole.block_start < stride)).all()
    filled = np.arange(cut + whole.length - 1, len(slots))
    np.testing.assert_array_equal(whole.block_start[filled], later.block_start[filled - cut] + cut)


def test_time_slots_do_not_depend_on_the_resolution_of_the_times() -> None:
    index = pd.date_range("2024-01-01", periods=5, freq="4h", tz="UTC")
    slots = time_slots(index, pd.Timedelta(hours=4))
    assert np.diff(slots).tolist() == [1] * 4
    for unit in ("s", "ms", "us", "ns"):
        np.testing.assert_array_equal(time_slots(index.as_unit(unit), pd.Timedelta(hours=4)), slots)
