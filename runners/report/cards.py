"""The figures at the top of a backtest's page: six cards beside buy and hold, and the members as a strip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runners.backtesting.yardsticks import HOLDING
from runners.formatting import interval, number, percent, percent_earned, percent_interval
from runners.report.strip import Mark, Value, sharpe_values, strips
from runners.report.verdict import sharpe_is_significant
from training.scores import SIGNIFICANCE, format_p

if TYPE_CHECKING:
    from runners.backtesting.metrics import Metrics
    from runners.backtesting.result import Backtest
    from runners.backtesting.trials import Trials
    from training.resampling import Difference


@dataclass(frozen=True)
class Card:
    """One headline figure.

    Attributes
    ----------
    beside
        The same figure of buy and hold.
    luck
        Whether it is not more than luck, so that the page greys it.
    """

    title: str
    value: str
    detail: str
    beside: str
    luck: bool = False


def cards(result: Backtest, trials: Trials) -> list[Card]:
    """Return, Sharpe ratio, drawdown, trades, time in market and costs."""
    own, held, test = result.metrics, result.holding, result.yardsticks[HOLDING]
    luck = not sharpe_is_significant(own, trials)
    return [
        Card(
            "total return",
            percent_earned(own.total_return),
            f"{percent(own.cagr)} per year",
            percent_earned(held.total_return),
            luck,
        ),
        Card(
            "Sharpe ratio",
            number(own.sharpe),
            f"95 % interval {interval(own.sharpe_low, own.sharpe_high)}; {'not ' if luck else ''}significant",
            f"{number(held.sharpe)} (difference {_tested(test.sharpe_difference)})",
            luck,
        ),
        Card(
            "max drawdown",
            percent(own.max_drawdown),
            f"95 % interval {percent_interval(own.drawdown_low, own.drawdown_high)}",
            f"{percent(held.max_drawdown)} (difference {_tested(test.drawdown_difference)})",
            test.drawdown_difference is None or test.drawdown_difference.p_value >= SIGNIFICANCE,
        ),
        Card("trades", f"{own.trades:,}", _won(own), f"{held.trades:,} + {held.open_trades} open"),
        Card(
            "time in market",
            percent(own.time_in_market),
            f"turnover {own.turnover:.1f}x per year",
            percent(held.time_in_market),
        ),
        _costs(result),
    ]


def _won(own: Metrics) -> str:
    still_open = f", {own.open_trades} more open" if own.open_trades else ""
    return f"{percent(own.win_rate)} won{still_open}"


def _costs(result: Backtest) -> Card:
    """All costs as a fraction of the cash at the start."""
    own, held, cash = result.metrics, result.holding, result.settings.cash
    traded = float(result.equity["traded"].sum())
    slippage = traded * result.settings.slippage
    total = own.costs + own.borrowing + slippage
    detail = f"{total:,.0f}: commission {own.costs:,.0f}, slippage about {slippage:,.0f}"
    if own.borrowing:
        detail += f", borrowing {own.borrowing:,.0f}"
    return Card("costs, of the cash", percent(total / cash), detail, f"commission {percent(held.costs / cash)}")


def _tested(difference: Difference | None) -> str:
    return "not tested" if difference is None else format_p(difference.p_value)


def member_strip(result: Backtest) -> list[Mark]:
    """Sharpe ratios of the members alone, the ensemble and buy and hold; empty with one member."""
    if len(result.members) < 2:
        return []
    held = Value("holding", HOLDING, result.holding.sharpe or 0.0)
    return strips([[held, *sharpe_values(result.members, result.metrics)]])[0]
