"""Reads the runs of a workspace, and counts the trials for the deflated Sharpe ratio."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from data.errors import DataError, did_you_mean
from data.files import latest_run, write_text
from data.settings import upgraded
from models.provenance import Study, Training
from models.regime_returns import RegimeReturns
from runners.backtesting.metrics import Metrics
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.yardsticks import Figures

FORMAT_VERSION = 3  # of a run's folder; older formats can be read, see CONTRIBUTING
_REMOVED = ".removed"
SWEEPS, OVERFITTING, GRID_TABLE = "sweeps", "overfitting", "settings.csv"
NOTE = "note.txt"
_CONFIG, _METRICS = "config.toml", "metrics.json"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # raised by reading a damaged file
_NOT_COUNTED = "It is missing in the number of trials"


@dataclass(frozen=True)
class Run:
    """One backtest, read from its folder.

    Attributes
    ----------
    config
        Its ``config.toml``: candles, models, fingerprint, settings.
    training
        The training of its models.
    metrics, holding
        Of the strategy and of buy and hold.
    members
        Figures of each member traded alone; empty for runs of earlier versions.
    regime_returns
        As in `runners.backtesting.result.Source`.
    """

    folder: Path
    dataset: str
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    in_sample: bool
    format_version: int
    config: dict[str, Any]
    training: Training
    metrics: Metrics
    holding: Metrics
    members: list[Figures]
    regime_returns: tuple[RegimeReturns, ...]

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def models(self) -> str:
        """The model set, the run or the walk-forward that made its forecasts."""
        return origin_of_forecasts(self.config)

    @property
    def kind(self) -> str:
        if self.in_sample:
            return "in-sample"
        if "chosen_from" in self.config:
            return "hindsight"
        return "walk-forward" if "walk_forward" in self.config else "backtest"

    @property
    def file(self) -> Path:
        """The CSV of its candles."""
        return Path(self.config["file"])

    @property
    def settings(self) -> BacktestSettings:
        """Its trading settings."""
        return BacktestSettings.from_table(self.config["backtest"], str(self.folder / _CONFIG))

    @property
    def cash(self) -> float:
        return self.settings.cash

    @property
    def note(self) -> str:
        """The user's note about it."""
        file = self.folder / NOTE
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    def write_note(self, text: str) -> None:
        write_text(self.folder / NOTE, text + "\n")

    def equity(self) -> pd.DataFrame:
        """Its ``equity.csv``: `Recorder.equity` and `Backtest.curves`; earlier versions have only ``holding``."""
        table = self._read_bars("equity.csv")
        for at, name, value in ((4, "vote", math.nan), (7, "borrowing", 0.0)):  # earlier versions lack them
            if name not in table:
                table.insert(at, name, value)
        return table

    def forecasts(self) -> pd.DataFrame:
        """Its ``forecasts.csv``: `Backtest.forecasts`; a run of an earlier version has one member."""
        if self.format_version < 3:
            return self.equity()[["regime", "forecast"]].rename(columns={"forecast": "member_1"})
        return self._read_bars("forecasts.csv")

    def _read_bars(self, name: str) -> pd.DataFrame:
        """One of its files with one row per bar, exactly as it was written."""
        table = pd.read_csv(self.folder / name, index_col="timestamp")
        return table.set_index(pd.to_datetime(table.index, utc=True))

    def trades(self) -> pd.DataFrame:
        """Its ``trades.csv``: one row per closed round trip."""
        return pd.read_csv(self.folder / "trades.csv", parse_dates=["opened", "closed"])

    def remove(self) -> None:
        """Delete all but settings and figures, which move to a hidden folder: the run still counts as a trial."""
        kept = self.folder.parent / _REMOVED / self.id
        kept.mkdir(parents=True, exist_ok=True)
        for name in (_CONFIG, _METRICS):
            shutil.copy(self.folder / name, kept)
        shutil.rmtree(self.folder)


class Trial(NamedTuple):
    """One result on unseen bars, of which a reported one may be the best.

    Attributes
    ----------
    bars
        Number of bars of its Sharpe ratio.
    outcome
        Equal for the same trial. Runs with equal Sharpe ratios are one trial, such as repeated runs.
    sharpe
        Per bar; None if it has too few bars or was pruned.
    """

    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    bars: int
    outcome: str
    sharpe: float | None


class TrialsRead(NamedTuple):
    """The trials of a folder, and a warning for each result that cannot be read, and so is not among them."""

    trials: Sequence[Trial]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Trials:
    """Number of different trials on the same bars, and the variance of their Sharpe ratios per bar.

    A Sharpe ratio over another number of bars is scaled to that of the result: without skill its standard deviation is
    one over the root of the bars. The variance is at least that of pure luck, one over the bars, so that many similar
    trials do not count as few.

    Attributes
    ----------
    warnings
        One for each earlier result that cannot be read, and so is not counted.
    """

    count: int
    variance: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        earlier: TrialsRead,
        metrics: Metrics,
        study: Study | None,
        first_bar: pd.Timestamp,
        last_bar: pd.Timestamp,
    ) -> Trials:
        """A result, the trials of its training's ``study``, and all earlier trials on overlapping bars."""
        own = _trials_of(metrics, study, first_bar, last_bar)
        sharpes = {
            trial.outcome: None if trial.sharpe is None else trial.sharpe * math.sqrt(trial.bars / metrics.bars)
            for trial in [*own, *earlier.trials]
            if trial.first_bar <= last_bar and trial.last_bar >= first_bar
        }
        if len(sharpes) == 1:
            return cls(1, 0.0, tuple(earlier.warnings))
        defined = [sharpe for sharpe in sharpes.values() if sharpe is not None]
        variance = float(np.var(defined, ddof=1)) if len(defined) > 1 else 0.0
        return cls(len(sharpes), max(variance, 1 / (metrics.bars - 1)), tuple(earlier.warnings))

    @property
    def count_text(self) -> str:
        """The number of trials, with "at least" if an earlier result cannot be read."""
        return f"at least {self.count:,}" if self.warnings else f"{self.count:,}"

    def deflated_sharpe(self, metrics: Metrics) -> float | None:
        """Probability that the true Sharpe ratio is above 0, given that it is the best of these trials."""
        record = metrics.track_record()
        return record.deflated_sharpe(self.count, self.variance) if record else None


def _trials_of(metrics: Metrics, study: Study | None, first_bar: pd.Timestamp, last_bar: pd.Timestamp) -> list[Trial]:
    """A result and the trials of the study of its settings."""
    record = metrics.track_record()
    sharpe = record.sharpe if record else 0.0 if metrics.sharpe is None else None
    trials = [_trial(first_bar, last_bar, metrics.bars, sharpe)]
    if study is not None:
        for network, sharpes in study.sharpes.items():
            trials += [
                Trial(first_bar, last_bar, study.bars, f"{study.id} {network} {number}", value)
                for number, value in enumerate(sharpes)
            ]
    return trials


def _trial(first_bar: pd.Timestamp, last_bar: pd.Timestamp, bars: int, sharpe: float | None) -> Trial:
    text = "too short" if sharpe is None else f"{sharpe + 0.0:.4f}"
    return Trial(first_bar, last_bar, bars, f"{bars} bars, {text}", sharpe)


class RunsRead(NamedTuple):
    """The runs of a folder, oldest first, and a warning for each unreadable one."""

    runs: list[Run]
    warnings: list[str]


def read_runs(folder: Path) -> RunsRead:
    """The runs in one dataset's folder of results."""
    runs, warnings = [], []
    for path in sorted(folder.glob("[0-9]*")):
        try:
            runs.append(_read_run(path))
        except DataError as error:
            warnings.append(str(error))
    return RunsRead(runs, warnings)


def read_trials(folder: Path) -> TrialsRead:
    """The trials on unseen bars in one dataset's folder of results: runs, removed runs and grids.

    A damaged run counts if its figures can be read.
    """
    trials: list[Trial] = []
    warnings = []
    for path in [*sorted(folder.glob("[0-9]*")), *sorted((folder / _REMOVED).glob("[0-9]*"))]:
        try:
            run = _read_figures(path)
        except DataError as error:
            warnings.append(str(error))
        else:
            trials += [] if run.in_sample else _trials_of(run.metrics, run.training.study, run.first_bar, run.last_bar)
    for path in sorted(path for name in (SWEEPS, OVERFITTING) for path in (folder / name).glob("[0-9]*")):
        try:
            trials += trials_of_table(pd.read_csv(path / GRID_TABLE, parse_dates=["first_bar", "last_bar"]))
        except _DAMAGE as error:
            reason = f"{GRID_TABLE} cannot be read ({type(error).__name__}: {error})"
            warnings.append(f"{path}: {reason}. {_NOT_COUNTED}. Repeat it, or remove the folder.")
    return TrialsRead(trials, warnings)


def trials_of_table(table: pd.DataFrame) -> list[Trial]:
    """The ``tried`` settings of a grid (`GridRun.figures`)."""
    tried = table[table["tried"]]
    columns = (tried[name] for name in ("first_bar", "last_bar", "bars", "sharpe_per_bar"))
    return [_trial(*values) for values in zip(*columns, strict=True)]


def deflated_sharpe(run: Run, trials: TrialsRead) -> float | None:
    """Deflated Sharpe ratio of a run, given the trials of its dataset."""
    return Trials.of(trials, run.metrics, run.training.study, run.first_bar, run.last_bar).deflated_sharpe(run.metrics)


def datasets_in(results: Path) -> list[str]:
    return sorted(path.name for path in results.glob("*") if path.is_dir() and not path.name.startswith("."))


def find_run(results: str | Path, name: str) -> Run:
    """A run by its folder, ``id`` or ``dataset/id`` (or their beginnings), or the newest run of a dataset.

    Raises
    ------
    DataError
        If there is no such run, more than one, or the run is incomplete.
    """
    results = Path(results)
    newest = latest_run(results / name) if (results / name).is_dir() else None
    if (Path(name) / _METRICS).is_file():
        folders = [Path(name)]
    elif newest is not None:
        folders = [newest]
    elif Path(name).is_absolute():
        folders = []
    else:
        pattern = f"{escape(name)}*/{_METRICS}"
        folders = [path.parent for path in sorted(results.glob(pattern if "/" in name else f"*/{pattern}"))]
    if not folders:
        ids = [path.parent.name for path in results.glob(f"*/[0-9]*/{_METRICS}")]
        suggestion = did_you_mean(name, [*ids, *datasets_in(results)])
        raise DataError(f"{name}: there is no such run in {results}. `regimes runs` lists all runs.{suggestion}")
    if len(folders) > 1:
        raise DataError(f"{name}: {len(folders)} runs begin with this: {', '.join(path.name for path in folders[:4])}.")
    return _read_run(folders[0])


class _Figures(NamedTuple):
    """The content of a run's ``metrics.json``, as in `Run`."""

    dataset: str
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    in_sample: bool
    format_version: int
    training: Training
    metrics: Metrics
    holding: Metrics
    members: list[Figures]
    regime_returns: tuple[RegimeReturns, ...]


def _read_figures(folder: Path) -> _Figures:
    """Read a run's figures, also with older names; raises DataError if they are incomplete or of a newer version."""
    try:
        figures = json.loads((folder / _METRICS).read_text(encoding="utf-8"))
        version = figures.get("format_version", 1)
        read = _Figures(
            dataset=figures["dataset"],
            first_bar=pd.Timestamp(figures["first_bar"]),
            last_bar=pd.Timestamp(figures["last_bar"]),
            in_sample=figures["in_sample"],
            format_version=version,
            training=Training.from_dict(figures["training"]),
            metrics=Metrics.from_dict(upgraded("metrics", figures["strategy"])),
            holding=Metrics.from_dict(upgraded("metrics", figures["buy_and_hold"])),
            members=[Figures(**member) for member in figures.get("members", [])],
            regime_returns=tuple(map(RegimeReturns.from_dict, figures.get("regime_returns", []))),
        )
    except _DAMAGE as error:
        raise _incomplete(folder, error, _NOT_COUNTED) from error
    if version > FORMAT_VERSION:
        reason = f"has format {version}; this version reads formats up to {FORMAT_VERSION}"
        raise DataError(f"{folder}: {reason}. {_NOT_COUNTED}.")
    return read


def _read_run(folder: Path) -> Run:
    """Read a run, also with older names of settings; raises DataError if it is incomplete or of a newer version."""
    figures = _read_figures(folder)
    try:
        config = tomllib.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        config["backtest"] = upgraded("backtest", config["backtest"])
    except _DAMAGE as error:
        raise _incomplete(folder, error, "It still counts as a trial") from error
    return Run(folder=folder, config=config, **figures._asdict())


def _incomplete(folder: Path, error: Exception, counts: str) -> DataError:
    reason = f"the run is incomplete ({type(error).__name__}: {error})"
    return DataError(f"{folder}: {reason}. {counts}. Backtest again, or remove the folder.")


def origin_of_forecasts(config: Mapping[str, Any]) -> str:
    """The source of a run's forecasts: a model set, another run, or the folds of a walk-forward."""
    if "models" in config:
        return Path(config["models"]).name
    return f"of {Path(config['forecasts']).name}" if "forecasts" in config else "one per fold"
