"""`regimes sweep`: trade many settings on a run's forecasts, in the time of a few backtests."""

from typing import TYPE_CHECKING

from runners.commands import options
from runners.workspace.workspace import Workspace
from strategies.rule_settings import RuleSettings
from strategies.settings import CostSettings

if TYPE_CHECKING:
    from runners.backtesting.sweep import Sweep


@options.with_axes(RuleSettings, CostSettings)
def sweep(
    run: options.RunArgument,
    workspace_folder: options.WorkspaceOption = None,
    *,
    axes: dict[str, str | None],
) -> None:
    """Trade a grid of settings on a run's forecasts, and confirm the best one with Backtrader."""
    from data.files import new_run_id, require_writable, whole_folder
    from runners.backtesting.grid import GridRun
    from runners.backtesting.runs import find_run
    from runners.backtesting.sweep import sweep as sweep_grid
    from runners.backtesting.trial_files import SWEEPS, write_grid
    from runners.report.sweep_page import sweep_html
    from runners.report.write_run import write_replay
    from runners.terminal import print_path, working

    chosen = find_run(Workspace.open(workspace_folder).results, run)
    folder = chosen.folder.parent / SWEEPS / new_run_id()
    require_writable(folder.parent)
    with working("sweeping"):
        result = sweep_grid(GridRun.of(chosen, axes))
        with whole_folder(folder) as draft:
            write_grid(draft, result.table, result.summary)
            (draft / "sweep.html").write_text(sweep_html(result), encoding="utf-8")
        note = f"best of {len(result.table):,} settings swept on the forecasts of {chosen.id}"
        written = write_replay(chosen.folder.parent.parent, chosen, result.confirmed, note=note)
    _print(result)
    print_path("page", folder / "sweep.html")
    print_path("run of the best setting", written.folder / "report.html")


def _print(result: "Sweep") -> None:
    """Print the run's own and the best settings of a sweep, and the verdict on choosing the best."""
    from runners.backtesting.grid_figures import best_settings
    from runners.report import sweep_page
    from runners.terminal import out, print_table, say, warn

    warn(result.trials.warnings)
    out.print(f"{result.run.dataset}: the forecasts of {result.run.id}")
    settings = [result.table.loc[[result.own]], best_settings(result.table)]
    rows = [row for table in settings for row in sweep_page.setting_rows(table)]
    cells = [["own" if rank == 0 else str(rank), *row] for rank, row in enumerate(rows)]
    columns = ["", "long", "short", "rule", *sweep_page.SETTING_COLUMNS[3:]]  # the page's are too wide for a terminal
    print_table("long above, short below: basis points; rule: between the thresholds", columns, cells)
    costs = sweep_page.cost_rows(result)
    if costs:
        print_table("the best setting at other costs", sweep_page.COST_COLUMNS, costs)
    say(sweep_page.verdict(result))
    out.print(sweep_page.best_as_flags(result), soft_wrap=True)
