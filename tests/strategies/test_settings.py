from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.errors import SettingsError
from strategies.rule_settings import RuleSettings
from strategies.settings import TradingSettings, round_trip_cost


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
def test_the_direction_follows_from_forecast_and_position(
    log_return: float, position: int, hold: int, flat: int
) -> None:
    assert RuleSettings().direction(log_return, position) == hold
    assert RuleSettings(neutral="flat").direction(log_return, position) == flat


@given(st.floats(-1, 1), st.sampled_from([-1, 0, 1]), st.sampled_from(["hold", "flat"]))
def test_the_opposite_forecast_gives_the_opposite_direction(log_return: float, position: int, neutral: str) -> None:
    rule = RuleSettings(neutral=neutral)
    assert rule.direction(-log_return, -position) == -rule.direction(log_return, position)


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"short_threshold 0\.002 lies above long_threshold 0\.001"):
        RuleSettings(short_threshold=0.002)
    with pytest.raises(SettingsError, match="source, neutral: Input should be 'hold' or 'flat', but 'keep' was given"):
        RuleSettings.from_table({"neutral": "keep"}, "source")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"borrow_rate": 0.001, "funding": -0.002}, "borrow_rate 0.001 and funding -0.002 are fees for the same"),
        ({"stop_loss": 1.0}, "stop_loss 1 is not below 1, but stop_unit is fraction"),
        ({"trailing_stop": 2.5}, "trailing_stop 2.5 is not below 1, but stop_unit is fraction"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TradingSettings.from_table(given, "source")
    assert TradingSettings(trailing_stop=2.5, stop_unit="scale").needs_scale


def test_a_round_trip_costs_both_commissions_and_slippages() -> None:
    bought, sold = 100 * 1.02 * 1.01, 100 * np.exp(round_trip_cost(0.01, 0.02)) * 0.98 * 0.99
    assert bought == pytest.approx(sold)


def test_an_old_name_is_an_error_with_the_new_name() -> None:
    with pytest.raises(ValidationError, match="between is called neutral now"):
        RuleSettings(between="flat")
    with pytest.raises(SettingsError, match=r"regimes\.toml: between is called neutral now"):
        RuleSettings.from_table({"between": "flat"}, "regimes.toml")


def test_with_equal_thresholds_only_the_threshold_itself_is_neutral() -> None:
    rule = RuleSettings(long_threshold=0.0, short_threshold=0.0, neutral="flat")
    assert [rule.direction(log_return, 1) for log_return in (-1e-9, 0.0, 1e-9)] == [-1, 0, 1]
