"""Trades settings over arrays of bars, as `strategies.lstm_regime.LSTMRegimeStrategy` trades them in Backtrader.

`strategies.array_simulation` compiles these functions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from strategies import account as accounts
from strategies import risk as risks
from strategies.account import (
    Account,
    Costs,
    close_bankrupt,
    executed,
    open_bar,
    order_waits,
    position_units,
    sign,
    submit,
    value,
)
from strategies.risk import (
    NO_DAY,
    NO_EXIT,
    Day,
    Held,
    RiskRule,
    after_loss,
    at_close,
    begin_bar,
    entered,
    exit_of_bar,
    gated,
    has_drifted,
    limited_position,
    sized_exposure,
)


class Rule(NamedTuple):
    """As in `strategies.rule_settings.EntrySettings`; ``neutral_flat`` is whether ``neutral`` is ``flat``."""

    long_threshold: float
    short_threshold: float
    neutral_flat: bool
    exposure: float
    min_order: float


class BarArrays(NamedTuple):
    """What `RiskRule` reads of each bar ``(n_bars,)``, and the root of the bars per year.

    ``mean`` is the forecast log return, ``scale`` its predicted standard deviation, ``above`` and ``below`` the
    probabilities of a return beyond the round trip's cost, and ``day`` the number of the UTC day that the bar opens in.
    """

    high: np.ndarray
    low: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    above: np.ndarray
    below: np.ndarray
    day: np.ndarray
    annual: float


class Risk(NamedTuple):
    """Sizes, exits and limits of a setting, and the bars that they read."""

    rule: RiskRule
    bars: BarArrays


def cast(states: np.ndarray, members: np.ndarray, bar: int, rule: Rule, opens_long: bool, opens_short: bool) -> float:
    """Each member applies the rule to its own state, in place; gives the mean of the states (see `strategies.vote`).

    ``members`` are all bars' forecasts ``(n_bars, n_members)``: a slice of one bar costs more than the rest of this.
    """
    total, kept = 0.0, 0.0 if rule.neutral_flat else 1.0
    for number in range(len(states)):
        log_return, before = members[bar, number], states[number]
        short = -1.0 if log_return < rule.short_threshold else kept * before
        state = gated(1.0 if log_return > rule.long_threshold else short, before, opens_long, opens_short)
        states[number] = state
        total += state
    return total / len(states)


def trade(
    open_: np.ndarray,
    close: np.ndarray,
    members: np.ndarray,
    known: np.ndarray,
    rule: Rule,
    costs: Costs,
    account: Account,
    equity: np.ndarray,
    position: np.ndarray,
    risk: Risk | None,
) -> tuple[int, int]:
    """Trade one setting over all bars, as `strategies.lstm_regime.LSTMRegimeStrategy` does in Backtrader.

    Parameters
    ----------
    open_, close, members, known
        ``(n_bars,)`` prices, ``(n_bars, n_members)`` forecasts, and ``(n_bars,)`` whether each bar has all of them.
    rule, costs, account
        The setting, and the account at the start.
    equity, position
        ``(n_bars,)``, written to: at each bar's close, in currency and in units.
    risk
        None for the plain rule; the compiler then leaves out what reads it. It is not passed on to other functions,
        because counting references to its arrays at each bar would take ten times as long.

    Returns
    -------
    tuple of int
        Numbers of filled orders and of round trips.
    """
    fills = round_trips = 0
    states = np.zeros(members.shape[1])
    mean = filled_mean = 0.0  # of the states, and when the last filled order was made
    held, day, ordered_scale, before = Held(0.0, 0.0, np.nan, 0), Day(NO_DAY, 0.0, False), np.nan, account.cash
    for bar in range(len(close)):
        size = account.size
        account = open_bar(account, open_[bar], costs)
        if account.size != size:
            filled_mean = mean
            fills += 1
            round_trips += size != 0 and sign(account.size) != sign(size)
        if risk is not None:
            high, low = risk.bars.high[bar], risk.bars.low[bar]
            held = entered(held, account.size, account.entry, ordered_scale)
            kind, price = exit_of_bar(account, held, risk.rule, (open_[bar], high, low), costs)
            if kind != NO_EXIT:
                account = executed(account, -account.size, price, costs.commission)
                fills += 1
                round_trips += 1
            held = entered(held, account.size, account.entry, np.nan)
            held = at_close(held, high, low, risk.bars.scale[bar])
        worth = value(account, close[bar])
        if worth <= 0:
            round_trips += account.size != 0
            account = close_bankrupt(account, worth)
        equity[bar], position[bar] = worth, account.size
        if worth <= 0:
            continue
        overdue = False
        if risk is not None:
            day = begin_bar(day, risk.bars.day[bar], before, account.size)
            day = after_loss(day, worth, risk.rule.max_daily_loss)
            before, overdue = worth, 0 < risk.rule.max_holding <= held.bars
            if account.size == 0:
                filled_mean = 0.0  # whoever closed the position
        wanted = 0.0 if overdue else account.size
        if known[bar] and not overdue:
            if sign(mean) != sign(account.size):
                filled_mean = sign(account.size)
                states[:] = filled_mean
            opens_long = opens_short = True
            exposure = rule.exposure
            if risk is not None:
                least = risk.rule.min_probability
                opens_long = least == 0 or risk.bars.above[bar] >= least
                opens_short = least == 0 or risk.bars.below[bar] >= least
                forecast, scale = risk.bars.mean[bar], risk.bars.scale[bar]
                exposure = sized_exposure(exposure, risk.rule, forecast, scale, risk.bars.annual)
            mean = cast(states, members, bar, rule, opens_long, opens_short)
            due = mean != filled_mean
            if due or risk is not None:
                target = position_units(mean, exposure, worth, close[bar])
                if not due and risk is not None:
                    due = has_drifted(target, account.size, close[bar], worth, risk.rule.rebalance_band)
                if due:
                    wanted = target
        if risk is not None:
            wanted = 0.0 if day.lost else limited_position(wanted, account.size, close[bar], risk.rule.max_position)
            ordered_scale = risk.bars.scale[bar]
        if wanted != account.size and not order_waits(wanted, account.size, close[bar], rule.min_order):
            account = submit(account, wanted - account.size, close[bar], costs)
    return fills, round_trips


def trade_all(
    open_: np.ndarray,
    close: np.ndarray,
    members: np.ndarray,
    known: np.ndarray,
    rules: Any,
    costs: Any,
    cash: float,
    equity: np.ndarray,
    position: np.ndarray,
    fills: np.ndarray,
    round_trips: np.ndarray,
    risk: Any,
    cost_numbers: np.ndarray,
) -> None:
    """`trade` each setting: ``rules`` and ``costs`` have arrays ``(n_settings,)``, the results one row per setting.

    ``risk`` is a `Risk` whose rule has arrays, too, and whose bars have one row of ``above`` and ``below`` per round
    trip's cost; ``cost_numbers`` are the settings' rows. If it is None, all trade by the plain rule.
    """
    for number in range(len(fills)):
        rule = Rule(
            rules.long_threshold[number],
            rules.short_threshold[number],
            rules.neutral_flat[number],
            rules.exposure[number],
            rules.min_order[number],
        )
        cost = Costs(costs.commission[number], costs.slippage[number], costs.borrow_rate[number], costs.funding[number])
        account = Account(cash, 0.0, 0.0, 0.0)
        curve, units = equity[number], position[number]
        if risk is None:
            made = trade(open_, close, members, known, rule, cost, account, curve, units, None)
        else:
            one = risk_of(risk, number, cost_numbers[number])
            made = trade(open_, close, members, known, rule, cost, account, curve, units, one)
        fills[number], round_trips[number] = made


def risk_of(risk: Any, number: int, row: int) -> Risk:
    """The risk of one setting, with its row of probabilities."""
    rule, bars = risk.rule, risk.bars
    return Risk(
        RiskRule(
            rule.sizing[number],
            rule.target_volatility[number],
            rule.kelly_fraction[number],
            rule.rebalance_band[number],
            rule.min_probability[number],
            rule.stop_loss[number],
            rule.take_profit[number],
            rule.trailing_stop[number],
            rule.in_scale[number],
            rule.max_holding[number],
            rule.max_position[number],
            rule.max_daily_loss[number],
        ),
        BarArrays(bars.high, bars.low, bars.mean, bars.scale, bars.above[row], bars.below[row], bars.day, bars.annual),
    )


# What `trade_all` calls, and of these what nearly every bar does.
CALLED = (
    position_units,
    order_waits,
    *(accounts.fill_price, accounts.holding_fee, executed),
    *(accounts._closed_and_opened, accounts._cash_closed, accounts._cash_opened),
    *(entered, at_close, exit_of_bar, risks.distances, risks.protective_exit, risks.exit_price),
    *(begin_bar, after_loss, sized_exposure, has_drifted, limited_position),
    *(risk_of, trade),
)
INLINED = (sign, value, close_bankrupt, submit, open_bar, accounts.fill, gated, cast)
