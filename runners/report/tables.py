"""The figures as a person reads them, for terminal and page alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.report.metrics import Metrics

if TYPE_CHECKING:
    from models.model_set import ModelSet
    from runners.registry import Trials
    from runners.simulation import Backtest
    from training.evaluate import RegimeQuality
    from training.scores import Score

_NOT_DEFINED = "-"


def figures(result: Backtest, trials: Trials) -> list[tuple[str, str, str]]:
    """Rows of name, the strategy's figure, and buy and hold's."""
    rows = [
        (name, of_strategy, of_holding)
        for (name, of_strategy), (_, of_holding) in zip(_column(result.metrics), _column(result.holding), strict=True)
    ]
    tries = "1 try" if trials.count == 1 else f"best of {trials.count} tries"
    rows.insert(3, (f"... as {tries}", _percent(trials.deflated_sharpe(result.metrics)), ""))
    return rows


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
    apart = difference.p_value < 0.05
    versus = f"{'but' if above else 'and'} not" if not apart else f"{'and' if above else 'but'} it can be told"
    versus = f"{versus} from buy and hold's"
    return f"{own}, {versus} (difference {difference.difference:+.2f}, p = {difference.p_value:.2f})."


def _number(value: float | None, digits: int = 2) -> str:
    return _NOT_DEFINED if value is None else f"{value:.{digits}f}"


def _interval(low: float | None, high: float | None) -> str:
    return _NOT_DEFINED if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _signed_percent(value: float | None) -> str:
    return _NOT_DEFINED if value is None else f"{100 * value:+.2f}"


def _percent(value: float | None) -> str:
    return _NOT_DEFINED if value is None else f"{100 * value:.1f} %"
