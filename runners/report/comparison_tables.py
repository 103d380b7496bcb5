"""Tables and sentences that compare runs, for terminal and page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from data.candles import time_text
from runners.formatting import NOT_DEFINED, interval, number, percent
from training.scores import SIGNIFICANCE, format_p

if TYPE_CHECKING:
    from runners.backtesting.comparison import Comparison
    from runners.backtesting.runs import Run


def figures(compared: Comparison) -> list[tuple[str, list[str], set[int]]]:
    """Rows of name, each run's figure, and the numbers of the best runs."""
    runs = compared.runs
    metrics = [one.metrics for one in runs]
    given: list[tuple[str, Sequence[float | None], Callable[[float], str], int]] = [  # the last: which sign is better
        ("Sharpe", [one.sharpe for one in metrics], number, +1),
        ("deflated Sharpe", [one.deflated_sharpe for one in runs], percent, +1),
        ("max drawdown", [one.max_drawdown for one in metrics], percent, +1),
        ("longest drawdown, days", [one.drawdown_days for one in metrics], "{:,.0f}".format, -1),
        ("total return", [one.total_return for one in metrics], percent, +1),
        ("CAGR", [one.cagr for one in metrics], percent, +1),
        ("volatility", [one.volatility for one in metrics], percent, -1),
        ("Sortino", [one.sortino for one in metrics], number, +1),
        ("Calmar", [one.calmar for one in metrics], number, +1),
        ("time in market", [one.time_in_market for one in metrics], percent, 0),
        ("turnover per year", [one.turnover for one in metrics], "{:.1f}x".format, 0),
        ("trades", [one.trades for one in metrics], "{:,}".format, 0),
        ("win rate", [one.win_rate for one in metrics], percent, +1),
        ("profit factor", [one.profit_factor for one in metrics], number, +1),
        ("commission paid", [one.costs for one in metrics], "{:,.2f}".format, -1),
        ("borrowing paid", [one.borrowing for one in metrics], "{:,.2f}".format, -1),
    ]
    rows = []
    for name, values, shown, better in given:
        known = [better * value for value in values if value is not None]
        differ = better != 0 and len(known) > 1 and max(known) > min(known)
        best = {at for at, value in enumerate(values) if differ and value is not None and better * value == max(known)}
        rows.append((name, [NOT_DEFINED if value is None else shown(value) for value in values], best))
    intervals = [interval(one.sharpe_low, one.sharpe_high) for one in metrics]
    versus = [
        "" if one.difference is None else f"{one.difference.difference:+.2f}, {format_p(one.difference.p_value)}"
        for one in runs
    ]
    rows.insert(1, ("95 % interval", intervals, set()))
    rows.insert(2, (f"Sharpe less {runs[0].label}'s", versus, set()))
    return rows


LEGEND_COLUMNS = ["", "run", "models", "dataset"]


def legend(compared: Comparison) -> list[list[str]]:
    """Rows of `LEGEND_COLUMNS`."""
    return [[one.label, _short(one.run.id), _short(one.run.models), _dataset(one.run)] for one in compared.runs]


def notes(compared: Comparison) -> list[tuple[str, str]]:
    """The labels of the runs that something was noted down about, and what."""
    return [(one.label, one.run.note) for one in compared.runs if one.run.note]


_OF_NETWORKS = "train: networks: "


def differing(compared: Comparison) -> list[str]:
    """What differs in data, models and settings, a line each; the settings of single networks are only counted."""
    rows = {name: values for name, values in compared.differing if not name.startswith(_OF_NETWORKS)}
    lines = [
        f"{name}: {', '.join(f'{one.label} {value}' for one, value in zip(compared.runs, values, strict=True))}"
        for name, values in rows.items()
    ]
    of_networks = [name.split(": ")[2] for name, _ in compared.differing if name.startswith(_OF_NETWORKS)]
    if of_networks:
        networks = ", ".join(dict.fromkeys(of_networks))
        lines.append(f"train: networks: {len(of_networks)} settings of {networks}, listed on the page")
    return lines


def _dataset(run: Run) -> str:
    return f"{run.dataset} IN-SAMPLE" if run.in_sample else run.dataset


def _short(run_id: str) -> str:
    """Without the milliseconds, which a person hardly ever needs to tell runs apart."""
    return run_id.split(".")[0]


RUN_COLUMNS = ["id", "models", "Sharpe", "drawdown", "DSR", "kind"]


def run_row(run: Run, deflated: float | None) -> list[str]:
    """A row of `RUN_COLUMNS`, 80 characters wide; DSR is the deflated Sharpe ratio."""
    of_metrics = [number(run.metrics.sharpe), percent(run.metrics.max_drawdown), percent(deflated)]
    models = "a replay" if "forecasts" in run.config else _short(run.models)
    return [_short(run.id), models, *of_metrics, run.kind]


def run_notes(runs: Iterable[Run]) -> list[tuple[str, str]]:
    """The ids of runs that something was noted down about, and what."""
    return [(_short(run.id), run.note) for run in runs if run.note]


def common_bars(compared: Comparison) -> str:
    """Which bars are compared, and whose others are left out."""
    span = f"{time_text(compared.first_bar)} to {time_text(compared.last_bar)} UTC, {compared.bars:,} bars"
    if not compared.partly:
        return f"{span}, the same for every run."
    return f"{span}, which all have in common; further bars of {', '.join(compared.partly)} are left out."


def verdicts(compared: Comparison) -> list[str]:
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
        luck = "more than luck" if one.difference.p_value < SIGNIFICANCE else "not to be told from luck"
        sentences.append(f"{one.label}'s Sharpe ratio is {size}, {luck} ({format_p(one.difference.p_value)}).")
    if compared.superior is not None:
        earns = "at least one of them earns" if compared.superior < SIGNIFICANCE else "none of them is shown to earn"
        test = f"(Hansen's test, {format_p(compared.superior)})"
        sentences.append(f"Allowing for the number of runs, {earns} more than buying and holding {test}.")
    return sentences
