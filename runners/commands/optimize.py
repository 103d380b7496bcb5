"""`regimes optimize`: search better settings for each network, by what the validation part says of them."""

from typing import Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import CandlesArgument, ConfigOption, HomeOption, SortOption, with_settings
from runners.workspace.workspace import Home
from training.search.settings import SearchSettings
from training.settings import SharedSettings, TrainSettings

_AFTER_CTRL_C = 130


@with_settings(SearchSettings, SharedSettings)
def optimize(
    file: CandlesArgument = None,
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
    from runners.search.folder import Search
    from runners.search.run_search import run_search
    from runners.terminal import notice, print_path, print_search, tell_doubts

    place = Home.find(home)
    given = place.given(config)
    require_writable(place.results)
    shared = {name: flags[name] for name in SharedSettings.model_fields}
    candle_file = place.candle_file(file)
    search = Search(
        dataset=candle_file.stem,
        settings=given.make(TrainSettings, "train", shared),
        options=given.make(SearchSettings, "optimize", flags),
        trading=given.make(BacktestSettings, "backtest"),
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
