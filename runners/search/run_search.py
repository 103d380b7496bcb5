"""Runs the studies of a search side by side, and reads what they have found."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError, RegimesError
from data.settings import require_known
from models.expert import expert_name
from runners.search.folder import Search, StudyFolder
from runners.search.objective import ValidationTrade
from training.prepare import Prepared
from training.search.optimize import StudyTask, prepare_search
from training.search.processes import run_side_by_side
from training.search.result import StudyResult
from training.search.storage import open_storage
from training.search.worker import SearchProgress

EVERY = "all"


@dataclass(frozen=True)
class BegunSearch:
    """A search whose folder is open and whose studies can run.

    Attributes
    ----------
    networks
        Names of all networks that the dataset has.
    tasks
        The studies to run.
    skipped
        Networks that are not searched, and why.
    known_trials
        How many finished trials its studies had when it was begun.
    """

    folder: StudyFolder
    networks: tuple[str, ...]
    tasks: tuple[StudyTask, ...]
    skipped: dict[str, str]
    known_trials: int

    def run(
        self, jobs: int | None, on_progress: Callable[[SearchProgress], None]
    ) -> KeyboardInterrupt | RegimesError | None:
        """Run the studies; gives what ended them before they were through: Ctrl-C or an error, if anything."""
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a scheduler presses Ctrl-C
        try:
            run_side_by_side(self.tasks, jobs or os.cpu_count() or 1, on_progress)
        except (KeyboardInterrupt, RegimesError) as error:
            return error
        finally:
            signal.signal(signal.SIGTERM, before)
        return None

    def results(self) -> list[StudyResult]:
        """The finished trials of each network in the storage, those that are not searched this time included."""
        return _results(self.folder, self.networks)


def begin_search(results_folder: Path, search: Search, regime: str) -> BegunSearch:
    """Open the folder of a search of a regime's network, or with `EVERY` of those of all regimes.

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
        open_storage(search.options.storage)  # refused before a folder is made
    folder = StudyFolder.open(results_folder, search)
    tasks = tuple(_task(folder, prepared, name, networks[name]) for name in wanted if name not in skipped)
    known_trials = sum(len(result.trials) for result in _results(folder, tuple(networks)))
    return BegunSearch(folder, tuple(networks), tasks, skipped, known_trials)


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


def _results(folder: StudyFolder, networks: tuple[str, ...]) -> list[StudyResult]:
    search, storage = folder.search, open_storage(folder.storage)
    results = [StudyResult.read(name, search.options, storage, search.study(name)) for name in networks]
    return [result for result in results if result.trials]
