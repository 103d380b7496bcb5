"""`regimes overfit`: how often picking the best trading setting in hindsight picks luck."""

from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands.options import (
    Exposures,
    LongThresholds,
    NeutralRules,
    RunArgument,
    ShortThresholds,
    WorkspaceOption,
)
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from runners.backtesting.overfitting import OverfittingAnalysis


def overfit(
    run: RunArgument,
    long_threshold: LongThresholds = None,
    short_threshold: ShortThresholds = None,
    neutral: NeutralRules = None,
    exposure: Exposures = None,
    blocks: Annotated[int, typer.Option(help="Blocks whose halves are set against each other, an even number.")] = 16,
    groups: Annotated[int, typer.Option(help="Groups of bars for the cross-validation.")] = 10,
    test_groups: Annotated[int, typer.Option(help="Groups that each split trades.")] = 2,
    embargo: Annotated[int, typer.Option(help="Bars left out after each of them.")] = 1,
    workspace_folder: WorkspaceOption = None,
) -> None:
    """Tell the probability of overfitting, and cross-validate the thresholds, on a run's forecasts."""
    from data.files import new_run_id, require_writable, whole_folder, write_json
    from runners.backtesting.grid import GridRun
    from runners.backtesting.overfitting import analyse_overfitting
    from runners.backtesting.runs import GRID_TABLE, OVERFITTING, find_run
    from runners.report.overfitting_page import overfitting_html
    from runners.terminal import print_path, working
    from strategies.settings import RuleSettings

    chosen = find_run(Workspace.open(workspace_folder).results, run)
    folder = chosen.folder.parent / OVERFITTING / new_run_id()
    require_writable(folder.parent)
    given = (long_threshold, short_threshold, neutral, exposure)
    grid_run = GridRun.of(chosen, dict(zip(RuleSettings.model_fields, given, strict=True)))  # the run's own costs
    with working("trading the grid"):
        analysis = analyse_overfitting(grid_run, blocks=blocks, groups=groups, test_groups=test_groups, embargo=embargo)
        with whole_folder(folder) as draft:
            write_json(draft / "overfitting.json", analysis.to_dict())
            analysis.table.to_csv(draft / GRID_TABLE, index=False)
            (draft / "overfitting.html").write_text(overfitting_html(analysis), encoding="utf-8")
    _print(analysis)
    print_path("page", folder / "overfitting.html")


def _print(analysis: "OverfittingAnalysis") -> None:
    from runners.report import overfitting_page
    from runners.terminal import out, print_table, say

    out.print(f"{analysis.run.dataset}: the forecasts of {analysis.run.id}", markup=False)
    out.print()
    for name, figure in overfitting_page.figures(analysis):
        out.print(f"{name:<36}{figure:>16}", markup=False)
    out.print()
    print_table("what the splits picked", overfitting_page.CHOSEN_COLUMNS, overfitting_page.chosen(analysis))
    for sentence in overfitting_page.verdicts(analysis):
        say(sentence)
