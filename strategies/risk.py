"""Sizes, stops, targets and limits of a position: floating-point functions that every way of trading shares.

Backtrader's strategy and the live services call them as plain Python, and `strategies.array_simulation` compiles them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from strategies.account import Account, Costs, fill_price, sign

FIXED, VOLATILITY, KELLY = range(3)
SIZINGS = ("fixed", "volatility", "kelly")  # of these numbers
NO_EXIT, STOP_LOSS, TRAILING_STOP, TAKE_PROFIT = range(4)  # why a position is closed within a bar
EXITS = ("", "stop_loss", "trailing_stop", "take_profit")
NO_DAY = -(2**31)
_LEAST_SCALE = 1e-12  # a smaller one is a rounding error of constant prices


class RiskRule(NamedTuple):
    """Sizes, exits and limits, as in `strategies.rule_settings.RuleSettings`; 0 is off.

    ``sizing`` is `FIXED`, `VOLATILITY` or `KELLY`, and ``in_scale`` is whether distances are multiples of the scale.
    """

    sizing: int
    target_volatility: float
    kelly_fraction: float
    rebalance_band: float
    min_probability: float
    stop_loss: float
    take_profit: float
    trailing_stop: float
    in_scale: bool
    max_holding: int
    max_position: float
    max_daily_loss: float


class Distances(NamedTuple):
    """Of stop and target from the entry price, and of the trailing stop from the best price, as fractions; 0: none."""

    stop_loss: float
    take_profit: float
    trailing_stop: float


class Held(NamedTuple):
    """What the exits know of the position: its side, and since its entry the best price and the number of closes.

    ``best`` is the highest high of a long position, the lowest low of a short one, the entry price included. ``scale``
    is the predicted scale at the close that decided on the entry.
    """

    side: float = 0.0
    best: float = 0.0
    scale: float = np.nan
    bars: int = 0


class Day(NamedTuple):
    """The UTC day, the equity before its first bar, and whether ``max_daily_loss`` was reached."""

    number: int = NO_DAY
    first_equity: float = 0.0
    lost: bool = False


def entered(held: Held, size: float, entry: float, ordered_scale: float) -> Held:
    """The position of ``size`` units after a fill; a new one was decided at a close with this predicted scale."""
    side = sign(size)
    return held if side == held.side else Held(side, entry, ordered_scale, 0)


def at_close(held: Held, high: float, low: float, scale: float) -> Held:
    """The position after a bar. One whose scale is not known, because another program opened it, takes this one."""
    if held.side == 0:
        return held
    best = max(held.best, high) if held.side > 0 else min(held.best, low)
    return Held(held.side, best, held.scale if held.scale > 0 else scale, held.bars + 1)


def distances(risk: RiskRule, scale: float) -> Distances:
    """Fractions of the price, for a position that was entered at this predicted scale."""
    unit = scale if risk.in_scale else 1.0
    return Distances(risk.stop_loss * unit, risk.take_profit * unit, risk.trailing_stop * unit)


def protective_exit(
    held: Held, entry: float, away: Distances, open_: float, high: float, low: float
) -> tuple[int, float]:
    """Why a bar closes a position, or `NO_EXIT`, and the price of its stop or target.

    The open comes first. If the bar reaches both stop and target later, the stop counts.
    """
    side, kind, stop = held.side, NO_EXIT, 0.0
    adverse, favourable = (low, high) if side > 0 else (high, low)
    if away.stop_loss > 0:
        kind, stop = STOP_LOSS, entry * (1 - side * away.stop_loss)
    if away.trailing_stop > 0:
        trailing = held.best * (1 - side * away.trailing_stop)
        if kind == NO_EXIT or side * trailing > side * stop:
            kind, stop = TRAILING_STOP, trailing
    target = entry * (1 + side * away.take_profit)
    if kind != NO_EXIT and side * open_ <= side * stop:
        return kind, stop
    if away.take_profit > 0 and side * open_ >= side * target:
        return TAKE_PROFIT, target
    if kind != NO_EXIT and side * adverse <= side * stop:
        return kind, stop
    if away.take_profit > 0 and side * favourable >= side * target:
        return TAKE_PROFIT, target
    return NO_EXIT, 0.0


def exit_price(side: float, kind: int, level: float, open_: float, costs: Costs) -> float:
    """Price at which a stop or target at this level fills: the open beyond it, with slippage, or a target exactly."""
    if kind == TAKE_PROFIT:
        return fill_price(-side, open_, costs) if side * open_ >= side * level else level
    return fill_price(-side, open_ if side * open_ <= side * level else level, costs)


def exit_of_bar(
    account: Account, held: Held, risk: RiskRule, bar: tuple[float, float, float], costs: Costs
) -> tuple[int, float]:
    """Why a bar ``(open, high, low)`` closes the position, or `NO_EXIT`, and the price with slippage."""
    open_, high, low = bar
    if held.side == 0:
        return NO_EXIT, 0.0
    kind, level = protective_exit(held, account.entry, distances(risk, held.scale), open_, high, low)
    return kind, exit_price(held.side, kind, level, open_, costs)


def begin_bar(day: Day, number: int, equity_before: float, held: float) -> Day:
    """The day of a bar; a loss of the previous day counts until its position is closed."""
    return day if number == day.number else Day(number, equity_before, day.lost and held != 0)


def after_loss(day: Day, equity: float, max_daily_loss: float) -> Day:
    """The day, lost if this equity is too low."""
    lost = day.lost or (max_daily_loss > 0 and equity <= day.first_equity * (1 - max_daily_loss))
    return Day(day.number, day.first_equity, lost)


def sized_exposure(exposure: float, risk: RiskRule, mean: float, scale: float, annual: float) -> float:
    """Fraction of equity that a whole position is worth now; 0 if it depends on a scale that is not known."""
    if (risk.sizing != FIXED or risk.in_scale) and not scale > _LEAST_SCALE:
        return 0.0
    if risk.sizing == VOLATILITY:
        return min(exposure, risk.target_volatility / (scale * annual))
    if risk.sizing == KELLY:
        return min(exposure, risk.kelly_fraction * abs(mean) / (scale * scale))
    return exposure


def has_drifted(target: float, held: float, close: float, equity: float, band: float) -> bool:
    """Whether a position is to be resized though the vote has not changed."""
    return band > 0 and target != 0 and abs(target - held) * close > band * equity


def limited_position(target: float, held: float, close: float, max_position: float) -> float:
    """The part of ``target`` units that ``max_position`` allows; closing or reducing a position is always allowed."""
    kept = abs(held) if held * target > 0 else 0.0
    if max_position > 0 and abs(target) > kept and abs(target) * close > max_position:
        return sign(target) * min(abs(target), max(kept, max_position / close))
    return target


def gated(state: float, before: float, opens_long: bool, opens_short: bool) -> float:
    """A member's new state: flat if it would enter or turn where the probability does not allow it."""
    if opens_long and opens_short:  # a constant for the plain rule, whose compiled code then has no gate
        return state
    return state if state == before or (opens_long if state > 0 else opens_short) else 0.0
