"""Counts the trials on the bars of a backtest that was just made, and records a backtest as a trial."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data.candles import month_hashes
from data.files import new_run_id, require_dataset_name, whole_folder, write_json
from models.provenance import Training
from runners.backtesting.runs import FORMAT_VERSION, METRICS
from runners.backtesting.trial_files import RECORDED
from runners.backtesting.trial_records import TrialRecord, hash_of_equity
from runners.backtesting.trials import Trials, read_trials

if TYPE_CHECKING:
    from runners.backtesting.result import Backtest


class Counted(NamedTuple):
    """A backtest, marked if a sweep listed its settings, and the trials on its bars, itself included."""

    result: Backtest
    trials: Trials


def counted(result: Backtest, results: Path, chosen_from: int = 0) -> Counted:
    """Count the trials in a workspace's folder of results on the bars of a backtest that is not written yet.

    ``chosen_from`` as in `Source`, if it repeats a run that has it.
    """
    read, record = read_trials(results), TrialRecord.of_result(new_run_id(), result)
    chosen_from = result.source.chosen_from or chosen_from or read.chosen_from(record.bars, result.settings)
    trials = read.with_result(record).on(record.bars, result.metrics.bars)
    return Counted(replace(result, source=replace(result.source, chosen_from=chosen_from)), trials)


def record_trial(result: Backtest, results: Path) -> Backtest:
    """Write the folder ``<results>/<dataset>/recorded/<id>``, which counts as a trial; the result has its trials."""
    require_dataset_name(result.source.dataset, "dataset")
    result, trials = counted(result, results)
    with whole_folder(results / result.source.dataset / RECORDED / new_run_id()) as draft:
        write_json(draft / METRICS, metrics_json(result))
        result.equity[["equity"]].to_csv(draft / "equity.csv")
    return replace(result, trials=trials)


def metrics_json(result: Backtest) -> dict[str, Any]:
    """Figures and training of the run, without anything that changes when the run is repeated."""
    index = result.equity.index
    return {
        "format_version": FORMAT_VERSION,
        "dataset": result.source.dataset,
        "first_bar": index[0].isoformat(),
        "last_bar": index[-1].isoformat(),
        "in_sample": result.in_sample,
        "months": month_hashes(result.candles),
        "returns": hash_of_equity(result.equity["equity"].to_numpy(), result.settings.cash),
        "fingerprint": result.fingerprint,
        "training": Training.to_dict(result.source.training),
        "strategy": result.metrics.to_dict(),
        "buy_and_hold": result.holding.to_dict(),
        "members": [asdict(member) for member in result.members],
        "yardsticks": {name: yardstick.to_dict() for name, yardstick in result.yardsticks.items()},
        "regime_returns": [asdict(one) for one in result.source.regime_returns],
    }
