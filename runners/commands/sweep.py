"""`regimes sweep`: many trading settings on a run's forecasts, in the time of a few backtests."""

from runners.commands.grid_options import (
    Between,
    BorrowRates,
    Commissions,
    Exposures,
    LongThresholds,
    RunArgument,
    ShortThresholds,
    Slippages,
)
from runners.commands.options import HomeOption
from runners.workspace.workspace import Home


def sweep(
    run: RunArgument,
    long_threshold: LongThresholds = None,
    short_threshold: ShortThresholds = None,
    between: Between = None,
    exposure: Exposures = None,
    commission: Commissions = None,
    slippage: Slippages = None,
    borrow_rate: BorrowRates = None,
    home: HomeOption = None,
) -> None:
    """Trade a grid of settings on a run's forecasts; the best is traded again by Backtrader."""
    from data.files import new_run_id, require_writable, whole_folder
    from runners.backtesting.grid import AXES, GridRun
    from runners.backtesting.runs import GRID_TABLE, SWEEPS, find_run
    from runners.backtesting.sweep import sweep as sweep_grid
    from runners.commands.backtest import write_replay
    from runners.report.sweep_page import sweep_html
    from runners.terminal import print_path, print_sweep, working

    chosen = find_run(Home.find(home).results, run)
    given = (long_threshold, short_threshold, between, exposure, commission, slippage, borrow_rate)
    folder = chosen.folder.parent / SWEEPS / new_run_id()
    require_writable(folder.parent)
    with working("sweeping"):
        found = sweep_grid(GridRun.of(chosen, dict(zip(AXES, given, strict=True))))
        with whole_folder(folder) as draft:
            found.table.to_csv(draft / GRID_TABLE, index=False)
            (draft / "sweep.html").write_text(sweep_html(found), encoding="utf-8")
        note = f"best of {len(found.table):,} settings swept on the forecasts of {chosen.id}"
        _, written = write_replay(chosen.folder.parent.parent, chosen, found.confirmed, note=note)
    print_sweep(found)
    print_path("page", folder / "sweep.html")
    print_path("best, as a run", written / "report.html")
