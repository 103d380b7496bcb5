"""Renders the page of an evaluation: scores, densities over the price, calibration, regimes and losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data.candles import time_text
from data.intervals import interval_text
from models.forecaster import Forecaster, intervals
from models.regimes import regime_name, regime_number
from runners.formatting import number, signed_percent
from runners.report import backtest_tables
from runners.report.cards import Card
from runners.report.chart_parts import LineStyle, Pane
from runners.report.charts import LinkedChart
from runners.report.plain_charts import deciles, embedded, losses, pit_histogram
from runners.report.plots import evaluation_svg
from runners.report.rendering import render
from runners.report.style import DENSITY_COLOUR, HOLDING_COLOUR, MUTED
from training.evaluation import BY_REGIME, EXPERTS, LINEAR, ONE_LSTM, WHOLE, WITHOUT_REGIMES
from training.scores import SIGNIFICANCE, format_p

if TYPE_CHECKING:
    from models.model_set import ModelSet
    from training.density_scores import DensityScore
    from training.evaluation import Evaluation
    from training.scores import Score

_READ = "0.8"  # share of the interval whose ends are shown at the pointer


def evaluation_html(evaluation: Evaluation, model_set: ModelSet, candles: pd.DataFrame) -> str:
    """The page of an evaluation of a model set on these candles."""
    index, label = pd.DatetimeIndex(evaluation.forecasts.index), evaluation.regime_returns.label
    forecasts = Forecaster(model_set).forecast(candles).loc[index]
    by_decile = deciles(evaluation.forecasts[EXPERTS].to_numpy(), evaluation.forecasts["outcome"].to_numpy())
    whole = evaluation.densities.get(WHOLE, {}).get(BY_REGIME)
    networks = [*model_set.experts.values(), model_set.all_regimes]
    return render(
        "evaluation.html",
        charts=True,
        dataset=evaluation.dataset,
        first=time_text(index[0]),
        last=f"{time_text(index[-1])} UTC",
        bars=len(index),
        interval=interval_text(model_set.interval),
        conclusion=evaluation.conclusion,
        cards=_cards(evaluation.scores[WHOLE], evaluation.densities.get(WHOLE, {})),
        chart_content=_chart(evaluation, candles.loc[index], forecasts, model_set.interval).to_html(),
        static=evaluation_svg(evaluation),
        deciles=by_decile and embedded(by_decile),
        calibration=whole and embedded(pit_histogram(whole.pit, whole.bars)),
        score_columns=backtest_tables.SCORE_COLUMNS,
        scores=[(label(group), backtest_tables.scores(one)) for group, one in evaluation.scores.items()],
        density_columns=backtest_tables.DENSITY_COLUMNS,
        densities=[(label(group), backtest_tables.density_scores(one)) for group, one in evaluation.densities.items()],
        risk_columns=backtest_tables.RISK_COLUMNS,
        risks=backtest_tables.risks(evaluation.densities.get(WHOLE, {})),
        importance=backtest_tables.importance(evaluation),
        regime_columns=backtest_tables.REGIME_COLUMNS,
        regimes=backtest_tables.regime_quality(evaluation),
        regime_notes=evaluation.regime_returns.notes(),
        classifier=_classifier(evaluation),
        shrinkage=evaluation.shrinkage,
        losses=[(label(one.name), embedded(losses(label(one.name), one.training["members"]))) for one in networks],
    )


def _cards(scores: dict[str, Score], by_density: dict[str, DensityScore]) -> list[Card]:
    """What the mean and the density forecast, each beside a simple forecast."""
    experts = scores[EXPERTS]
    no_better = experts.dm_p is None or experts.dm_p >= SIGNIFICANCE
    tested = "" if experts.dm_p is None else f" ({format_p(experts.dm_p)})"
    hits = f"95 % interval {number(experts.hit_low)} to {number(experts.hit_high)}"
    cards = [
        Card("R2 of the mean, %", signed_percent(experts.r2_zero), "squared error", f"forecast 0{tested}", no_better),
        Card("hit rate", number(experts.hit_rate), hits, "0.50", _contains(experts.hit_low, experts.hit_high, 0.5)),
        Card("information coefficient", number(experts.information_coefficient), "rank correlation", "0"),
    ]
    density = by_density.get(BY_REGIME)
    if density is None:
        return cards
    own = (BY_REGIME, WITHOUT_REGIMES, ONE_LSTM, LINEAR)
    beside = [(name, one) for name, one in by_density.items() if name not in own and one.dm_p is not None]
    name, best = max(beside, key=lambda other: other[1].log_score)
    lead = best.dm_statistic is not None and best.dm_statistic > 0 and (best.dm_p or 1.0) < SIGNIFICANCE
    against = f"{name} {best.log_score:.3f} ({format_p(best.dm_p or 1.0)})"
    cards.append(Card("log score of the density", f"{density.log_score:.3f}", "higher is better", against, not lead))
    covered = density.adapted_coverage[_READ]
    error = 1.96 * float(np.sqrt(0.8 * 0.2 / density.bars))
    fits = f"calibrated: {100 * (0.8 - error):.1f} to {100 * (0.8 + error):.1f} %"
    cards.append(Card("in the 80 % interval", f"{100 * covered:.1f} %", fits, "80 %"))
    return cards


def _contains(low: float | None, high: float | None, value: float) -> bool:
    """Whether an interval contains a value, or is unknown."""
    return low is None or high is None or low <= value <= high


def _chart(
    evaluation: Evaluation, candles: pd.DataFrame, forecasts: pd.DataFrame, interval: pd.Timedelta
) -> LinkedChart:
    """Price with the fan of each bar's forecast, outcomes against it, forecasts and regime probabilities."""
    label = evaluation.regime_returns.label
    probabilities = {regime_number(str(name)[2:]): forecasts[name] for name in forecasts if str(name).startswith("p_")}
    known = evaluation.forecasts["regime"].astype(int).unique().tolist()
    names = {regime: label(regime_name(regime)) for regime in sorted({*probabilities, *known})}
    chart = LinkedChart(pd.DatetimeIndex(candles.index), interval, names)
    by_share = intervals(forecasts)
    price = chart.pane("price, and the interval forecast at the close before", 320, "0,0.[0000]")
    chart.regimes(price, evaluation.forecasts["regime"])
    if by_share is not None:
        _fan(chart, price, by_share, candles["close"])
    chart.candles(price, candles)
    outcome = evaluation.forecasts["outcome"]
    returns = chart.pane("next log return", 180, "0.[0] %", levels=(0,))
    if by_share is not None:
        _intervals(chart, returns, by_share)
    low, high = (chart.column(f"outcome_{how}", outcome, how) for how in ("min", "max"))
    chart.area(returns, "outcome", low, high, colour=MUTED, alpha=0.6)
    chart.line(returns, "", chart.column("outcome", outcome, "mean"), LineStyle(width=1.0))
    chart.read("outcome", "outcome", "points")
    pane = chart.pane("forecast of the next log return", 130, "0.[00] %", levels=(0,))
    for name, style in (
        (ONE_LSTM, LineStyle(HOLDING_COLOUR, 1.0)),
        (EXPERTS, LineStyle(width=1.2)),
    ):
        chart.line(pane, name, chart.column(name, evaluation.forecasts[name], "mean"), style)
        chart.read(name, name, "points")
    last = chart.pane("regime probabilities", 90, "0.0", levels=(0, 1), times=True)
    if probabilities:
        chart.probabilities(last, probabilities)
    return chart


def _fan(chart: LinkedChart, pane: Pane, by_share: dict[str, np.ndarray], close: pd.Series) -> None:
    """The intervals of each close that were forecast at the close before, the widest first."""
    for share, log_returns in reversed(by_share.items()):
        name, ends = f"{100 * float(share):g} %", close.to_numpy()[:, None] * np.exp(log_returns)
        low, high = np.vstack([np.full((1, 2), np.nan), ends[:-1]]).T
        columns = chart.column(f"price {name} low", low, "min"), chart.column(f"price {name} high", high, "max")
        chart.area(pane, f"{name} interval", *columns, colour=DENSITY_COLOUR, alpha=0.22)


def _intervals(chart: LinkedChart, pane: Pane, by_share: dict[str, np.ndarray]) -> None:
    """The intervals of the next log return, the widest first."""
    for share, log_returns in reversed(by_share.items()):
        name, (low, high) = f"{100 * float(share):g} %", log_returns.T
        columns = chart.column(f"{name} low", low, "mean"), chart.column(f"{name} high", high, "mean")
        chart.area(pane, f"{name} interval", *columns, colour=DENSITY_COLOUR, alpha=0.22)
        if share == _READ:
            for text, column in zip((f"{name} interval from", "to"), columns, strict=True):
                chart.read(text, column, "points")


def _classifier(evaluation: Evaluation) -> tuple[str, list[str], list[list[str]]] | None:
    """Accuracy, columns and rows of the classifier's confusion."""
    one, label = evaluation.classifier, evaluation.regime_returns.label
    if one is None:
        return None
    rows = [[label(name), *map(str, counts)] for name, counts in zip(one.regimes, one.confusion, strict=True)]
    return f"{100 * one.accuracy:.1f} %", ["", *map(label, one.regimes)], rows
