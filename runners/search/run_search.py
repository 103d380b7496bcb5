"""Runs the studies of a search in parallel and reads their results."""

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
from strategies.signals import Market
from training.prepare import Prepared
from training.search.optimize import StudyTask, prepare_search
from training.search.processes import run_side_by_side
from training.search.result import StudyResult
from training.search.storage import open_storage
from training.search.worker import SearchProgress

EVERY = "all"


@dataclass(frozen=True)
class OpenSearch:
    """A search whose folder is open and whose studies can run.

    Attributes
    ----------
    networks
        Names of all networks of the dataset.
    tasks
        The studies to run.
    skipped
        Reason by name, for networks that are not searched.
    """

    folder: StudyFolder
    networks: tuple[str, ...]
    tasks: tuple[StudyTask, ...]
    skipped: dict[str, str]

    def run(
        self, jobs: int | None, on_progress: Callable[[SearchProgress], None]
    ) -> KeyboardInterrupt | RegimesError | None:
        """Run the studies; return the error or Ctrl-C that stopped them, or None if they finished."""
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler stops a job by SIGTERM
        try:
            run_side_by_side(self.tasks, jobs or os.cpu_count() or 1, on_progress)
        except (KeyboardInterrupt, RegimesError) as error:
            return error
        finally:
            signal.signal(signal.SIGTERM, before)
        return None

    def results(self) -> list[StudyResult]:
        """The finished trials of each network in the storage, also of networks that this search does not include."""
        search, storage = self.folder.search, open_storage(self.folder.storage)
        results = [StudyResult.read(name, search.options, storage, search.study(name)) for name in self.networks]
        return [result for result in results if result.trials]


def open_search(results_folder: Path, search: Search, regime: str) -> OpenSearch:
    """Open the folder of a search of one regime's network, or of all networks for `EVERY`.

    Raises
    ------
    DataError, SettingsError
        If there are too few bars, the regime is unknown, or the storage cannot be used.
    """
    prepared = prepare_search(search.candles, search.dataset, search.settings, search.options)
    networks = {expert_name(number): number for number in (None, *prepared.detector.regimes)}
    require_known([regime], list(networks), "--regime", "regime")
    selected = list(networks) if regime == EVERY else [regime]
    reasons = {name: prepared.network(networks[name], search.options.widest).fallback for name in selected}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if len(skipped) == len(selected):
        raise DataError(f"{search.dataset}, {regime}: {skipped[regime]}. Bring more history, or lower min_windows.")
    if search.options.storage:
        open_storage(search.options.storage)  # fails before a folder is made
    folder = StudyFolder.open(results_folder, search)
    tasks = tuple(_task(folder, prepared, name, networks[name]) for name in selected if name not in skipped)
    return OpenSearch(folder, tuple(networks), tasks, skipped)


def _task(folder: StudyFolder, prepared: Prepared, name: str, regime: int | None) -> StudyTask:
    search, seen = folder.search, folder.search.seen
    return StudyTask(
        regime=regime,
        prepared=prepared,
        search=search.options,
        start=search.settings.of(name),
        storage=folder.storage,
        study=search.study(name),
        trade=ValidationTrade(
            seen["open"].to_numpy(), seen["close"].to_numpy(), search.trading, Market.without_densities(seen)
        ),
    )
