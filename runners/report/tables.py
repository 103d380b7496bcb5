"""The figures as a person reads them, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from models.regimes import regime_name
from runners.report.metrics import Metrics

if TYPE_CHECKING:
    from models.model_set import ModelSet
    from runners.comparison import Comparison
    from runners.registry import Run, Trials
    from runners.simulation import Backtest
    from training.evaluate import RegimeQuality
    from training.scores import Score

_NOT_DEFINED = "-"
_LEVEL = 0.05


def figures(result: Backtest, trials: Trials) -> list[tuple[str, str, str]]:
    """Rows of name, the strategy's figure, and buy and hold's."""
    rows = [
        (name, of_strategy, of_holding)
        for (name, of_strategy), (_, of_holding) in zip(_column(result.metrics), _column(result.holding), strict=True)
    ]
    tries = "1 try" if trials.count == 1 else f"best of {trials.count} tries"
    rows.insert(3, (f"... as {tries}", _percent(trials.deflated_sharpe(result.metrics)), ""))
    slipped = float(result.equity["traded"].sum()) * result.settings.slippage
    return [*rows, ("slippage paid, about", f"{slipped:,.2f}", "")]


def _column(metrics: Metrics) -> list[tuple[str, str]]:
    trades = f"{metrics.trades:,}" + (f" + {metrics.open_trades} open" if metrics.open_trades else "")
    return [
        ("Sharpe", _number(metrics.sharpe)),
        ("95 % interval", _interval(metrics.sharpe_low, metrics.sharpe_high)),
        ("true Sharpe above 0", _percent(metrics.probabilistic_sharpe)),
        ("years to show it", _number(metrics.minimum_years, 1)),
        ("max drawdown", _percent(metrics.max_drawdown)),
        ("longest drawdown", f"{metrics.drawdown_days:,.0f} days"),
        ("final value", f"{metrics.final_value:,.2f}"),
        ("total return", _percent(metrics.total_return)),
        ("CAGR", _percent(metrics.cagr)),
        ("volatility", _percent(metrics.volatility)),
        ("Sortino", _number(metrics.sortino)),
        ("Calmar", _number(metrics.calmar)),
        ("trades", trades),
        ("win rate", _percent(metrics.win_rate)),
        ("profit factor", _number(metrics.profit_factor)),
        ("exposure", _percent(metrics.exposure)),
        ("turnover per year", f"{metrics.turnover:.1f}x"),
        ("commission paid", f"{metrics.costs:,.2f}"),
    ]


SCORE_COLUMNS = ["", "RMSE", "MAE", "R2", "R2 mean", "hits", "IC", "DM", "p"]


def scores(of_group: dict[str, Score]) -> list[list[str]]:
    """Rows of `SCORE_COLUMNS` for one group of bars; errors in basis points, R2 and hits in per cent."""
    return [
        [
            name,
            f"{1e4 * one.rmse:.1f}",
            f"{1e4 * one.mae:.1f}",
            _signed_percent(one.r2_zero),
            _signed_percent(one.r2_mean),
            _NOT_DEFINED
            if one.hit_rate is None or one.hit_low is None or one.hit_high is None
            else f"{100 * one.hit_rate:.0f} ({100 * one.hit_low:.0f}-{100 * one.hit_high:.0f})",
            _number(one.information_coefficient),
            _number(one.dm_statistic),
            _number(one.dm_p, 3),
        ]
        for name, one in of_group.items()
    ]


REGIME_COLUMNS = ["part", "regime", "share", "lasts", "next return", "volatility", "then"]


def regime_quality(parts: dict[str, dict[str, RegimeQuality]]) -> list[list[str]]:
    """Rows of `REGIME_COLUMNS`: bars it lasts, mean and deviation of the next log return in basis points."""
    return [
        [
            part,
            name,
            _percent(one.occupancy),
            _number(one.mean_duration, 1),
            _NOT_DEFINED if one.mean_return is None else f"{1e4 * one.mean_return:+.2f}",
            _NOT_DEFINED if one.volatility is None else f"{1e4 * one.volatility:.1f}",
            " / ".join(f"{100 * share:.0f}" for share in one.transitions.values()),
        ]
        for part, regimes in parts.items()
        for name, one in regimes.items()
    ]


EXPERT_COLUMNS = ["regime", "windows", "best epoch", "train", "validation", "test"]


def experts(model_set: ModelSet) -> list[list[str]]:
    """Rows of `EXPERT_COLUMNS`; losses are mean squared errors relative to the zero forecast's."""
    rows = []
    for expert in [*model_set.experts.values(), model_set.all_regimes]:
        training = expert.training
        losses = [training["relative_loss"][part] for part in ("train", "validation", "test")]
        epochs = f"{training['best_epoch']} of {len(training['train_losses'])}"
        windows = f"{training['windows']['train']:,}"
        rows.append([expert.name, windows, epochs, *(_number(loss, 4) for loss in losses)])
    return rows


def expert_notes(model_set: ModelSet) -> list[str]:
    """What a reader of the experts' table must know of single ones."""
    notes = []
    for expert in model_set.experts.values():
        training = expert.training
        if training["fallback"]:
            notes.append(f"{expert.name} uses the all-regimes network: {training['fallback']}.")
        elif training["validation_part"] == "train":
            notes.append(f"{expert.name} is hardly in the validation part; its last training windows validate it.")
    return notes


def verdict(result: Backtest) -> str:
    """The run in three sentences, with no more certainty than its bars carry."""
    mine, hold = result.metrics, result.holding
    side = "more" if mine.total_return > hold.total_return else "less"
    where = "on bars that training has seen, which proves nothing" if result.in_sample else "on unseen bars"
    return (
        f"After costs and {where}, the strategy returned {_percent(mine.total_return)}, {side} than buy and hold's "
        f"{_percent(hold.total_return)}; its deepest drawdown was {_percent(mine.max_drawdown)} "
        f"against {_percent(hold.max_drawdown)}. {_luck(result)}"
    )


def _luck(result: Backtest) -> str:
    """Which of the run's Sharpe ratio and its distance from buy and hold's are more than luck would show."""
    mine, difference = result.metrics, result.difference
    if mine.sharpe is None or mine.sharpe_low is None or mine.sharpe_high is None:
        return "The account never moved, so there is no Sharpe ratio."
    above = mine.sharpe_low > 0 or mine.sharpe_high < 0
    own = f"Its Sharpe ratio of {mine.sharpe:.2f} can{'' if above else 'not'} be told from 0"
    if difference is None:
        return f"{own}."
    apart = difference.p_value < _LEVEL
    versus = f"{'but' if above else 'and'} not" if not apart else f"{'and' if above else 'but'} it can be told"
    versus = f"{versus} from buy and hold's"
    return f"{own}, {versus} (difference {difference.difference:+.2f}, p = {difference.p_value:.2f})."


EARNING_COLUMNS = ["regime", "bars", "share", "profit", "of cash", "mean return, bp", "commission", "trades"]


def regime_earnings(result: Backtest) -> list[list[str]]:
    """Rows of `EARNING_COLUMNS`: a bar's profit goes to the regime at the close before it, a trade to its opener."""
    equity, cash = result.equity, result.settings.cash
    decided = equity["regime"].shift(1)
    before = equity["equity"].shift(1, fill_value=cash)
    bars = pd.DataFrame(
        {
            "profit": equity["equity"] - before,
            "return": equity["equity"] / before - 1,
            "commission": equity["commission"],
        }
    )
    rows = []
    for regime in sorted(decided.dropna().unique()):
        of_regime = bars[decided == regime]
        profit = float(of_regime["profit"].sum())
        rows.append(
            [
                regime_name(int(regime)),
                f"{len(of_regime):,}",
                _percent(len(of_regime) / len(bars)),
                f"{profit:+,.2f}",
                f"{100 * profit / cash:+.1f} %",
                f"{1e4 * of_regime['return'].mean():+.2f}",
                f"{of_regime['commission'].sum():,.2f}",
                f"{(result.trades['regime'] == regime).sum():,}",
            ]
        )
    return rows


MONTH_COLUMNS = ["year", *(f"{month:02d}" for month in range(1, 13)), "year's"]


def monthly_returns(equity: pd.Series, cash: float) -> list[list[str]]:
    """Rows of `MONTH_COLUMNS`: returns in per cent of the month's first equity, and the year's."""
    closes = equity.tz_convert(None).resample("ME").last().ffill()
    monthly = closes / closes.shift(1, fill_value=cash)
    rows = []
    for year, of_year in monthly.groupby(pd.DatetimeIndex(monthly.index).year):
        by_month = dict(zip(pd.DatetimeIndex(of_year.index).month, of_year, strict=True))
        cells = [f"{100 * (by_month[month] - 1):+.1f}" if month in by_month else "" for month in range(1, 13)]
        rows.append([str(year), *cells, f"{100 * (float(of_year.to_numpy().prod()) - 1):+.1f}"])
    return rows


def comparison(compared: Comparison) -> list[tuple[str, list[str], set[int]]]:
    """Rows of name, each run's figure, and the numbers of the best runs."""
    runs = compared.runs
    figures: list[tuple[str, Sequence[float | None], Callable[[float], str], int]] = []

    def row(name: str, values: Sequence[float | None], shown: Callable[[float], str], better: int) -> None:
        figures.append((name, values, shown, better))

    metrics = [one.metrics for one in runs]
    row("Sharpe", [one.sharpe for one in metrics], _number, +1)
    row("deflated Sharpe", [one.deflated_sharpe for one in runs], _percent, +1)
    row("max drawdown", [one.max_drawdown for one in metrics], _percent, +1)
    row("longest drawdown, days", [one.drawdown_days for one in metrics], "{:,.0f}".format, -1)
    row("total return", [one.total_return for one in metrics], _percent, +1)
    row("CAGR", [one.cagr for one in metrics], _percent, +1)
    row("volatility", [one.volatility for one in metrics], _percent, -1)
    row("Sortino", [one.sortino for one in metrics], _number, +1)
    row("Calmar", [one.calmar for one in metrics], _number, +1)
    row("exposure", [one.exposure for one in metrics], _percent, 0)
    row("turnover per year", [one.turnover for one in metrics], "{:.1f}x".format, 0)
    row("trades", [one.trades for one in metrics], "{:,}".format, 0)
    row("win rate", [one.win_rate for one in metrics], _percent, +1)
    row("profit factor", [one.profit_factor for one in metrics], _number, +1)
    row("commission paid", [one.costs for one in metrics], "{:,.2f}".format, -1)
    rows = []
    for name, values, shown, better in figures:
        known = [better * value for value in values if value is not None]
        differ = better != 0 and len(known) > 1 and max(known) > min(known)
        best = {at for at, value in enumerate(values) if differ and value is not None and better * value == max(known)}
        rows.append((name, [_NOT_DEFINED if value is None else shown(value) for value in values], best))
    intervals = [_interval(one.sharpe_low, one.sharpe_high) for one in metrics]
    versus = [
        "" if one.difference is None else f"{one.difference.difference:+.2f}, p = {one.difference.p_value:.2g}"
        for one in runs
    ]
    rows.insert(1, ("95 % interval", intervals, set()))
    rows.insert(2, (f"Sharpe less {runs[0].label}'s", versus, set()))
    return rows


LEGEND_COLUMNS = ["", "run", "models", "dataset", "note"]


def comparison_legend(compared: Comparison) -> list[list[str]]:
    """Rows of `LEGEND_COLUMNS`."""
    return [
        [one.label, _short(one.run.id), _short(one.run.model_run), _dataset(one.run), one.run.note]
        for one in compared.runs
    ]


def _dataset(run: Run) -> str:
    return f"{run.dataset} IN-SAMPLE" if run.in_sample else run.dataset


def _short(run_id: str) -> str:
    """Without the milliseconds, which a person hardly ever needs to tell runs apart."""
    return run_id.split(".")[0]


RUN_COLUMNS = ["id", "models", "Sharpe", "drawdown", "deflated", "kind", "dataset", "note"]


def run_row(run: Run, deflated: float | None) -> list[str]:
    """A row of `RUN_COLUMNS`."""
    kind = "in-sample" if run.in_sample else "backtest"
    of_metrics = [_number(run.metrics.sharpe), _percent(run.metrics.max_drawdown), _percent(deflated)]
    return [_short(run.id), _short(run.model_run), *of_metrics, kind, run.dataset, run.note]


def bars_said(compared: Comparison) -> str:
    """Which bars are compared, and whose others are left out."""
    span = f"{compared.first_bar:%Y-%m-%d %H:%M} to {compared.last_bar:%Y-%m-%d %H:%M} UTC, {compared.bars:,} bars"
    if not compared.partly:
        return f"{span}, the same for every run."
    return f"{span}, which all have in common; further bars of {', '.join(compared.partly)} are left out."


def comparison_verdicts(compared: Comparison) -> list[str]:
    """Which differences are real, in words."""
    first = compared.runs[0].label
    sentences = []
    for one in compared.runs[1:]:
        if one.difference is None:
            same = one.growth.equals(compared.runs[0].growth)
            reason = "earned the same at every bar" if same else "cannot be compared: one of them never traded"
            sentences.append(f"{first} and {one.label} {reason}.")
            continue
        higher = "higher" if one.difference.difference > 0 else "lower"
        size = f"{abs(one.difference.difference):.2f} {higher} than {first}'s"
        luck = "more than luck" if one.difference.p_value < _LEVEL else "which luck alone would show"
        sentences.append(f"{one.label}'s Sharpe ratio is {size}, {luck} (p = {one.difference.p_value:.2g}).")
    if compared.superior is not None:
        earns = "at least one of them earns" if compared.superior < _LEVEL else "none of them is shown to earn"
        test = f"(Hansen's test, p = {compared.superior:.2g})"
        sentences.append(f"Allowing for the number of runs, {earns} more than buying and holding {test}.")
    return sentences


def _number(value: float | None, digits: int = 2) -> str:
    return _NOT_DEFINED if value is None else f"{value:.{digits}f}"


def _interval(low: float | None, high: float | None) -> str:
    return _NOT_DEFINED if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _signed_percent(value: float | None) -> str:
    return _NOT_DEFINED if value is None else f"{100 * value:+.2f}"


def _percent(value: float | None) -> str:
    return _NOT_DEFINED if value is None else f"{100 * value:.1f} %"
