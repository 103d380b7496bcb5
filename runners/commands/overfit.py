"""`regimes overfit`: how often picking the best trading setting in hindsight picks luck."""

from typing import Annotated

import typer

from runners.commands.grid_options import Between, Exposures, LongThresholds, RunArgument, ShortThresholds
from runners.commands.options import HomeOption
from runners.workspace.workspace import Home


def overfit(
    run: RunArgument,
    long_threshold: LongThresholds = None,
    short_threshold: ShortThresholds = None,
    between: Between = None,
    exposure: Exposures = None,
    blocks: Annotated[int, typer.Option(help="Blocks whose halves are set against each other, an even number.")] = 16,
    groups: Annotated[int, typer.Option(help="Groups of bars for the cross-validation.")] = 10,
    test_groups: Annotated[int, typer.Option(help="Groups that each split trades.")] = 2,
    embargo: Annotated[int, typer.Option(help="Bars left out after each of them.")] = 1,
    home: HomeOption = None,
) -> None:
    """Tell the probability of overfitting, and cross-validate the thresholds, on a run's forecasts."""
    from data.files import new_run_id, require_writable, whole_folder, write_json
    from runners.backtesting.grid import AXES, GridRun
    from runners.backtesting.overfitting import hindsight
    from runners.backtesting.runs import GRID_TABLE, OVERFITTING, find_run
    from runners.report.overfitting_page import hindsight_html
    from runners.terminal import print_hindsight, print_path, working

    chosen = find_run(Home.find(home).results, run)
    folder = chosen.folder.parent / OVERFITTING / new_run_id()
    require_writable(folder.parent)
    given = (long_threshold, short_threshold, between, exposure)
    grid_run = GridRun.of(chosen, dict(zip(AXES, given, strict=False)))  # the run's own costs
    with working("trading the grid"):
        found = hindsight(grid_run, blocks=blocks, groups=groups, test_groups=test_groups, embargo=embargo)
        with whole_folder(folder) as draft:
            write_json(draft / "overfitting.json", found.to_dict())
            found.table.to_csv(draft / GRID_TABLE, index=False)
            (draft / "overfitting.html").write_text(hindsight_html(found), encoding="utf-8")
    print_hindsight(found)
    print_path("page", folder / "overfitting.html")
