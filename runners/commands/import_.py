"""`regimes import`: make a dataset from candles in a vendor's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from data.importers import Imported

_SHOWN = 5


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="CSV, text, JSON, Excel, Parquet, gzip or zip; several: parts of one series."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the dataset; default: the file's.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing dataset.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be read; write nothing.")] = False,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="Format, if the content leaves a choice.", show_default=False),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="OURS=THEIRS,...",
            help="Columns by name, or by number from 1: close=Last,volume=Vol. or volume=none.",
            show_default=False,
        ),
    ] = None,
    no_header: Annotated[bool, typer.Option("--no-header", help="The first row is a candle.")] = False,
    date_format: Annotated[
        str | None,
        typer.Option(metavar="dmy|mdy|ymd|FORMAT", help="Order of a date, or a strptime format.", show_default=False),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Zone of times without an offset: Europe/Athens, or America/New_York+7 for 7 h later.",
            show_default=False,
        ),
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Instrument to take from a file with several.", show_default=False)
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(metavar="comma|point", help="Decimal sign, if it is unclear.", show_default=False)
    ] = None,
    close_only: Annotated[
        bool, typer.Option("--close-only", help="Make candles from closes: a bar opens at the previous close.")
    ] = False,
    adjust: Annotated[bool, typer.Option("--adjust", help="Adjust prices by adjusted close / close.")] = False,
    drop_zero_volume: Annotated[
        bool, typer.Option("--drop-zero-volume", help="Leave out bars without volume, which fill gaps.")
    ] = False,
    resample: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Make longer bars: 15m, 4h, 1d.", show_default=False)
    ] = None,
    regime_labels: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL=REGIME,...",
            help="Meaning of the labels in the column regime: 1=bearish,2=sideways,3=bullish.",
            show_default=False,
        ),
    ] = None,
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """Make a dataset from candles in a vendor's format, and say what was changed."""
    from data.candles import candle_warnings
    from data.importers import ImportOptions, import_candles, parse_pairs, write_imported
    from runners.terminal import print_path, say, warn, working

    workspace = Workspace.open(workspace_folder)
    final = _final(workspace, files, name, replace=overwrite or dry_run)
    chosen = ImportOptions(
        format=format_,
        columns=parse_pairs(columns, "--columns"),
        no_header=no_header,
        date_format=date_format,
        timezone=timezone,
        symbol=symbol,
        decimal=decimal,
        close_only=close_only,
        adjust=adjust,
        drop_zero_volume=drop_zero_volume,
        resample=resample,
        regime_labels=parse_pairs(regime_labels, "--regime-labels"),
    )
    with working("reading"):
        imported = import_candles(files, chosen)
    for note in imported.notes:
        say(f"{note}.")
    warn(candle_warnings(imported.candles), final.name)
    _print(imported)
    if not dry_run:
        final.parent.mkdir(parents=True, exist_ok=True)
        write_imported(imported, final, files)
        print_path("candles", final)


def _final(workspace: Workspace, files: list[Path], name: str | None, *, replace: bool) -> Path:
    """The path of the new dataset; raise an error if its name cannot be used."""
    from data.errors import SettingsError
    from data.files import require_dataset_name

    if name is None:
        if len(files) > 1:
            raise SettingsError("several files need a name for their dataset. Give it as --name.")
        name = files[0].name.split(".")[0]
    require_dataset_name(name, "--name")
    final = workspace.csv / f"{name}.csv"
    if final.exists() and not replace:
        raise SettingsError(f"{final}: exists already. Choose another --name, or replace it with --overwrite.")
    return final


def _print(imported: Imported) -> None:
    """Print the range and the first candles."""
    from data.candles import time_text
    from runners.terminal import out, print_table

    candles = imported.candles
    rows = [
        [time_text(time), *(f"{value:g}" for value in row)]
        for time, row in zip(candles.index[:_SHOWN], candles.head(_SHOWN).to_numpy(), strict=True)
    ]
    print_table("", ["timestamp (UTC)", *map(str, candles)], rows)
    out.print(f"{len(candles):,} candles from {time_text(candles.index[0])} to {time_text(candles.index[-1])}")
