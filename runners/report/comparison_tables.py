"""Tables and sentences that compare runs, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from data.candles import time_text
from runners.backtesting.marks import BANKRUPT, regime_mark
from runners.formatting import NOT_DEFINED, interval, number, percent, percent_earned, probability_above_zero
from runners.report.backtest_tables import (
    NEEDED,
    SHARPE_INTERVAL,
    drawdown_difference,
    members,
    sharpe_difference,
)
from runners.report.strip import Mark, sharpe_values, strips
from training.scores import SIGNIFICANCE, format_p
from training.sharpe import SIGNIFICANT_PROBABILITY

if TYPE_CHECKING:
    from runners.backtesting.comparison import Compared, Comparison
    from runners.backtesting.runs import Run


def figures(compared: Comparison) -> list[tuple[str, list[str], set[int]]]:
    """Rows of a name, the value of each run, and the positions of the best runs."""
    runs = compared.runs
    metrics = [one.metrics for one in runs]
    table: list[tuple[str, Sequence[float | None], Callable[[float], str], int]] = [  # 1: higher is better, -1: lower
        ("Sharpe", [one.sharpe for one in metrics], number, +1),
        (f"deflated Sharpe ({NEEDED})", [one.deflated_sharpe for one in runs], probability_above_zero, +1),
        ("max drawdown", [one.max_drawdown for one in metrics], percent, +1),
        ("longest drawdown, days", [one.drawdown_days for one in metrics], "{:,.0f}".format, -1),
        ("total return", [one.total_return for one in metrics], percent_earned, +1),
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
    for name, values, text, better in table:
        defined = [better * value for value in values if value is not None]
        differ = better != 0 and len(defined) > 1 and max(defined) > min(defined)
        best = {
            at for at, value in enumerate(values) if differ and value is not None and better * value == max(defined)
        }
        rows.append((name, [NOT_DEFINED if value is None else text(value) for value in values], best))
    intervals = [interval(one.sharpe_low, one.sharpe_high) for one in metrics]
    versus = [sharpe_difference(one.sharpe_difference) if number else "" for number, one in enumerate(runs)]
    falls = [drawdown_difference(one.drawdown_difference) if number else "" for number, one in enumerate(runs)]
    rows.insert(1, (SHARPE_INTERVAL, intervals, set()))
    rows.insert(2, (f"Sharpe minus {runs[0].label}'s (p)", versus, set()))
    after = next(at for at, (name, *_) in enumerate(rows) if name == "max drawdown")
    rows.insert(after + 1, (f"drawdown minus {runs[0].label}'s (p)", falls, set()))
    return [*rows, *_member_rows(runs)]


_LIKE_SHARPE = ("Sharpe", "deflated Sharpe", "total return", "CAGR", "Sortino", "Calmar")


def luck(compared: Comparison) -> dict[str, set[int]]:
    """By the name of a row of `figures`, the positions of the runs whose figure is not more than luck.

    A Sharpe ratio, and what rises with it, is more than luck if the deflated ratio is significant; a difference from
    the first run if its test is.
    """
    rows, first = [name for name, *_ in figures(compared)], compared.runs[0].label
    by_chance = {at for at, one in enumerate(compared.runs) if (one.deflated_sharpe or 0.0) <= SIGNIFICANT_PROBABILITY}
    faint = {name: by_chance for name in rows if name.split(" (")[0] in _LIKE_SHARPE}
    for name, differences in (
        ("Sharpe", [one.sharpe_difference for one in compared.runs]),
        ("drawdown", [one.drawdown_difference for one in compared.runs]),
    ):
        faint[f"{name} minus {first}'s (p)"] = {
            at for at, one in enumerate(differences) if one is None or one.p_value >= SIGNIFICANCE
        }
    return faint


class Risk(NamedTuple):
    """One point of the scatter: a run, one of its members, or holding."""

    label: str
    sharpe: float
    max_drawdown: float
    of: str


def risks(compared: Comparison) -> list[Risk]:
    """Sharpe ratio against drawdown of each run and of each of its members."""
    points = []
    for one in compared.runs:
        points += [
            Risk(f"{one.label}, member {place}", alone.sharpe or 0.0, alone.max_drawdown, one.label)
            for place, alone in enumerate(one.members, 1)
        ]
        points.append(Risk(one.label, one.metrics.sharpe or 0.0, one.metrics.max_drawdown, one.label))
    return points


def run_strips(compared: Comparison) -> list[tuple[str, list[Mark]]]:
    """Label, and the Sharpe ratios of members and ensemble, of each run with several members."""
    several = [one for one in compared.runs if len(one.members) > 1]
    groups = [sharpe_values(one.members, one.metrics) for one in several]
    return [(one.label, marks) for one, marks in zip(several, strips(groups), strict=True)] if several else []


def _member_rows(runs: Sequence[Compared]) -> list[tuple[str, list[str], set[int]]]:
    """Mean and standard deviation, and range, of each figure of the runs' members; no rows without members."""
    tables = [members(one.members) for one in runs]
    rows: list[tuple[str, list[str], set[int]]] = []
    for at, (name, *_) in enumerate(next(filter(None, tables), [])):
        figures = [table[at] if table else None for table in tables]
        rows.append((f"members' {name}", ["" if row is None else f"{row[1]} ± {row[2]}" for row in figures], set()))
        rows.append(
            ("... lowest to highest", ["" if row is None else f"{row[3]} to {row[4]}" for row in figures], set())
        )
    return rows


LEGEND_COLUMNS = ["", "run", "models", "dataset"]


def legend(compared: Comparison) -> list[list[str]]:
    """Rows of `LEGEND_COLUMNS`."""
    return [[one.label, _short(one.run.id), _short(one.run.models), _dataset(one.run)] for one in compared.runs]


def notes(compared: Comparison) -> list[tuple[str, str]]:
    """Label and note of each run with a note."""
    return [(one.label, one.run.note) for one in compared.runs if one.run.note]


_NETWORKS = "train: networks: "


def differing(compared: Comparison) -> list[str]:
    """One line per difference in data, models and settings; the settings of single networks are only counted."""
    rows = {name: values for name, values in compared.differing if not name.startswith(_NETWORKS)}
    lines = [
        f"{name}: {', '.join(f'{one.label} {value}' for one, value in zip(compared.runs, values, strict=True))}"
        for name, values in rows.items()
    ]
    networks = [name.split(": ")[2] for name, _ in compared.differing if name.startswith(_NETWORKS)]
    if networks:
        names = ", ".join(dict.fromkeys(networks))
        lines.append(f"train: networks: {len(networks)} settings of {names}, listed on the page")
    return lines


def _dataset(run: Run) -> str:
    return f"{run.dataset} {run.mark.upper()}".strip()


def _short(run_id: str) -> str:
    """The id without its fraction of a second."""
    return run_id.split(".")[0]


RUN_COLUMNS = ["id", "models", "Sharpe", "alone", "drawdown", "DSR", "kind"]
RUN_LEGEND = (
    "alone: mean ± standard deviation of the Sharpe ratios of the members, each traded alone. DSR (deflated Sharpe "
    f"ratio): probability that the true Sharpe ratio is above 0 ({NEEDED})."
)


def run_row(run: Run, deflated: float | None) -> list[str]:
    """A row of `RUN_COLUMNS`."""
    alone = members(run.members)
    spread = f"{alone[0][1]} ± {alone[0][2]}" if alone else NOT_DEFINED
    figures = [number(run.metrics.sharpe), spread, percent(run.metrics.max_drawdown), probability_above_zero(deflated)]
    models = "replay" if "forecasts" in run.config else _short(run.models)
    warned = [mark.upper() for mark in (regime_mark(run.settings), BANKRUPT * run.metrics.bankrupt) if mark]
    return [_short(run.id), models, *figures, ", ".join([run.kind, *warned])]


def run_notes(runs: Iterable[Run]) -> list[tuple[str, str]]:
    """Id and note of each run with a note."""
    return [(_short(run.id), run.note) for run in runs if run.note]


def common_bars(compared: Comparison) -> str:
    """The bars that are compared, and the runs that have more bars."""
    span = f"{time_text(compared.first_bar)} to {time_text(compared.last_bar)} UTC, {compared.bars:,} bars"
    if not compared.partly:
        return f"{span}, the same for every run."
    return f"{span}, which all runs have in common; further bars of {', '.join(compared.partly)} are left out."


def verdicts(compared: Comparison) -> list[str]:
    """Which differences are significant, in words."""
    first = compared.runs[0].label
    sentences = []
    for one in compared.runs[1:]:
        difference = one.sharpe_difference
        if difference is None:
            same = one.growth.equals(compared.runs[0].growth)
            reason = "earned the same at every bar" if same else "cannot be compared: one of them never traded"
            sentences.append(f"{first} and {one.label} {reason}.")
            continue
        higher = "higher" if difference.difference > 0 else "lower"
        size = f"{abs(difference.difference):.2f} {higher} than {first}'s"
        significant = "significant" if difference.p_value < SIGNIFICANCE else "not significant"
        p = format_p(difference.p_value)
        sentences.append(f"{one.label}'s Sharpe ratio is {size}; the difference is {significant} ({p}).")
    sentences += _seed_luck(compared.runs)
    if compared.superior is not None:
        which = "at least one run earns" if compared.superior < SIGNIFICANCE else "no run earns"
        test = f"(Hansen's one-sided test of mean returns, {format_p(compared.superior)})"
        sentences.append(f"Corrected for the number of runs, {which} significantly more than buy and hold {test}.")
    return sentences


def _seed_luck(runs: Sequence[Compared]) -> list[str]:
    """What the tests know about the luck of the seed."""
    own, borrowed, unknown = (
        [one.label for one in runs if one.seed_luck == kind] for kind in ("own", "borrowed", "unknown")
    )
    if unknown:
        return [f"The tests cover the luck of the bars. Seed luck unknown: one member ({', '.join(unknown)})."]
    told = ["The tests cover the luck of bars and seeds."]
    if borrowed:
        told.append(f"Seed luck taken from the members of {own[0]}, for one member shows none: {', '.join(borrowed)}.")
    return told
