"""A search on one dataset: its studies run side by side, and what they find written down."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError, RegimesError
from data.files import write_text
from models.model_set import expert_name
from runners.report.study_page import study_html
from runners.search.folder import Search, StudyFolder
from runners.search.objective import ValidationTrade
from runners.terminal import notice, search_progress
from runners.workspace.settings import require_known
from training.prepare import Prepared
from training.search.optimize import StudyTask, prepare_search
from training.search.processes import run_side_by_side
from training.search.result import StudyResult
from training.search.storage import open_storage

EVERY = "all"
_PAGE = "study.html"


@dataclass(frozen=True)
class Searched:
    """What a search has found, and what ended it before its studies were through: Ctrl-C or an error, if anything."""

    page: Path
    results: list[StudyResult]
    ended_by: KeyboardInterrupt | RegimesError | None


def run_search(results_folder: Path, search: Search, regime: str, jobs: int | None) -> Searched:
    """Search the network of a regime, or with `EVERY` those of all, and write the study's folder into the results.

    Raises
    ------
    DataError, SettingsError
        If there is nothing to begin with: too few bars, an unknown regime, a storage that cannot be used.
    """
    prepared = prepare_search(search.candles, search.dataset, search.settings, search.options)
    networks = {expert_name(number): number for number in (None, *prepared.detector.regimes)}
    require_known([regime], list(networks), "--regime", "regime")
    wanted = list(networks) if regime == EVERY else [regime]
    reasons = {name: prepared.network(networks[name], search.options.widest).too_few for name in wanted}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if len(skipped) == len(wanted):
        raise DataError(f"{search.dataset}, {regime}: {skipped[regime]}. Bring more history, or lower min_windows.")
    if search.options.storage:
        open_storage(search.options.storage)  # before there is a folder for what cannot be kept
    folder = StudyFolder.open(results_folder, search)

    for name, reason in skipped.items():
        notice(f"{name}: {reason}; it will use the network of all regimes, and is not searched.")
    if known := sum(len(result.trials) for result in _results(folder, networks)):
        notice(f"study {folder.path.name} goes on; {known} trials are there.")
    tasks = [_task(folder, prepared, name, networks[name]) for name in wanted if name not in skipped]
    ended_by = _run(tasks, search, jobs)
    results = _results(folder, networks)
    folder.write(results, skipped)
    page = folder.path / _PAGE
    write_text(page, study_html(search, results, skipped))
    return Searched(page, results, ended_by)


def _task(folder: StudyFolder, prepared: Prepared, name: str, regime: int | None) -> StudyTask:
    search, seen = folder.search, folder.search.seen
    return StudyTask(
        regime=regime,
        prepared=prepared,
        search=search.options,
        start=search.settings.of(name),
        storage=folder.storage,
        study=search.study(name),
        trade=ValidationTrade(seen["open"].to_numpy(), seen["close"].to_numpy(), search.trading),
    )


def _run(tasks: list[StudyTask], search: Search, jobs: int | None) -> KeyboardInterrupt | RegimesError | None:
    """What has ended the studies too early, if anything."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a scheduler presses Ctrl-C
    try:
        with search_progress(search.dataset, search.options.trials) as on_progress:
            run_side_by_side(tasks, jobs or os.cpu_count() or 1, on_progress)
    except (KeyboardInterrupt, RegimesError) as error:
        return error
    finally:
        signal.signal(signal.SIGTERM, before)
    return None


def _results(folder: StudyFolder, networks: Collection[str]) -> list[StudyResult]:
    """What the storage holds of each network, those that are not searched this time included."""
    search, storage = folder.search, open_storage(folder.storage)
    found = [StudyResult.read(name, search.options, storage, search.study(name)) for name in networks]
    return [result for result in found if result.trials]
