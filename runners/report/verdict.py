"""The verdict on a backtest: what it earned, and whether that is more than luck."""

from __future__ import annotations

from decimal import ROUND_DOWN, Context
from typing import TYPE_CHECKING

import numpy as np

from models.forecaster import member_forecasts
from runners.backtesting.marks import REGIME_COLUMN, regime_mark
from runners.backtesting.yardsticks import HOLDING
from runners.formatting import interval, percent, percent_earned, percent_interval, probability_above_zero
from runners.report.backtest_tables import NEEDED
from training.plausibility import implausible_sharpe
from training.scores import SIGNIFICANCE, format_p
from training.sharpe import FEWEST_TRADES, OFTEN_IN_MARKET, SIGNIFICANT_PROBABILITY, too_few_trades

if TYPE_CHECKING:
    from runners.backtesting.metrics import Metrics
    from runners.backtesting.result import Backtest
    from runners.backtesting.trials import Trials
    from training.resampling import Difference


def verdict(result: Backtest, trials: Trials | None) -> str:
    """The result in a few sentences: return, drawdown, significance; or why nothing was traded.

    With more than one trial, the deflated Sharpe ratio decides what is significant. Without trials, the result was not
    recorded as one.
    """
    strategy, holding = result.metrics, result.holding
    if idle := _why_idle(result):
        return f"Nothing was traded: {idle}"
    lead = strategy.total_return - holding.total_return
    side = "more than" if lead > 0 else "less than" if lead < 0 else "as much as"
    where = "on bars that training has seen, which proves nothing" if result.in_sample else "on unseen bars"
    if result.source.chosen_from:
        where = f"chosen in hindsight from {result.source.chosen_from:,} settings on the same bars"
    if regime_mark(result.settings):
        where += f", with {REGIME_COLUMN}, which nobody can check for look-ahead"
    return (
        f"After costs and {where}, the strategy returned {percent_earned(strategy.total_return)}, {side} buy and "
        f"hold's {percent_earned(holding.total_return)}. {_drawdown(result)} {_bankruptcy(result)}"
        f"{_significance(result, trials)} {implausible_sharpe(strategy.sharpe, strategy.sharpe_low, strategy.trades)}"
    ).strip()


def headline(result: Backtest, trials: Trials | None) -> str:
    """The verdict in one line."""
    metrics, difference = result.metrics, result.yardsticks[HOLDING].sharpe_difference
    if _why_idle(result):
        return "Nothing was traded."
    if result.in_sample:
        return "This proves nothing: training has seen these bars."
    if metrics.bankrupt:
        return "The account went bankrupt."
    if metrics.track_record() is None or too_few_trades(metrics.trades, metrics.time_in_market):
        return "Too few bars or trades to judge."
    tested = difference is not None and difference.p_value < SIGNIFICANCE
    beside = "buy and hold" if not tested else f"buy and hold, which did {'worse' if _leads(result) else 'better'}"
    if not sharpe_is_significant(metrics, trials):
        return f"Not more than luck, {'but' if tested else 'and not'} significantly different from {beside}."
    profit = "A profit" if (metrics.sharpe or 0.0) > 0 else "A loss"
    return f"{profit} that is more than luck, {'and' if tested else 'but not'} significantly different from {beside}."


def _leads(result: Backtest) -> bool:
    """Whether the strategy's Sharpe ratio is above buy and hold's."""
    return (result.metrics.sharpe or 0.0) > (result.holding.sharpe or 0.0)


def _why_idle(result: Backtest) -> str:
    """That no member's forecast reached a threshold, and thresholds that some would; empty if one did."""
    members, rule = member_forecasts(result.forecasts), result.settings
    if ((members > rule.long_threshold) | (members < rule.short_threshold)).any():
        return ""
    sizes = np.abs(members[np.isfinite(members)])
    if not sizes.any():
        return "no bar has a forecast." if not len(sizes) else "all forecasts are 0."
    half, most, nearly_all, largest = np.quantile(sizes, [0.5, 0.9, 0.99, 1])
    below = Context(prec=1, rounding=ROUND_DOWN).create_decimal_from_float(np.nextafter(most or largest, 0))
    return (
        f"no member's forecast reached a threshold. The largest |forecast| of a member is {largest:.2g}; 50 % of them "
        f"are at most {half:.2g}, 90 % {most:.2g}, 99 % {nearly_all:.2g}. Some reach, for example, --long-threshold "
        f"{below:f} --short-threshold -{below:f}, a choice in hindsight on these bars."
    )


def _drawdown(result: Backtest) -> str:
    """The largest fall with its interval, beside buy and hold's."""
    strategy, difference = result.metrics, result.yardsticks[HOLDING].drawdown_difference
    known = strategy.drawdown_low is not None
    span = f" (95 % interval {percent_interval(strategy.drawdown_low, strategy.drawdown_high)})" if known else ""
    test = f" (difference {format_p(difference.p_value)})" if difference else ""
    return (
        f"Its maximum drawdown was {percent(strategy.max_drawdown)}{span}, buy and hold's "
        f"{percent(result.holding.max_drawdown)}{test}."
    )


def _bankruptcy(result: Backtest) -> str:
    if not result.metrics.bankrupt:
        return ""
    owed, day = -result.metrics.final_value, result.equity.index[result.equity["equity"] <= 0][0]
    debt = f" It owes {owed:,.2f}, more than it had: no real broker lends that." if owed > 0 else ""
    return f"The account went bankrupt on {day:%Y-%m-%d} and traded no more.{debt} "


def _significance(result: Backtest, trials: Trials | None) -> str:
    """Whether the Sharpe ratio differs significantly from 0 and from buy and hold's, or why nobody can say."""
    metrics = result.metrics
    if metrics.sharpe is None:
        return "Its equity never changed, so it has no Sharpe ratio: no order was made, or the cash did not cover one."
    record = metrics.track_record()
    if record is None:
        return f"{metrics.bars} bars are too few to judge its Sharpe ratio."
    differs = _differs(metrics, trials)
    if trials is not None and trials.count > 1:
        deflated, claim = trials.deflated_sharpe(metrics), "above"
        best = f"as the best of {trials.count_text} trials on these bars"
        evidence = f"{best}: above 0 with probability {probability_above_zero(deflated)}, {NEEDED}"
    else:
        claim = "different from"
        evidence = f"95 % interval {interval(metrics.sharpe_low, metrics.sharpe_high)}"
    luck = "seed luck unknown" if metrics.seed_error is None else "luck of bars and seeds"
    ratio, evidence = f"Sharpe ratio of {metrics.sharpe:.2f}", f"({evidence}; {luck})"
    if not metrics.trades and len(result.open_trade):
        return f"It {_only_trade(result)}, so its {ratio} {evidence} is that of one position."
    if too_few_trades(metrics.trades, metrics.time_in_market):
        counted = f"{metrics.trades} closed trade{' is' if metrics.trades == 1 else 's are'}"
        return (
            f"{counted} too few to judge its {ratio} {evidence}: {FEWEST_TRADES} are needed, or a position in "
            f"{100 * OFTEN_IN_MARKET:.0f} % of the bars."
        )
    sentence = f"Its {ratio} is {'' if differs else 'not '}significantly {claim} 0 {evidence}"
    return f"{sentence}{_beside_holding(result.yardsticks[HOLDING].sharpe_difference, differs=differs)}."


def sharpe_is_significant(metrics: Metrics, trials: Trials | None) -> bool:
    """Whether the verdict calls the Sharpe ratio significantly different from 0."""
    return _differs(metrics, trials) and not too_few_trades(metrics.trades, metrics.time_in_market)


def _differs(metrics: Metrics, trials: Trials | None) -> bool:
    """Whether the deflated ratio of several trials, or the interval of a single one, is above or below 0."""
    record = metrics.track_record()
    if record is None:
        return False
    if trials is None or trials.count < 2:
        return record.significant
    deflated = trials.deflated_sharpe(metrics)
    return deflated is not None and deflated > SIGNIFICANT_PROBABILITY


def _only_trade(result: Backtest) -> str:
    """The only position of a strategy that never closed one."""
    trip = result.open_trade.iloc[0]
    if trip["orders"] > 1:
        return "opened one position and never closed it"
    return "bought once and never sold" if trip["direction"] == "long" else "sold short once and never bought back"


def _beside_holding(difference: Difference | None, *, differs: bool) -> str:
    if difference is None:
        return ""
    if difference.p_value < SIGNIFICANCE:
        link = "and it is also" if differs else "but it is"
        link = f"{link} significantly different"
    else:
        link = "but not significantly different" if differs else "nor significantly different"
    return f", {link} from buy and hold's (difference {difference.difference:+.2f}, {format_p(difference.p_value)})"
