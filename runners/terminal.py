"""What commands print: tables, notices and progress. Results go to standard output, the rest to standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from json import dumps
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Protocol

from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from data.doubts import doubts
from runners.report import backtest_tables, comparison_tables, study_tables
from runners.report.formatting import unbroken

if TYPE_CHECKING:
    import pandas as pd

    from models.model_set import ModelSet
    from runners.backtesting.comparison import Comparison
    from runners.backtesting.engine import Backtest
    from runners.backtesting.overfitting import Hindsight
    from runners.backtesting.runs import Run, Trials
    from runners.backtesting.sweep import Sweep
    from runners.lookahead.outcome import Outcome
    from training.evaluation import Evaluation
    from training.search.result import StudyResult
    from training.search.settings import SearchSettings
    from training.search.worker import SearchProgress

out = Console(highlight=False)
_wide_out = Console(highlight=False, width=240)  # a narrower terminal wraps its lines and keeps every word
err = Console(stderr=True, highlight=False)


class Epoch(Protocol):
    """One epoch of one network, as training reports it."""

    @property
    def name(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def validation_loss(self) -> float: ...


class OnEpoch(Protocol):
    def __call__(self, report: Epoch, /) -> None: ...


def working(text: str) -> AbstractContextManager[Any]:
    """Within the block a terminal shows that something goes on."""
    return err.status(text)


def notice(text: str) -> None:
    err.print(text, style="yellow")


def tell_doubts(file: Path, candles: pd.DataFrame) -> None:
    """Say what in a file's candles may be wrong, to whoever is about to train or trade on them."""
    for sentence in doubts(candles):
        notice(f"{file.name}: {sentence}")


def say(sentence: str) -> None:
    """A sentence in lines that end between words, and neither before a per cent sign nor within ``p = 0.04``."""
    lines = wrap(unbroken(sentence), out.width, break_long_words=False, break_on_hyphens=False)
    out.print("\n".join(lines).replace("\N{NO-BREAK SPACE}", " "), soft_wrap=True, markup=False)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    wide: bool = False,
    folded: str | None = None,
) -> None:
    """A table; one that is ``wide`` keeps every cell whole, so that it can be copied from a narrow terminal, too.

    In place of that the cells of a column ``folded`` go on in further lines where the terminal is too narrow.
    """
    table = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        whole = wide or folded not in (None, name)
        side: JustifyMethod = "left" if number == 0 or name == folded else "right"
        table.add_column(name, justify=side, no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*row)
    (_wide_out if wide else out).print(table)


def print_json(content: object) -> None:
    """What another program reads: one line, and all that a command says on standard output."""
    print(dumps(content, allow_nan=False))


def print_experts(model_set: ModelSet, folder: Path) -> None:
    print_table(
        f"{model_set.dataset}\nloss relative to the zero forecast's, below 1 is better",
        backtest_tables.EXPERT_COLUMNS,
        backtest_tables.experts(model_set),
    )
    for note in backtest_tables.expert_notes(model_set):
        say(note)
    print_path("models", folder)


def print_backtest(result: Backtest, trials: Trials, folder: Path) -> None:
    index = result.equity.index
    mark = f"  {result.mark.upper()}" if result.mark else ""
    title = f"{result.source.dataset}\n{index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {len(index)} bars{mark}"
    print_table(title, backtest_tables.FIGURE_COLUMNS, backtest_tables.figures(result, trials))
    say(backtest_tables.verdict(result))
    print_path("report", folder / "report.html")


def print_folds(result: Backtest, kept: Path | None) -> None:
    """What each fold of a walk-forward earned."""
    shown = [
        backtest_tables.FOLD_COLUMNS.index(name)
        for name in ("fold", "from", "to", "loss", "Sharpe", "return", "holding")
    ]
    rows = [[row[at] for at in shown] for row in backtest_tables.folds(result)]
    print_table("each fold, after costs", [backtest_tables.FOLD_COLUMNS[at] for at in shown], rows)
    for note in backtest_tables.fold_notes(result):
        say(note)
    if kept:
        print_path("models", kept)


def print_sweep(found: Sweep) -> None:
    """The best settings of a sweep, and what picking one of them is worth."""
    from runners.report import sweep_page

    out.print(f"{found.run.dataset}: the forecasts of {found.run.id}", markup=False)
    settings = [found.table.loc[[found.own]], sweep_page.best_settings(found)]
    rows = [row for some in settings for row in sweep_page.setting_rows(some)]
    names = ["own", *map(str, range(1, len(rows)))]
    columns = ["", "long", "short", "rule", *sweep_page.SETTING_COLUMNS[3:]]  # the page's are too wide for a terminal
    print_table(
        "long above, short below: basis points; rule: between them",
        columns,
        [[name, *row] for name, row in zip(names, rows, strict=True)],
    )
    costs = sweep_page.cost_rows(found)
    if costs:
        print_table("the best setting at other costs", sweep_page.COST_COLUMNS, costs)
    say(sweep_page.verdict(found))
    out.print(sweep_page.best_as_flags(found), soft_wrap=True)


def print_hindsight(found: Hindsight) -> None:
    """What picking the best setting in hindsight is worth."""
    from runners.report import overfitting_page

    out.print(f"{found.run.dataset}: the forecasts of {found.run.id}", markup=False)
    out.print()
    for name, figure in overfitting_page.figures(found):
        out.print(f"{name:<36}{figure:>16}", markup=False)
    out.print()
    print_table("what the splits picked", overfitting_page.CHOSEN_COLUMNS, overfitting_page.chosen(found))
    for sentence in overfitting_page.verdicts(found):
        say(sentence)


def print_evaluation(found: Evaluation, folder: Path) -> None:
    index = found.forecasts.index
    out.print(f"{found.dataset}: bars {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, unseen in training")
    for group, of_group in found.scores.items():
        print_table(
            f"{group}: {of_group['zero'].bars:,}", backtest_tables.SCORE_COLUMNS, backtest_tables.scores(of_group)
        )
    out.print(
        "RMSE, MAE: basis points of log return. R2: %, against the forecast 0 and the mean. Hits: % with their "
        "95 % interval. DM: Diebold-Mariano, above 0 is better than the forecast 0.\n"
    )
    print_table("regimes", backtest_tables.REGIME_COLUMNS, backtest_tables.regime_quality(found.regimes))
    out.print("Returns in basis points. Then: which regime the next bar is in, %, in the order of the rows.\n")
    if found.classifier:
        rows = [
            [name, *map(str, counts)]
            for name, counts in zip(found.classifier.regimes, found.classifier.confusion, strict=True)
        ]
        title = f"classifier: {100 * found.classifier.accuracy:.1f} % of the test labels; label by row, guess by column"
        print_table(title, ["", *found.classifier.regimes], rows)
    say(found.conclusion)
    print_path("evaluation", folder)


_RUNS_SIDE_BY_SIDE = 6


def print_comparison(compared: Comparison) -> None:
    """Figures of the runs side by side, the best in bold, and which differences are real."""
    out.print(compared.title, style="bold", markup=False)
    say(comparison_tables.bars_said(compared))
    print_table("", comparison_tables.LEGEND_COLUMNS, _plain(comparison_tables.legend(compared)), folded="dataset")
    for label, note in comparison_tables.notes(compared):
        say(f"{label}: {note}")
    rows = comparison_tables.figures(compared)
    for first in range(0, len(compared.runs), _RUNS_SIDE_BY_SIDE):
        shown = range(first, min(first + _RUNS_SIDE_BY_SIDE, len(compared.runs)))
        cells = [
            [name, *(f"[bold]{values[at]}[/]" if at in best else values[at] for at in shown)]
            for name, values, best in rows
        ]
        print_table("", ["", *(compared.runs[at].label for at in shown)], cells)
    for line in comparison_tables.differing(compared):
        say(line)
    out.print()
    for sentence in comparison_tables.verdicts(compared):
        say(sentence)
    out.print()


def print_runs(runs: Sequence[tuple[Run, float | None]]) -> None:
    """The registry: a table a dataset, in the order given, and what was noted down."""
    for dataset in dict.fromkeys(run.dataset for run, _ in runs):
        listed = [(run, deflated) for run, deflated in runs if run.dataset == dataset]
        rows = [comparison_tables.run_row(run, deflated) for run, deflated in listed]
        print_table(dataset, comparison_tables.RUN_COLUMNS, _plain(rows), wide=True)
        for name, note in comparison_tables.run_notes(run for run, _ in listed):
            out.print(f"{name}: {note}", markup=False)


def _plain(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells that may hold brackets, which are not meant as markup."""
    return [[escape(cell) for cell in row] for row in rows]


def print_checks(name: str, outcomes: Iterable[Outcome]) -> bool:
    """Each check as it ends, then everything found and what it means; gives whether all is clean."""
    out.print(f"does {name} look ahead?\n")
    found = []
    with working("checking"):
        for outcome in outcomes:
            found += outcome.findings
            clean = "[green]clean[/]" if not outcome.findings else f"[red]{len(outcome.findings)} found[/]"
            line = Table.grid(padding=(0, 2))
            line.add_column(width=12)
            line.add_column(width=8)
            line.add_column(overflow="fold")
            line.add_row(outcome.name, clean, escape(outcome.looked_at))
            out.print(line)
    out.print()
    for sentence in found:
        out.print(sentence, style="red", markup=False)
    out.print(
        "Nothing looks ahead, as far as these checks see."
        if not found
        else f"{len(found)} thing{'s' if len(found) > 1 else ''} found: results of {name} are not to be trusted.",
        markup=False,
    )
    return not found


def print_path(name: str, path: Path) -> None:
    """A path on one line, however narrow the terminal, so that it can be copied."""
    out.print(f"{name}: {path}", soft_wrap=True)


@contextmanager
def training_progress(dataset: str, epochs: int) -> Iterator[OnEpoch]:
    """A bar for each network; the block gets the function that moves them."""
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TextColumn("validation loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
    )
    err.print(f"training {dataset}")
    with Progress(*columns, console=err) as progress:
        bars = {}

        def on_epoch(report: Epoch) -> None:
            if report.name not in bars:
                bars[report.name] = progress.add_task(report.name, total=epochs, loss=float("nan"))
            progress.update(bars[report.name], completed=report.epoch, loss=report.validation_loss)

        yield on_epoch


def print_search(file: Path, options: SearchSettings, results: Sequence[StudyResult]) -> None:
    """How far each study is, and the best settings so far."""
    title = f"{file.stem}\n{study_tables.objective_said(options)}"
    print_table(title, study_tables.RESULT_COLUMNS, study_tables.result_rows(results))
    for result in results:
        if result.best:
            out.print(f"{result.name}: {study_tables.settings_said(result.best.settings)}")
    out.print(f"\n{study_tables.caution(results)}")
    if any(result.best for result in results):
        out.print(f"train with these: regimes train {file} --from-study", soft_wrap=True, markup=False)


@contextmanager
def search_progress(dataset: str, trials: int) -> Iterator[Callable[[SearchProgress], None]]:
    """A bar for each study; the block gets the function that moves them."""
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("best {task.fields[best]:<8} {task.fields[epoch]:<9}"),
        TimeElapsedColumn(),
    )
    err.print(f"searching {dataset}")
    with Progress(*columns, console=err) as progress:
        bars = {}

        def on_progress(report: SearchProgress) -> None:
            if report.name not in bars:
                bars[report.name] = progress.add_task(report.name, total=trials, best="", epoch="")
            best = "-" if report.best is None else f"{report.best:.4f}"
            epoch = "waiting" if report.epoch is None else f"epoch {report.epoch}" if report.epoch else ""
            progress.update(bars[report.name], completed=report.finished, best=best, epoch=epoch)

        yield on_progress


@contextmanager
def folds_progress(folds: Mapping[str, int]) -> Iterator[Callable[[str], None]]:
    """A bar for each dataset; the block gets the function that counts one more of its folds."""
    columns = (TextColumn("  {task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    err.print("training folds")
    with Progress(*columns, console=err) as progress:
        bars = {dataset: progress.add_task(dataset, total=total) for dataset, total in folds.items()}
        yield lambda dataset: progress.advance(bars[dataset])
