"""The vote of an ensemble's members on the position to hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from strategies.account import sign
from strategies.risk import gated
from strategies.rule_settings import RuleSettings


@dataclass(frozen=True)
class Vote:
    """The members' states, and what has been done about them.

    Attributes
    ----------
    states
        Of each member: 1 long, -1 short, 0 flat. Empty before the first vote.
    filled_mean
        The mean that the last filled order was made for.
    """

    states: tuple[int, ...] = ()
    filled_mean: float = 0.0

    @cached_property
    def mean(self) -> float:
        """Mean of the states: the fraction of ``exposure`` to hold; NaN before the first vote."""
        return sum(self.states) / len(self.states) if self.states else float("nan")

    @property
    def due(self) -> bool:
        """Whether an order is due: the mean differs from the one that the last filled order was made for."""
        return self.mean != self.filled_mean

    def filled(self, mean: float) -> Vote:
        """The vote after an order that was made for this mean has been filled."""
        return replace(self, filled_mean=mean)

    def cast(
        self,
        members: Sequence[float],
        held: float,
        rule: RuleSettings,
        *,
        opens_long: bool = True,
        opens_short: bool = True,
    ) -> Vote:
        """The vote at a bar's close, by the members' forecasts and the units held.

        If the position's sign differs from that of the mean (a refused order, a stop, a restart), or the number of
        members has changed, every state first becomes the position's sign. Then each member applies
        `RuleSettings.direction` to its own state; it becomes flat where it would enter or turn though that side does
        not open (``min_probability``). Without a position the filled mean is 0, whoever closed it.
        """
        side = int(sign(held))
        states = self.states if sign(self.mean) == side else ()
        filled_mean = self.filled_mean if states and side else float(side)
        if len(states) != len(members):
            states = (side,) * len(members)
        wanted = map(rule.direction, members, states)
        if opens_long and opens_short:
            return Vote(tuple(wanted), filled_mean)
        allowed = (int(gated(each, state, opens_long, opens_short)) for each, state in zip(wanted, states, strict=True))
        return Vote(tuple(allowed), filled_mean)
