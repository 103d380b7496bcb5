"""Tables and sentences about one backtest, for the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from runners.backtesting.metrics import Metrics, equity_returns
from runners.formatting import (
    NOT_DEFINED,
    interval,
    number,
    percent,
    percent_earned,
    percent_interval,
    probability_above_zero,
    signed_percent,
)
from training.density_scores import RISK_LEVELS
from training.scores import SIGNIFICANCE, format_p_value
from training.sharpe import SIGNIFICANT_PROBABILITY

if TYPE_CHECKING:
    from models.model_set import ModelSet
    from runners.backtesting.result import Backtest
    from runners.backtesting.trials import Trials
    from runners.backtesting.yardsticks import AccountFigures
    from training.density_scores import DensityScore
    from training.evaluation import Evaluation
    from training.resampling import Difference
    from training.scores import Score


NEEDED = f"needs {100 * SIGNIFICANT_PROBABILITY:g} %"  # to be significant
FIGURE_COLUMNS = ["", "strategy", "buy and hold"]
SHARPE_INTERVAL, DRAWDOWN_INTERVAL = "Sharpe, 95 % interval", "drawdown, 95 % interval"


def figures(result: Backtest, trials: Trials | None) -> list[tuple[str, str, str]]:
    """Rows of `FIGURE_COLUMNS`; without trials, the result was not recorded as one."""
    strategy, holding = _column(result.metrics), _column(result.holding)
    rows = [(name, value, holding[name]) for name, value in strategy.items()]
    rows.insert(2, ("Sharpe, s.d. over seeds", _over_seeds(result.members), ""))
    rows.insert(4, _deflated(result, trials))
    slippage = float(result.equity["traded"].sum()) * result.settings.slippage
    return [*rows, ("slippage paid, about", f"{slippage:,.2f}", "")]


def _over_seeds(figures: Sequence[AccountFigures]) -> str:
    """Standard deviation of the Sharpe ratio over ensembles from other seeds on the same bars."""
    if len(figures) < 2:
        return "unknown"
    return f"± {np.std([one.sharpe or 0.0 for one in figures], ddof=1) / math.sqrt(len(figures)):.2f}"


MEMBER_COLUMNS = ["each member alone", "mean", "s.d.", "min", "max"]


def members(figures: Sequence[AccountFigures]) -> list[list[str]]:
    """Rows of `MEMBER_COLUMNS`; none for a single member."""
    if len(figures) < 2:
        return []
    shown: list[tuple[str, list[float], Callable[[float], str]]] = [
        ("Sharpe", [one.sharpe or 0.0 for one in figures], number),  # one that never traded earned 0 at no risk
        ("max drawdown", [one.max_drawdown for one in figures], percent),
        ("total return", [one.total_return for one in figures], percent_earned),
        ("trades", [one.trades for one in figures], lambda count: number(count, 1)),
    ]
    return [
        [name, *(text(float(one)) for one in (np.mean(values), np.std(values, ddof=1), min(values), max(values)))]
        for name, values, text in shown
    ]


YARDSTICK_COLUMNS = ["compared with", "Sharpe", "diff. (p)", "drawdown", "diff. (p)", "return", "trades"]


def yardsticks(result: Backtest) -> list[list[str]]:
    """Rows of `YARDSTICK_COLUMNS`: each difference is the strategy's figure minus the yardstick's, with its p value."""
    return [
        [
            name,
            number(one.figures.sharpe),
            sharpe_difference(one.sharpe_difference),
            percent(one.figures.max_drawdown),
            drawdown_difference(one.drawdown_difference),
            percent_earned(one.figures.total_return),
            f"{one.figures.trades:,}",
        ]
        for name, one in result.yardsticks.items()
    ]


def yardstick_luck(result: Backtest) -> list[set[int]]:
    """Positions in each row of `yardsticks` of the differences that are not significant."""
    return [
        {
            place
            for place, difference in ((2, one.sharpe_difference), (4, one.drawdown_difference))
            if difference is None or difference.p_value >= SIGNIFICANCE
        }
        for one in result.yardsticks.values()
    ]


def sharpe_difference(difference: Difference | None) -> str:
    return NOT_DEFINED if difference is None else f"{difference.difference:+.2f} ({format_p_value(difference.p_value)})"


def drawdown_difference(difference: Difference | None) -> str:
    """In percentage points, above 0 if the first drawdown is smaller."""
    if difference is None:
        return NOT_DEFINED
    return f"{round(100 * difference.difference, 1) + 0.0:+.1f} ({format_p_value(difference.p_value)})"


def _deflated(result: Backtest, trials: Trials | None) -> tuple[str, str, str]:
    if trials is None:
        return ("... as best of all trials", "not recorded", "")
    name = f"{'best of ' if trials.count > 1 else ''}{trials.count_text} trial{'s' if trials.count > 1 else ''}"
    return (f"... as {name}", probability_above_zero(trials.deflated_sharpe(result.metrics)), "")


def _column(metrics: Metrics) -> dict[str, str]:
    trades = f"{metrics.trades:,}" + (f" + {metrics.open_trades} open" if metrics.open_trades else "")
    return {
        "Sharpe": number(metrics.sharpe),
        SHARPE_INTERVAL: interval(metrics.sharpe_low, metrics.sharpe_high),
        f"true Sharpe above 0 ({NEEDED})": probability_above_zero(metrics.probabilistic_sharpe),
        "years until significant": _years_needed(metrics),
        "max drawdown": percent(metrics.max_drawdown),
        DRAWDOWN_INTERVAL: percent_interval(metrics.drawdown_low, metrics.drawdown_high),
        "longest drawdown": f"{metrics.drawdown_days:,.0f} days",
        "final value": f"{metrics.final_value:,.2f}",
        "total return": percent_earned(metrics.total_return),
        "CAGR": percent(metrics.cagr),
        "volatility": percent(metrics.volatility),
        "Sortino": number(metrics.sortino),
        "Calmar": number(metrics.calmar),
        "trades": trades,
        "win rate": percent(metrics.win_rate),
        "profit factor": number(metrics.profit_factor),
        "time in market": percent(metrics.time_in_market),
        "turnover per year": f"{metrics.turnover:.1f}x",
        "commission paid": f"{metrics.costs:,.2f}",
        "borrowing paid": f"{metrics.borrowing:,.2f}",
    }


def _years_needed(metrics: Metrics) -> str:
    """The minimum track record length and the years of the run, with enough digits to show which is longer."""
    if metrics.minimum_years is None:
        return "never: seed luck" if (metrics.seed_error or 0) and (metrics.sharpe or 0) > 0 else NOT_DEFINED
    years, digits = (metrics.minimum_years, metrics.years), 1
    while (round(years[0], digits) < round(years[1], digits)) != (years[0] < years[1]):
        digits += 1
    return f"{years[0]:.{digits}f} (has {years[1]:.{digits}f})"


SCORE_COLUMNS = ["", "RMSE", "MAE", "R2", "R2 mean", "hit rate", "IC", "DM", "p"]


def scores(by_forecast: dict[str, Score]) -> list[list[str]]:
    """Rows of `SCORE_COLUMNS` for one group of bars; errors in basis points, R2 and hit rate in per cent."""
    return [
        [
            name,
            f"{1e4 * one.rmse:.1f}",
            f"{1e4 * one.mae:.1f}",
            signed_percent(one.r2_zero),
            signed_percent(one.r2_mean),
            NOT_DEFINED
            if one.hit_rate is None or one.hit_low is None or one.hit_high is None
            else f"{100 * one.hit_rate:.0f} ({100 * one.hit_low:.0f}-{100 * one.hit_high:.0f})",
            number(one.information_coefficient),
            number(one.dm_statistic),
            NOT_DEFINED if one.dm_p is None else format_p_value(one.dm_p),
        ]
        for name, one in by_forecast.items()
    ]


DENSITY_COLUMNS = ["", "log score", "CRPS", "DM", "p", "50 %", "80 %", "95 %"]


def density_scores(by_density: dict[str, DensityScore]) -> list[list[str]]:
    """Rows of `DENSITY_COLUMNS` for one group of bars; CRPS in basis points, shares in per cent."""
    rows = []
    for name, one in by_density.items():
        p_value = NOT_DEFINED if one.dm_p is None else format_p_value(one.dm_p)
        scores = [f"{one.log_score:.3f}", f"{1e4 * one.crps:.1f}", number(one.dm_statistic), p_value]
        rows.append([name, *scores, *_shares(one.coverage)])
        if one.adapted_coverage:
            rows.append([f"{name}, adapted", *[NOT_DEFINED] * len(scores), *_shares(one.adapted_coverage)])
    return rows


RISK_COLUMNS = ["", *(f"{text} {100 * level:g} %" for level in RISK_LEVELS for text in ("below", "p"))]


def risks(by_density: dict[str, DensityScore]) -> list[list[str]]:
    """Rows of `RISK_COLUMNS`: per cent of the returns below a quantile, and the p value of Kupiec's test."""
    rows = []
    for name, one in by_density.items():
        cells = [(f"{100 * risk.breaches:.1f}", format_p_value(risk.coverage_p)) for risk in one.risks]
        rows.append([name, *(text for pair in cells for text in pair)])
    return rows


def _shares(coverage: Mapping[str, float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in coverage.values()]


def importance(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: each feature's importance for each expert, in per cent of the forecast 0's squared error."""
    by_expert = evaluation.importance
    features = list(dict.fromkeys(name for of_features in by_expert.values() for name in of_features))
    rows = [
        [name, *(f"{100 * one[name]:+.2f}" if name in one else NOT_DEFINED for one in by_expert.values())]
        for name in features
    ]
    return ["", *map(evaluation.regime_returns.label, by_expert)], rows


REGIME_COLUMNS = ["part", "regime", "share", "duration", "return", "volatility", "next regime"]


def regime_quality(evaluation: Evaluation) -> list[list[str]]:
    """Rows of `REGIME_COLUMNS`: mean duration in bars; mean and deviation of the next log return in basis points."""
    return [
        [
            part,
            evaluation.regime_returns.label(name),
            percent(one.occupancy),
            number(one.mean_duration, 1),
            NOT_DEFINED if one.mean_return is None else f"{1e4 * one.mean_return:+.2f}",
            NOT_DEFINED if one.volatility is None else f"{1e4 * one.volatility:.1f}",
            " / ".join(f"{100 * share:.0f}" for share in one.transitions.values()),
        ]
        for part, regimes in evaluation.regimes.items()
        for name, one in regimes.items()
    ]


EXPERT_COLUMNS = ["regime", "windows", "best epochs", "train", "validation"]


def experts(model_set: ModelSet) -> list[list[str]]:
    """Rows of `EXPERT_COLUMNS`; losses are mean squared errors relative to the zero forecast's."""
    rows = []
    for expert in [*model_set.experts.values(), model_set.all_regimes]:
        training = expert.training
        losses = [training["relative_loss"][part] for part in ("train", "validation")]
        epochs = ", ".join(str(member["best_epoch"]) for member in training["members"])
        windows = f"{training['windows']['train']:,}"
        name = model_set.regime_returns.label(expert.name)
        rows.append([name, windows, epochs, *(number(loss, 4) for loss in losses)])
    return rows


EARNING_COLUMNS = ["regime", "bars", "share", "profit", "return on cash", "mean return, bp", "commission", "trades"]


def regime_earnings(result: Backtest) -> list[list[str]]:
    """Rows of `EARNING_COLUMNS`: a bar's profit counts for the regime at the close before it, as a trade does."""
    equity, cash = result.equity, result.settings.cash
    previous_regime = equity["regime"].shift(1)
    bars = pd.DataFrame(
        {
            "profit": equity["equity"].diff().fillna(equity["equity"].iloc[0] - cash),
            "return": equity_returns(equity["equity"], cash).to_numpy(),
            "commission": equity["commission"],
        }
    )
    rows = []
    for regime in sorted(previous_regime.dropna().unique()):
        regime_bars = bars[previous_regime == regime]
        profit = float(regime_bars["profit"].sum())
        rows.append(
            [
                result.source.regime_label(int(regime)),
                f"{len(regime_bars):,}",
                percent(len(regime_bars) / len(bars)),
                f"{profit:+,.2f}",
                f"{100 * profit / cash:+.1f} %",
                f"{1e4 * regime_bars['return'].mean():+.2f}",
                f"{regime_bars['commission'].sum():,.2f}",
                f"{(result.trades['regime'] == regime).sum():,}",
            ]
        )
    return rows


def name_notes(result: Backtest) -> list[str]:
    """One note if the names of the regimes do not hold, in the training part of the model set or of some folds."""
    returns = result.source.regime_returns
    failed = [one for one in returns if one.names_fail]
    if not failed:
        return []
    if len(returns) == 1:
        return failed[0].notes()
    return [
        f"In {len(failed)} of {len(returns)} folds the names of the regimes do not hold: in the training "
        "part, the next bar's mean is not significantly higher after bullish than after bearish. Calm and volatile are "
        "the regimes with the lowest and the highest volatility."
    ]
