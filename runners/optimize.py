"""`regimes optimize`: search better settings for each network, by what the validation part says of them."""

from typing import Annotated, Any

import typer

from runners.command import ConfigOption, HomeOption, SortOption, run_alone, with_settings
from runners.home import Home
from runners.settings import CONFIG_NAME, BacktestSettings, make_settings, read_config
from training.search.settings import SearchSettings
from training.settings import SharedSettings, TrainSettings

_AFTER_CTRL_C = 130


@with_settings(SearchSettings, SharedSettings)
def optimize(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE.csv]", help="Candles, or a dataset's name in data/csv.", show_default=False),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    regime: Annotated[
        str, typer.Option(help="Whose network to search; all: those of all regimes, and their baseline.")
    ] = "all",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Studies side by side; default: one a core.", show_default=False)
    ] = None,
    sort: SortOption = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Search better settings for each network on the validation part; Ctrl-C keeps what is done."""
    from data.candles import read_candles
    from data.files import require_writable
    from runners.console import notice, print_path, print_search, tell_doubts
    from runners.search.folder import Search
    from runners.search.searching import run_search

    place = Home.find(home)
    given = read_config(config) if config else place.config
    source = str(config or CONFIG_NAME)
    require_writable(place.results)
    shared = {name: flags[name] for name in SharedSettings.model_fields}
    candle_file = place.candle_file(file)
    search = Search(
        dataset=candle_file.stem,
        settings=make_settings(TrainSettings, given.get("train", {}), source, shared),
        options=make_settings(SearchSettings, given.get("optimize", {}), source, flags),
        trading=make_settings(BacktestSettings, given.get("backtest", {}), source),
        candles=read_candles(candle_file, sort=sort),
    )
    tell_doubts(candle_file, search.candles)
    found = run_search(place.results, search, regime, jobs)
    print_search(candle_file, search.options, found.results)
    print_path("page", found.page)
    if isinstance(found.ended_by, KeyboardInterrupt):
        notice("Stopped. What is done is kept; the same command goes on from here.")
        raise typer.Exit(_AFTER_CTRL_C)
    if found.ended_by:
        raise found.ended_by


if __name__ == "__main__":
    run_alone(optimize)
