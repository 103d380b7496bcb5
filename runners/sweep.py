"""`regimes sweep`: many trading settings on a run's forecasts, in the time of a few backtests."""

from runners.command import HomeOption, run_alone
from runners.grid_options import (
    Between,
    Commissions,
    Exposures,
    LongThresholds,
    RunArgument,
    ShortThresholds,
    Slippages,
)
from runners.home import Home


def sweep(
    run: RunArgument,
    long_threshold: LongThresholds = None,
    short_threshold: ShortThresholds = None,
    between: Between = None,
    exposure: Exposures = None,
    commission: Commissions = None,
    slippage: Slippages = None,
    home: HomeOption = None,
) -> None:
    """Trade a grid of settings on a run's forecasts; the best is traded again by Backtrader."""
    from data.files import new_run_id, whole_folder
    from runners.backtest import write_replay
    from runners.console import print_path, print_sweep
    from runners.registry import SWEEP_TABLE, SWEEPS, find_run
    from runners.report.sweep_page import sweep_html
    from runners.sweeping import sweep as sweep_run

    place = Home.find(home)
    found = sweep_run(
        find_run(place.results, run),
        {
            "long_threshold": long_threshold,
            "short_threshold": short_threshold,
            "between": between,
            "exposure": exposure,
            "commission": commission,
            "slippage": slippage,
        },
    )
    folder = place.results / found.run.dataset / SWEEPS / new_run_id()
    with whole_folder(folder) as draft:
        found.table.to_csv(draft / SWEEP_TABLE, index=False)
        (draft / "sweep.html").write_text(sweep_html(found), encoding="utf-8")
    note = f"best of {len(found.table):,} settings swept on the forecasts of {found.run.id}"
    _, written = write_replay(place, found.run, found.confirmed, note=note)
    print_sweep(found)
    print_path("page", folder / "sweep.html")
    print_path("best, as a run", written / "report.html")


if __name__ == "__main__":
    run_alone(sweep)
