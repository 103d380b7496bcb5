"""`regimes optimize`: search for better settings of each network on the validation part."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands import options
from runners.workspace.workspace import Workspace
from training.search.settings import SearchSettings
from training.settings import SharedSettings, TrainSettings

if TYPE_CHECKING:
    from training.search.result import StudyResult

_AFTER_CTRL_C = 130


@options.with_settings(SearchSettings, SharedSettings)
def optimize(
    dataset: options.DatasetArgument = None,
    workspace_folder: options.WorkspaceOption = None,
    config: options.ConfigOption = None,
    regime: Annotated[
        str, typer.Option(help="Search the network of this regime; all: every regime's and the all-regimes network.")
    ] = "all",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Studies to run in parallel; default: one per core.", show_default=False)
    ] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Search for better settings of each network on the validation part; Ctrl-C keeps the finished trials."""
    from data.candles import candle_warnings, read_candles
    from data.files import require_writable, write_text
    from runners.report.study_page import study_html
    from runners.search.folder import Search
    from runners.search.run_search import open_search
    from runners.terminal import notice, print_path, search_progress, warn

    workspace = Workspace.open(workspace_folder, config)
    given = workspace.given
    require_writable(workspace.results)
    file = workspace.candle_file(dataset)
    search = Search(
        dataset=file.stem,
        settings=given.make(TrainSettings, {name: flags[name] for name in SharedSettings.model_fields}),
        options=given.make(SearchSettings, flags),
        trading=given.make(BacktestSettings),
        candles=read_candles(file),
    )
    warn(candle_warnings(search.candles), file.name)
    opened = open_search(workspace.results, search, regime)
    for name, reason in opened.skipped.items():
        notice(f"{name}: {reason}; it will use the all-regimes network and is not searched.")
    folder = opened.folder
    earlier_trials = sum(len(result.trials) for result in opened.results())
    if earlier_trials:
        notice(f"resuming study {folder.path.name} with {earlier_trials} finished trials")
    with search_progress(search.dataset, search.options.trials) as on_progress:
        ended_by = opened.run(jobs, on_progress)
    results = opened.results()
    folder.write(results, opened.skipped)
    page = folder.path / "study.html"
    write_text(page, study_html(search, results, opened.skipped))
    _print(file, search.options, results)
    print_path("page", page)
    if isinstance(ended_by, KeyboardInterrupt):
        notice("Stopped. The finished trials are kept. Run the same command to resume.")
        raise typer.Exit(_AFTER_CTRL_C)
    if ended_by:
        raise ended_by


def _print(file: Path, settings: SearchSettings, results: "Sequence[StudyResult]") -> None:
    """Print the progress of each study, and the best settings so far."""
    from runners.report import study_tables
    from runners.terminal import out, print_table

    title = f"{file.stem}\n{study_tables.objective_text(settings)}"
    print_table(title, study_tables.RESULT_COLUMNS, study_tables.result_rows(results))
    for result in results:
        if result.best:
            out.print(f"{result.name}: {study_tables.settings_text(result.best.settings)}")
    out.print(f"\n{study_tables.caution(results)}")
    if any(result.best for result in results):
        out.print(f"To train with these settings: regimes train {file} --from-study", soft_wrap=True)
