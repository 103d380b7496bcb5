"""The account of one setting, bar by bar, exactly as Backtrader's ``BackBroker`` keeps it.

Each function repeats the broker's floating-point operations in its order: equity must be equal to the last bit, because
the broker refuses orders by the sign of the remaining cash. The functions are plain Python for the paper account of
live trading. `strategies.array_simulation` compiles them, all in this file: a change here renews the compiled ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Account(NamedTuple):
    """Cash, units held (negative for short) and their average price, and the units of the pending order.

    An order, negative to sell, is filled or refused at the next bar's open; 0 for none.
    """

    cash: float
    size: float = 0.0
    entry: float = 0.0
    order: float = 0.0


class Costs(NamedTuple):
    """As in `strategies.settings.CostSettings`."""

    commission: float
    slippage: float
    borrow_rate: float


class Rule(NamedTuple):
    """As in `strategies.settings.RuleSettings`; ``neutral_flat`` is whether ``neutral`` is ``flat``."""

    long_threshold: float
    short_threshold: float
    neutral_flat: bool
    exposure: float
    min_order: float


def sign(number: float) -> float:
    """1, -1, or 0 for 0 and NaN."""
    return float((number > 0) - (number < 0))


def position_units(direction: float, exposure: float, equity: float, close: float) -> float:
    """Units worth ``direction * exposure * equity`` at this close; may be fractional, negative for short."""
    return direction * exposure * equity / close


def order_waits(target: float, held: float, close: float, min_order: float) -> bool:
    """Whether an order from the position held to this one is worth too little; one that closes it never waits."""
    return target != 0 and abs(target - held) * close < min_order


def value(account: Account, close: float) -> float:
    """Equity: for a long position, the broker adds cost and profit separately."""
    worth = account.size * close
    if worth > 0:
        profit = account.size * (close - account.entry)
        worth = (worth - profit) + profit
    return account.cash + worth


def close_bankrupt(account: Account, equity: float) -> Account:
    """The account without its position if this equity is 0 or below."""
    return Account(equity, 0.0, 0.0, account.order) if equity <= 0 else account


def submit(account: Account, order: float, close: float, costs: Costs) -> Account:
    """Submit an order of these units at a bar's close.

    The broker refuses an order that would leave cash below 0 at this close, without slippage, even one that closes a
    position: an account without the cash to buy its short back stays short.
    """
    closed, opened = _closed_and_opened(account.size, order)
    cash = _cash_closed(account.cash, closed, close, close, costs.commission)
    accepted = _cash_opened(cash, opened, close, costs.commission) >= 0
    return Account(account.cash, account.size, account.entry, order if accepted else 0.0)


def open_bar(account: Account, open_: float, costs: Costs) -> Account:
    """Charge the borrow fee of a short position at a bar's open, and fill the order."""
    if account.size < 0:
        cash = account.cash - costs.borrow_rate * -account.size * open_
        account = Account(cash, account.size, account.entry, account.order)
    return fill(account, open_, costs)


def fill_price(order: float, open_: float, costs: Costs) -> float:
    """The open with slippage."""
    return open_ * (1 + costs.slippage if order > 0 else 1 - costs.slippage)


def fill(account: Account, open_: float, costs: Costs) -> Account:
    """Fill the order at a bar's open, with slippage.

    The broker checks cash again at the fill price: the part that closes a position is filled even if cash falls below
    0, the part that opens or enlarges one is not, so a reversing order may end flat. No order remains pending. (The
    broker would keep a remainder of a reversing order if its two parts did not add up to it in floating point, but
    they always do.)
    """
    if account.order == 0:
        return account
    price = fill_price(account.order, open_, costs)
    closed, opened = _closed_and_opened(account.size, account.order)
    cash = _cash_closed(account.cash, closed, account.entry, price, costs.commission)
    if opened != 0:
        left = _cash_opened(cash, opened, price, costs.commission)
        if left < 0:
            opened = 0.0
        else:
            cash = left
    size = account.size + (closed + opened)
    if size == 0:
        entry = 0.0
    elif sign(size) != sign(account.size):
        entry = price
    elif opened != 0:
        entry = (account.entry * account.size + opened * price) / size
    else:
        entry = account.entry
    return Account(cash, size, entry, 0.0)


def _closed_and_opened(size: float, order: float) -> tuple[float, float]:
    """The units of an order that close a position of ``size``, and those that open or enlarge one."""
    side, after = sign(size), size + order
    if side == 0 or side == sign(order):
        return 0.0, order
    if sign(after) == -side:
        return -size, after
    return order, 0.0


def _cash_closed(cash: float, closed: float, entry: float, price: float, commission: float) -> float:
    return cash + (-closed * entry + -closed * (price - entry)) - abs(closed) * commission * price


def _cash_opened(cash: float, opened: float, price: float, commission: float) -> float:
    return cash - opened * price - abs(opened) * commission * price


def cast(states: np.ndarray, members: np.ndarray, bar: int, rule: Rule) -> float:
    """Each member applies the rule to its own state, in place; gives the mean of the states (see `strategies.vote`).

    ``members`` are all bars' forecasts ``(n_bars, n_members)``: a slice of one bar costs more than the rest of this.
    """
    total, kept = 0.0, 0.0 if rule.neutral_flat else 1.0
    for number in range(len(states)):
        log_return = members[bar, number]
        short = -1.0 if log_return < rule.short_threshold else kept * states[number]
        state = 1.0 if log_return > rule.long_threshold else short
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

    Returns
    -------
    tuple of int
        Numbers of filled orders and of round trips.
    """
    fills = round_trips = 0
    states = np.zeros(members.shape[1])
    mean = filled_mean = 0.0  # of the states, and when the last filled order was made
    for bar in range(len(close)):
        held = account.size
        account = open_bar(account, open_[bar], costs)
        if account.size != held:
            filled_mean = mean
            fills += 1
            round_trips += held != 0 and sign(account.size) != sign(held)
        worth = value(account, close[bar])
        if worth <= 0:
            round_trips += account.size != 0
            account = close_bankrupt(account, worth)
        equity[bar], position[bar] = worth, account.size
        if worth <= 0 or not known[bar]:
            continue
        if sign(mean) != sign(account.size):
            filled_mean = sign(account.size)
            states[:] = filled_mean
        mean = cast(states, members, bar, rule)
        if mean != filled_mean:
            target = position_units(mean, rule.exposure, worth, close[bar])
            if not order_waits(target, account.size, close[bar], rule.min_order):
                account = submit(account, target - account.size, close[bar], costs)
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
) -> None:
    """`trade` each setting: ``rules`` and ``costs`` have arrays ``(n_settings,)``, the results one row per setting."""
    for number in range(len(fills)):
        rule = Rule(
            rules.long_threshold[number],
            rules.short_threshold[number],
            rules.neutral_flat[number],
            rules.exposure[number],
            rules.min_order[number],
        )
        cost = Costs(costs.commission[number], costs.slippage[number], costs.borrow_rate[number])
        account = Account(cash, 0.0, 0.0, 0.0)
        fills[number], round_trips[number] = trade(
            open_, close, members, known, rule, cost, account, equity[number], position[number]
        )


# What `trade_all` calls, and of these what nearly every bar does.
CALLED = (position_units, order_waits, fill_price, _closed_and_opened, _cash_closed, _cash_opened, trade)
INLINED = (sign, value, close_bankrupt, submit, open_bar, fill, cast)
