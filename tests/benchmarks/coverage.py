"""Measures coverage and size of intervals and tests: ``python -m tests.benchmarks.coverage``

Options: ``--simulations N`` (1,000 for each row by default, and 400 for rows with 5,000 bars), ``--only TABLE`` (again
for each). docs/statistics.md has the results.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product

import numpy as np

from tests.benchmarks.processes import (
    AUTOCORRELATED,
    BARS_PER_YEAR,
    GARCH,
    INDEPENDENT,
    SPARSE,
    STRONG_GARCH,
    VERY_SPARSE,
    VOLATILITY,
    Process,
    with_trades,
)
from training.drawdowns import max_drawdowns
from training.resampling import Difference, Interval, Returns, resample, superior_predictive_ability
from training.scores import SIGNIFICANCE, diebold_mariano, score
from training.sharpe import SIGNIFICANT_PROBABILITY, TrackRecord

DENSE = (INDEPENDENT, AUTOCORRELATED, GARCH)
ALL = (*DENSE, STRONG_GARCH, SPARSE, VERY_SPARSE)
LENGTHS = (250, 1000, 5000)
SHARPES = (0.0, 1.0)
_LONG, _LONG_SHARE = 5000, 0.4  # fewer simulations of as many bars
_MEMBERS = 5
_CORRELATION = 0.5
_SKILL = 0.4  # standard deviation of the true annualised Sharpe ratio over seeds
_PATHS = 4000  # for the true median of the maximum drawdown

Answers = dict[str, bool | None]  # coverage or rejection by column; None: no figure
Row = tuple[tuple[str, ...], int, Callable[[np.random.Generator], Answers]]


def strategies(process: Process, n_bars: int, sharpe: float, random: np.random.Generator) -> Answers:
    """Two strategies with the same true Sharpe ratio, over the same bars."""
    one, other = process.returns(n_bars, 2, sharpe, random, _CORRELATION).T
    next_drawdown = float(max_drawdowns(process.returns(n_bars, 1, sharpe, random))[0])
    figures = resample([Returns(one), Returns(other)], BARS_PER_YEAR)
    interval, drawdown = figures.sharpe_interval(), figures.drawdown_interval()
    record = interval and TrackRecord(float(figures.sharpe[0]), interval.low, interval.high, n_bars)
    return {
        "Sharpe": _covers(interval, sharpe),
        "PSR": record and record.probabilistic_sharpe(sharpe) > SIGNIFICANT_PROBABILITY,
        "track record": record and (record.minimum_length(sharpe) or math.inf) < n_bars,
        "Sharpe difference": _rejects(figures.sharpe_difference(0, 1)),
        "drawdown": _covers(drawdown, _median_drawdown(process, n_bars, sharpe)),
        "next drawdown": _covers(drawdown, next_drawdown),
        "drawdown difference": _rejects(figures.drawdown_difference(0, 1)),
    }


@cache
def _median_drawdown(process: Process, n_bars: int, sharpe: float) -> float:
    random = np.random.default_rng(1)
    return float(np.median([max_drawdowns(process.returns(n_bars, 1, sharpe, random)) for _ in range(_PATHS)]))


def ensembles(process: Process, n_bars: int, sharpe: float, random: np.random.Generator) -> Answers:
    """Three ensembles with this mean Sharpe ratio over seeds; the first two trade the same networks."""
    drawn = zip(_members(process, n_bars, sharpe, 3, random), ("a", "a", "b"), strict=True)
    returns = [Returns(members.mean(axis=1), members, networks=name) for members, name in drawn]
    figures = resample([*returns, Returns(returns[0].total)], BARS_PER_YEAR)
    return {
        "Sharpe": _covers(figures.sharpe_interval(), sharpe),
        "without members": _covers(figures.sharpe_interval(3), sharpe),
        "difference, same networks": _rejects(figures.sharpe_difference(0, 1)),
        "difference, other networks": _rejects(figures.sharpe_difference(0, 2)),
        "drawdown": _covers(figures.drawdown_interval(), _median_drawdown_of_ensembles(process, n_bars, sharpe)),
        "drawdown difference, same networks": _rejects(figures.drawdown_difference(0, 1)),
        "drawdown difference, other networks": _rejects(figures.drawdown_difference(0, 2)),
    }


def _members(process: Process, n_bars: int, sharpe: float, count: int, random: np.random.Generator) -> list[np.ndarray]:
    """Returns ``(n_bars, n_members)`` of ``count`` ensembles; the first two have the same networks."""
    skill = VOLATILITY * _SKILL / math.sqrt(BARS_PER_YEAR) * random.standard_normal((2, _MEMBERS))
    of_member = sharpe * math.sqrt(_CORRELATION + (1 - _CORRELATION) / _MEMBERS)
    members = process.returns(n_bars, count * _MEMBERS, of_member, random, _CORRELATION)
    return [part + skill[number // 2] for number, part in enumerate(np.split(members, count, axis=1))]


@cache
def _median_drawdown_of_ensembles(process: Process, n_bars: int, sharpe: float) -> float:
    random = np.random.default_rng(2)
    drawn = (_members(process, n_bars, sharpe, 1, random)[0] for _ in range(_PATHS))
    return float(np.median([max_drawdowns(members.mean(axis=1, keepdims=True)) for members in drawn]))


def several(process: Process, n_bars: int, random: np.random.Generator) -> Answers:
    """Hansen's test: strategies and holding, which is always in the market, with the mean 0."""
    holding, *moves = process.moves(n_bars, 11, random, _CORRELATION).T
    traded = list((np.column_stack(moves) * process.positions(n_bars, 10, random)).T)
    p_values = {count: superior_predictive_ability(traded[:count], holding) for count in (1, 2, 10)}
    return {f"best of {count}": None if p is None else p < SIGNIFICANCE for count, p in p_values.items()}


def forecasts(process: Process, n_bars: int, random: np.random.Generator) -> Answers:
    """Two forecasts with equal error; they know nothing, so their true hit rate is one half."""
    outcome, one, other = process.moves(n_bars, 3, random, correlation=0.0).T
    _, p_value = diebold_mariano(0.2 * one, 0.2 * other, outcome)
    scored = score(0.2 * one, outcome, 0.0)
    hit_rate = Interval(scored.hit_low or 0.0, scored.hit_high or 0.0)
    return {"Diebold-Mariano": p_value is not None and p_value < SIGNIFICANCE, "hit rate": _covers(hit_rate, 0.5)}


def few_trades(trades: int, n_bars: int, random: np.random.Generator) -> Answers:
    """The Sharpe interval of a strategy without skill, by its time in the market."""
    answers: Answers = {}
    for share in (0.02, 0.05, 0.1, 0.3, 0.5):
        possible = trades <= share * n_bars / 2
        returns = with_trades(n_bars, trades, share, random) if possible else np.zeros(n_bars)
        answers[f"{100 * share:g} %"] = _covers(resample([Returns(returns)], BARS_PER_YEAR).sharpe_interval(), 0.0)
    return answers


def _covers(interval: Interval | None, truth: float) -> bool | None:
    return None if interval is None else interval.low <= truth <= interval.high


def _rejects(difference: Difference | None) -> bool | None:
    return None if difference is None else difference.p_value < SIGNIFICANCE


def _rows_by_sharpe(simulate: Callable[..., Answers], processes: Sequence[Process]) -> list[Row]:
    return [
        ((process.name, f"{n_bars:,}", f"{sharpe:g}"), n_bars, partial(simulate, process, n_bars, sharpe))
        for process, n_bars, sharpe in product(processes, LENGTHS, SHARPES)
    ]


TABLES: dict[str, tuple[tuple[str, ...], list[Row]]] = {
    "strategies": (("returns", "bars", "Sharpe"), _rows_by_sharpe(strategies, ALL)),
    "ensembles": (("returns", "bars", "Sharpe"), _rows_by_sharpe(ensembles, DENSE)),
    "several": (
        ("returns", "bars"),
        [((p.name, f"{n:,}"), n, partial(several, p, n)) for p, n in product(ALL, LENGTHS)],
    ),
    "forecasts": (
        ("returns", "bars"),
        [((p.name, f"{n:,}"), n, partial(forecasts, p, n)) for p, n in product(DENSE, (200, *LENGTHS))],
    ),
    "trades": (
        ("trades", "bars"),
        [
            ((f"{trades}", f"{n:,}"), n, partial(few_trades, trades, n))
            for n, trades in product(LENGTHS, (1, 2, 5, 10, 20, 30, 50))
        ],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--only", action="append", choices=TABLES, default=[])
    arguments = parser.parse_args()
    for table in arguments.only or TABLES:
        begin, (labels, rows) = time.perf_counter(), TABLES[table]
        for number, (cells, n_bars, simulate) in enumerate(rows):
            count = round(arguments.simulations * (_LONG_SHARE if n_bars >= _LONG else 1))
            random = np.random.default_rng(number)
            answers = [simulate(random) for _ in range(count)]
            if not number:
                columns = [*labels, *answers[0]]
                print(f"\n{table}, in per cent\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
            shares = [_percent([answer[column] for answer in answers]) for column in answers[0]]
            print(f"| {' | '.join([*cells, *shares])} |", flush=True)
        print(f"\n{time.perf_counter() - begin:.0f} s")


def _percent(answers: Sequence[bool | None]) -> str:
    """Share of true answers; in brackets if more than half of the simulations have no figure."""
    known = [bool(answer) for answer in answers if answer is not None]
    share = f"{100 * np.mean(known):.1f}" if known else "-"
    return share if len(known) >= len(answers) / 2 else f"({share})" if known else share


if __name__ == "__main__":
    main()
