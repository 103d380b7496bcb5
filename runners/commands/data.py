"""`regimes data`: list the candle files of a workspace."""

from pathlib import Path
from typing import Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace


def data(
    workspace_folder: options.WorkspaceOption = None,
    json: options.JsonOption = False,
    calendar: Annotated[
        str | None,
        typer.Option(
            help="Count missing bars by an exchange's calendar, such as XNYS; default: by each file's own sessions.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the CSVs in data/csv: rows, range, interval, missing bars and regime labels."""
    from data.errors import DataError
    from runners.formatting import NOT_DEFINED
    from runners.terminal import notice, print_json, print_table

    workspace = Workspace.open(workspace_folder)
    rows, errors = [], []
    for file in workspace.csv_files():
        try:
            rows.append(_summary(workspace.candle_file(str(file)), calendar))
        except DataError as error:
            errors.append(str(error))
    if json:
        print_json({"datasets": rows, "errors": errors})
    elif rows:
        columns = [name for name in rows[0] if name != "regimes" or any(row[name] != NOT_DEFINED for row in rows)]
        print_table("", columns, [[_cell(name, row[name]) for name in columns] for row in rows], folded="dataset")
    for message in errors:
        notice(message)


def _cell(name: str, value: object) -> str:
    """A cell's text for a narrow terminal: dates without the time, numbers with commas."""
    if name in ("first", "last"):
        return str(value)[:10]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _summary(file: Path, calendar: str | None) -> dict[str, object]:
    """One dataset's row of the table."""
    import pandas as pd

    from data.calendar import missing_bars, missing_in_calendar
    from data.candles import REGIME, read_candles, time_text
    from data.intervals import interval_of, interval_text

    candles = read_candles(file)
    index = pd.DatetimeIndex(candles.index)
    labels = sorted(candles[REGIME].astype(int).unique().tolist()) if REGIME in candles else []
    return {
        "dataset": file.stem,
        "bars": len(candles),
        "first": time_text(index[0]),
        "last": time_text(index[-1]),
        "interval": interval_text(interval_of(index)) if len(index) > 1 else "-",
        "missing": missing_in_calendar(index, calendar, source=str(file)) if calendar else missing_bars(index),
        "regimes": " ".join(map(str, labels)) or "-",
    }
