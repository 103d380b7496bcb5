"""`regimes features`: list the features that networks and the regime detector can read."""

from typing import Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace


def features(
    expressions: Annotated[
        list[str] | None, typer.Argument(help="Features to look up, such as rsi(28)[1]@1d; default: list all.")
    ] = None,
    interval: Annotated[str, typer.Option(help="Interval of the candles that the lookback counts.")] = "4h",
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """List the features that networks and the regime detector can read."""
    import pandas as pd

    from data.download import length_of
    from data.features import feature_rows, find_feature, talib_rows
    from runners.terminal import out, print_table

    Workspace.open(workspace_folder)  # registers the user's own features
    length = length_of(interval)
    if expressions:
        found = [find_feature(name, pd.DataFrame()) for name in expressions]
        rows = [[one.name, f"{one.bars_back(length):,}", ", ".join(one.columns)] for one in found]
        print_table("", ["feature", f"lookback in bars of {interval}", "columns"], rows)
        return
    print_table("", ["feature", "lookback", "value"], feature_rows(), folded="value")
    print_table("functions of TA-Lib, such as CCI(20)", ["group", "functions"], talib_rows(), folded="functions")
    out.print(
        "Periods in parentheses are the defaults. Add a lag, rsi(14)[3], and a higher timeframe, rsi(14)@1d. Numeric "
        "columns of a CSV are features under their own names."
    )
