from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import SettingsError
from strategies import ThresholdRule


@pytest.mark.parametrize(
    ("log_return", "position", "hold", "flat"),
    [
        (0.0011, 0, 1, 1),
        (0.0011, -1, 1, 1),
        (-0.0011, 0, -1, -1),
        (-0.0011, 1, -1, -1),
        (0.001, 0, 0, 0),  # a threshold itself is not beyond it
        (-0.001, 0, 0, 0),
        (0.0005, 1, 1, 0),
        (-0.0005, -1, -1, 0),
        (0.0, 0, 0, 0),
    ],
)
def test_the_forecast_and_the_position_give_the_position_wanted(
    log_return: float, position: int, hold: int, flat: int
) -> None:
    assert ThresholdRule().target(log_return, position) == hold
    assert ThresholdRule(between="flat").target(log_return, position) == flat


@given(st.floats(-1, 1), st.sampled_from([-1, 0, 1]), st.sampled_from(["hold", "flat"]))
def test_the_mirrored_forecast_wants_the_mirrored_position(log_return: float, position: int, between: str) -> None:
    rule = ThresholdRule(between=between)  # type: ignore[arg-type]
    assert rule.target(-log_return, -position) == -rule.target(log_return, position)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"short_threshold 0\.002 lies above long_threshold 0\.001"):
        ThresholdRule(short_threshold=0.002)
    with pytest.raises(SettingsError, match="between is 'keep'"):
        ThresholdRule(between="keep")  # type: ignore[arg-type]


def test_equal_thresholds_leave_nothing_between_but_the_threshold_itself() -> None:
    rule = ThresholdRule(long_threshold=0.0, short_threshold=0.0, between="flat")
    assert [rule.target(log_return, 1) for log_return in (-1e-9, 0.0, 1e-9)] == [-1, 0, 1]
