"""`regimes evaluate`: measure how well a model set forecasts unseen bars."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

PAGE = "evaluation.html"

if TYPE_CHECKING:
    from training.evaluation import Evaluation


def evaluate(
    dataset: options.DatasetArgument = None,
    models: options.ModelsOption = None,
    garch: Annotated[
        bool, typer.Option("--garch", help="Compare the densities with GARCH models, too; takes some seconds.")
    ] = False,
    workspace_folder: options.WorkspaceOption = None,
    json: options.JsonOption = False,
) -> None:
    """Score forecasts of unseen bars against zero, the mean, ridge regression and one LSTM for all regimes."""
    from dataclasses import replace

    from data.candles import candle_warnings, read_candles
    from data.files import new_run_id, require_writable, whole_folder, write_json
    from models.forecaster import Forecaster, require_compatible
    from models.model_set import ModelSet
    from runners.backtesting.trial_files import EVALUATION_FILE, EVALUATIONS, look_at
    from runners.report.evaluation_page import evaluation_html
    from runners.terminal import print_json, warn, working
    from training.evaluation import WHOLE
    from training.evaluation import evaluate as score_model_set
    from training.plausibility import implausible_inputs, implausible_scores

    workspace = Workspace.open(workspace_folder)
    file = workspace.candle_file(dataset)
    model_set = ModelSet.load(models or workspace.trained / file.stem)
    candles = read_candles(file)
    warn(candle_warnings(candles), file.name)
    forecaster = Forecaster(model_set)
    require_compatible(candles, forecaster, source=str(file))
    warn(forecaster.warnings(candles, file.stem))
    warn(implausible_inputs(candles, forecaster.features), file.name)
    folder = workspace.results / file.stem / EVALUATIONS / new_run_id()
    require_writable(folder.parent)
    with working("evaluating"):
        evaluation = replace(score_model_set(model_set, candles, garch=garch), dataset=file.stem)
        content = {**evaluation.to_dict(), **look_at(candles[candles.index > model_set.validation_end], model_set)}
        with whole_folder(folder) as draft:
            write_json(draft / EVALUATION_FILE, content)
            page = evaluation_html(evaluation, model_set, candles)
            (draft / PAGE).write_text(page, encoding="utf-8")
    warn(implausible_scores(evaluation.scores[WHOLE]), file.name)
    if json:
        print_json({"folder": str(folder), **content})
    else:
        _print(evaluation, folder)


def _print(evaluation: "Evaluation", folder: Path) -> None:
    from runners.backtesting.trial_files import EVALUATION_FILE
    from runners.report import backtest_tables
    from runners.terminal import out, print_path, print_table, say
    from training.evaluation import WHOLE

    index, label = evaluation.forecasts.index, evaluation.regime_returns.label
    out.print(f"{evaluation.dataset}: unseen bars {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}")
    for group, scores in evaluation.scores.items():
        title = f"{label(group)}: {scores['zero'].bars:,}"
        print_table(title, backtest_tables.SCORE_COLUMNS, backtest_tables.scores(scores))
    out.print(
        "RMSE, MAE: basis points of log return. R2: %, against the forecast 0 and the mean. Hit rate: % with its "
        "95 % interval. DM: Diebold-Mariano, above 0 is better than the forecast 0.\n"
    )
    quality = backtest_tables.regime_quality(evaluation)
    print_table("regimes", backtest_tables.REGIME_COLUMNS, quality, folded="regime")
    out.print(
        "Return, volatility: of the next bar, in basis points. Next regime: the probability of each, in %, in the "
        "order of the rows.\n"
    )
    if evaluation.densities:
        densities = evaluation.densities[WHOLE]
        title = f"densities, {WHOLE}: {next(iter(densities.values())).bars:,}"
        print_table(title, backtest_tables.DENSITY_COLUMNS, backtest_tables.density_scores(densities))
        out.print(
            "Log score: of the next log return, higher is better. CRPS: basis points, lower is better. DM: "
            "Diebold-Mariano of the log score, above 0 the density by regime is better. 50 %, 80 %, 95 %: share of the "
            "returns in the interval; adapted: in the interval that adapts to the last 250 forecasts.\n"
        )
        print_table("value at risk, all bars", backtest_tables.RISK_COLUMNS, backtest_tables.risks(densities))
        out.print(
            "Share of the returns below the 1 % and the 5 % quantile, and whether it fits (Kupiec). "
            f"{EVALUATION_FILE} has all of this by regime.\n"
        )
    if evaluation.importance:
        print_table("importance of each feature, by expert", *backtest_tables.importance(evaluation))
        out.print(
            "By how much the squared error on the validation part grows, in % of the forecast 0's, if the feature's "
            "values are shuffled. Near 0 or below it: the expert does not need the feature.\n"
        )
    for note in evaluation.regime_returns.notes():
        say(note)
    classifier = evaluation.classifier
    if classifier:
        rows = [
            [label(name), *map(str, counts)]
            for name, counts in zip(classifier.regimes, classifier.confusion, strict=True)
        ]
        print_table(
            f"classifier: accuracy {100 * classifier.accuracy:.1f} %", ["", *map(label, classifier.regimes)], rows
        )
        out.print("Bars of the test part. Rows: label. Columns: the classifier's prediction.\n")
    if evaluation.shrinkage:
        say(f"Shrinkage weights: {evaluation.shrinkage}; {evaluation.shrinkage.meaning}.")
    say(evaluation.conclusion)
    print_path("page", folder / PAGE)
