from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.rule_settings import RuleSettings
from strategies.vote import Vote

HOLD, FLAT = RuleSettings(), RuleSettings(neutral="flat")
UP, DOWN, BETWEEN = 0.01, -0.01, 0.0


def test_each_member_applies_the_rule_to_its_own_state() -> None:
    vote = Vote((1, -1, 1, -1), filled_mean=0.0)
    assert vote.cast([UP, UP, BETWEEN, BETWEEN], 0.0, HOLD).states == (1, 1, 1, -1)
    assert vote.cast([UP, UP, BETWEEN, BETWEEN], 0.0, FLAT).states == (1, 1, 0, 0)


def test_the_mean_of_the_states_is_compared_with_that_of_the_last_filled_order() -> None:
    vote = Vote().cast([UP, UP, BETWEEN], 0.0, HOLD)
    assert (vote.mean, vote.filled_mean, vote.due) == (2 / 3, 0.0, True)
    filled = replace(vote, filled_mean=vote.mean)
    assert not filled.cast([BETWEEN] * 3, 5.0, HOLD).due
    assert filled.cast([UP] * 3, 5.0, HOLD).due


def test_without_a_vote_there_is_no_mean() -> None:
    assert Vote().mean != Vote().mean  # NaN


@pytest.mark.parametrize(("held", "side"), [(3.0, 1), (0.0, 0), (-0.5, -1)])
def test_members_that_hold_something_else_begin_again_from_the_position(held: float, side: int) -> None:
    states = (-side, -side, 0) if side else (1, 1, -1)
    vote = Vote(states, filled_mean=0.6).cast([BETWEEN] * 3, held, HOLD)
    assert vote == Vote((side,) * 3, filled_mean=float(side))
    assert not vote.due


def test_an_order_that_was_not_filled_is_still_due_if_the_members_hold_the_positions_side() -> None:
    vote = Vote((1, 1, 0), filled_mean=1 / 3).cast([BETWEEN] * 3, 2.0, HOLD)
    assert (vote.states, vote.filled_mean, vote.due) == ((1, 1, 0), 1 / 3, True)


def test_another_number_of_members_begins_from_the_position_and_may_order() -> None:
    vote = Vote((1, 1, 0), filled_mean=2 / 3)
    assert vote.cast([BETWEEN] * 5, 2.0, HOLD) == Vote((1,) * 5, filled_mean=2 / 3)
    assert Vote().cast([UP, DOWN], 2.0, HOLD) == Vote((1, -1), filled_mean=1.0)  # a position before the first vote


@given(
    st.lists(st.sampled_from([UP, DOWN, BETWEEN, 0.001]), min_size=1, max_size=7),
    st.lists(st.sampled_from([-1, 0, 1]), max_size=7),
    st.sampled_from([-2.0, 0.0, 2.0]),
    st.sampled_from([HOLD, FLAT]),
)
def test_the_opposite_forecasts_give_the_opposite_vote(
    members: list[float], states: list[int], held: float, rule: RuleSettings
) -> None:
    vote = Vote(tuple(states), 0.4).cast(members, held, rule)
    opposite = Vote(tuple(-state for state in states), -0.4).cast([-one for one in members], -held, rule)
    assert opposite == Vote(tuple(-state for state in vote.states), -vote.filled_mean)
    assert opposite.due == vote.due
