"""`regimes compare`: runs side by side, and which of their differences are more than luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands.options import HomeOption, JsonOption
from runners.workspace.workspace import Home

if TYPE_CHECKING:
    from runners.backtesting.runs import Run

COMPARE_PAGE = "compare.html"


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Folders or ids of runs, or datasets for their newest; default: the newest run of every dataset "
            "and the one before it.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    csv: Annotated[Path | None, typer.Option(help="Write the figures there, a row a run.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Compare runs over their common bars, on the terminal and in results/compare.html."""
    from data.errors import DataError
    from runners.backtesting.runs import datasets_in, find_run, read_runs
    from runners.terminal import notice

    place = Home.find(home)
    if runs:
        chosen = [find_run(place.results, name) for name in runs]
        datasets = list(dict.fromkeys(run.dataset for run in chosen))
        groups = {", ".join(datasets): chosen}
    else:
        newest = {dataset: read_runs(place.results / dataset)[-2:] for dataset in datasets_in(place.results)}
        pairs = {dataset: found for dataset, found in newest.items() if len(found) == 2}
        groups = pairs or {dataset: found for dataset, found in newest.items() if found}
        lone = [dataset for dataset, found in newest.items() if len(found) == 1]
        if pairs and lone:
            notice(f"one run alone, and so not compared: {', '.join(lone)}")
    if not groups:
        raise DataError(f"{place.results}: holds no run yet. `regimes backtest FILE.csv` makes one.")
    compare_runs(place, groups, csv=csv, json=json)


def compare_runs(
    home: Home, groups: Mapping[str, Sequence[Run]], *, csv: Path | None = None, json: bool = False
) -> None:
    """Compare each group of runs, print the tables or JSON, and write the page."""
    import pandas as pd

    from data.files import require_writable, write_text
    from runners.backtesting.comparison import compare as compare_group
    from runners.report.backtest_page import comparison_html
    from runners.terminal import print_comparison, print_json, print_path

    require_writable(home.results)
    comparisons = [compare_group(group, title) for title, group in groups.items()]
    page = home.results / COMPARE_PAGE
    write_text(page, comparison_html(comparisons))
    content = [one.to_dict() for one in comparisons]
    if csv:
        rows = [{**row, **_flat(row)} for one in content for row in one["runs"]]
        table = pd.DataFrame(rows).drop(columns="sharpe_difference")
        write_text(csv, table.to_csv(index=False))
    if json:
        print_json({"page": str(page), "comparisons": content})
        return
    for one in comparisons:
        print_comparison(one)
    print_path("page", page)


def _flat(row: dict[str, object]) -> dict[str, object]:
    """The difference to the first run as columns of its own."""
    found = row["sharpe_difference"]
    return {
        f"sharpe_difference_{name}": found[name] if isinstance(found, dict) else None
        for name in ("difference", "low", "high", "p_value")
    }
