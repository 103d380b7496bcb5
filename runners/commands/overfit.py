"""`regimes overfit`: estimate how much the choice of trading settings overfits."""

from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace
from strategies.rule_settings import RuleSettings

if TYPE_CHECKING:
    from runners.backtesting.overfitting import OverfittingAnalysis


@options.with_axes(RuleSettings)
def overfit(
    run: options.RunArgument,
    blocks: Annotated[
        int, typer.Option(help="Even number of blocks for combinatorially symmetric cross-validation.")
    ] = 16,
    groups: Annotated[int, typer.Option(help="Groups for combinatorial purged cross-validation.")] = 10,
    test_groups: Annotated[int, typer.Option(help="Test groups of each split.")] = 2,
    embargo: Annotated[int, typer.Option(help="Bars left out after each test group.")] = 1,
    workspace_folder: options.WorkspaceOption = None,
    *,
    axes: dict[str, str | None],
) -> None:
    """Estimate the probability of backtest overfitting, and cross-validate thresholds on a run's forecasts."""
    from data.files import new_run_id, require_writable, whole_folder, write_json
    from runners.backtesting.grid import GridRun
    from runners.backtesting.overfitting import analyse_overfitting
    from runners.backtesting.runs import find_run
    from runners.backtesting.trial_files import OVERFITTING, write_grid
    from runners.report.overfitting_page import overfitting_html
    from runners.terminal import print_path, working

    chosen = find_run(Workspace.open(workspace_folder).results, run)
    folder = chosen.folder.parent / OVERFITTING / new_run_id()
    require_writable(folder.parent)
    grid_run = GridRun.of(chosen, axes)  # at the run's costs
    with working("trading the grid"):
        analysis = analyse_overfitting(grid_run, blocks=blocks, groups=groups, test_groups=test_groups, embargo=embargo)
        with whole_folder(folder) as draft:
            write_json(draft / "overfitting.json", analysis.to_dict())
            write_grid(draft, analysis.table, analysis.summary)
            (draft / "overfitting.html").write_text(overfitting_html(analysis), encoding="utf-8")
    _print(analysis)
    print_path("page", folder / "overfitting.html")


def _print(analysis: "OverfittingAnalysis") -> None:
    from runners.report import overfitting_page
    from runners.terminal import out, print_table, say

    out.print(f"{analysis.run.dataset}: the forecasts of {analysis.run.id}\n")
    for name, figure in overfitting_page.figures(analysis):
        out.print(f"{name:<36}{figure:>16}")
    out.print()
    print_table("settings chosen by the splits", overfitting_page.CHOSEN_COLUMNS, overfitting_page.chosen(analysis))
    for verdict in overfitting_page.verdicts(analysis):
        say(verdict)
