"""`regimes evaluate`: how well a model set forecasts the bars that its training never saw."""

from pathlib import Path
from typing import Annotated

import typer

from runners.commands.options import HomeOption, JsonOption, SortOption
from runners.workspace.workspace import Home


def evaluate(
    model_set: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL_SET]",
            help="A set's folder, or a dataset's name for its newest; default: that of the only CSV in data/csv.",
            show_default=False,
        ),
    ] = None,
    candles: Annotated[
        Path | None, typer.Option(help="Candles; default: the dataset's file in data/csv.", show_default=False)
    ] = None,
    home: HomeOption = None,
    sort: SortOption = False,
    json: JsonOption = False,
) -> None:
    """Score the forecasts of unseen bars against zero, mean, ridge and one LSTM for all regimes."""
    from dataclasses import replace

    from data.candles import read_candles
    from data.files import new_run_id, require_writable, whole_folder, write_json
    from models.model_set import ModelSet
    from runners.backtesting.compatibility import require_fit
    from runners.report.plots import forecast_png, losses_png, regimes_png
    from runners.terminal import print_evaluation, print_json, tell_doubts, working
    from training.evaluation import evaluate as score_model_set

    place = Home.find(home)
    loaded = ModelSet.load(place.model_set(model_set, candles))
    file = place.candle_file(str(candles or loaded.dataset))
    read = read_candles(file, sort=sort)
    tell_doubts(file, read)
    require_fit(file, read, loaded)
    folder = place.results / file.stem / "evaluations" / new_run_id()
    require_writable(folder.parent)
    with working("evaluating"):
        found = replace(score_model_set(loaded, read), dataset=file.stem)
        with whole_folder(folder) as draft:
            write_json(draft / "evaluation.json", found.to_dict())
            (draft / "forecasts.png").write_bytes(forecast_png(found))
            (draft / "regimes.png").write_bytes(regimes_png(found))
            (draft / "losses.png").write_bytes(losses_png(loaded))
    if json:
        print_json({"folder": str(folder), **found.to_dict()})
    else:
        print_evaluation(found, folder)
