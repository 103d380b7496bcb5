"""`regimes optimize`: search better settings for each network, judged on the validation part."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import ConfigOption, DatasetArgument, SortOption, WorkspaceOption, with_settings
from runners.workspace.workspace import Workspace
from training.search.settings import SearchSettings
from training.settings import SharedSettings, TrainSettings

if TYPE_CHECKING:
    from training.search.result import StudyResult

_AFTER_CTRL_C = 130


@with_settings(SearchSettings, SharedSettings)
def optimize(
    dataset: DatasetArgument = None,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
    regime: Annotated[
        str, typer.Option(help="Whose network to search; all: those of all regimes, and their baseline.")
    ] = "all",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Studies side by side; default: one a core.", show_default=False)
    ] = None,
    sort: SortOption = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Search better settings for each network on the validation part; Ctrl-C keeps what is done."""
    from data.candles import candle_warnings, read_candles
    from data.files import require_writable, write_text
    from runners.report.study_page import study_html
    from runners.search.folder import Search
    from runners.search.run_search import begin_search
    from runners.terminal import notice, print_path, search_progress, warn

    workspace = Workspace.open(workspace_folder)
    given = workspace.settings(config)
    require_writable(workspace.results)
    file = workspace.candle_file(dataset)
    search = Search(
        dataset=file.stem,
        settings=given.make(TrainSettings, {name: flags[name] for name in SharedSettings.model_fields}),
        options=given.make(SearchSettings, flags),
        trading=given.make(BacktestSettings),
        candles=read_candles(file, sort=sort),
    )
    warn(candle_warnings(search.candles), file.name)
    begun = begin_search(workspace.results, search, regime)
    for name, reason in begun.skipped.items():
        notice(f"{name}: {reason}; it will use the network of all regimes, and is not searched.")
    if begun.known_trials:
        notice(f"study {begun.folder.path.name} goes on; {begun.known_trials} trials are there.")
    with search_progress(search.dataset, search.options.trials) as on_progress:
        ended_by = begun.run(jobs, on_progress)
    results = begun.results()
    begun.folder.write(results, begun.skipped)
    page = begun.folder.path / "study.html"
    write_text(page, study_html(search, results, begun.skipped))
    _print(file, search.options, results)
    print_path("page", page)
    if isinstance(ended_by, KeyboardInterrupt):
        notice("Stopped. What is done is kept; the same command goes on from here.")
        raise typer.Exit(_AFTER_CTRL_C)
    if ended_by:
        raise ended_by


def _print(file: Path, options: SearchSettings, results: "Sequence[StudyResult]") -> None:
    """How far each study is, and the best settings so far."""
    from runners.report import study_tables
    from runners.terminal import out, print_table

    title = f"{file.stem}\n{study_tables.objective_text(options)}"
    print_table(title, study_tables.RESULT_COLUMNS, study_tables.result_rows(results))
    for result in results:
        if result.best:
            out.print(f"{result.name}: {study_tables.settings_text(result.best.settings)}")
    out.print(f"\n{study_tables.caution(results)}")
    if any(result.best for result in results):
        out.print(f"train with these: regimes train {file} --from-study", soft_wrap=True, markup=False)
