"""The account of one setting, bar by bar, exactly as Backtrader's ``BackBroker`` keeps it.

Each function repeats the broker's floating-point operations in its order: equity must be equal to the last bit, because
the broker refuses orders by the sign of the remaining cash. The functions are plain Python for the paper account of
live trading; `strategies.array_simulation` compiles them.
"""

from __future__ import annotations

from typing import NamedTuple


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
    funding: float


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
    """Charge the fee of a position at a bar's open, and fill the order."""
    if account.size < 0 or costs.funding != 0:
        cash = account.cash - holding_fee(account.size, open_, costs)
        account = Account(cash, account.size, account.entry, account.order)
    return fill(account, open_, costs)


def holding_fee(size: float, price: float, costs: Costs) -> float:
    """Fee per bar of a position of ``size`` units, worth this price each; below 0 if the account receives it."""
    if size < 0:
        return (costs.borrow_rate - costs.funding) * -size * price
    return costs.funding * size * price


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
    return executed(account, account.order, fill_price(account.order, open_, costs), costs.commission)


def executed(account: Account, order: float, price: float, commission: float) -> Account:
    """The account after an order of these units at this price, as far as its cash allows; no order remains pending."""
    closed, opened = _closed_and_opened(account.size, order)
    cash = _cash_closed(account.cash, closed, account.entry, price, commission)
    if opened != 0:
        left = _cash_opened(cash, opened, price, commission)
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
