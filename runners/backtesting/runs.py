"""Reads the runs of a workspace."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from data.errors import DataError, did_you_mean
from data.files import draft_beside, latest_run, regular, write_text
from data.settings import upgraded
from models.provenance import Training
from models.regime_returns import RegimeReturns
from runners.backtesting.marks import marks
from runners.backtesting.metrics import Metrics
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.yardsticks import AccountFigures
from runners.formatting import number, percent, percent_earned

FORMAT_VERSION = 3  # of a run's folder; older formats can be read, see CONTRIBUTING
REMOVED = ".removed"
NOTE = "note.txt"
_CONFIG, METRICS = "config.toml", "metrics.json"
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)  # raised by reading a damaged file
LARGEST_TABLE = 2 << 30  # bytes
NOT_COUNTED = "It is missing in the number of trials"


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
    months
        `data.candles.month_hashes` of the traded bars; none in runs of earlier versions.
    returns
        `training.independence.return_hashes` of the strategy; None in runs of earlier versions.
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
    members: list[AccountFigures]
    regime_returns: tuple[RegimeReturns, ...]
    months: tuple[str, ...] = ()
    returns: str | None = None

    def __repr__(self) -> str:
        figures = self.metrics
        return (
            f"{self.dataset}/{self.id}: {self.kind}, {self.first_bar:%Y-%m-%d} to {self.last_bar:%Y-%m-%d}, "
            f"models {self.models}\nSharpe {number(figures.sharpe)}, max drawdown {percent(figures.max_drawdown)}, "
            f"total return {percent_earned(figures.total_return)}, {figures.trades:,} trades"
        )

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
    def mark(self) -> str:
        """What to show with all its figures, see `runners.backtesting.marks.marks`; or no text."""
        chosen, bankrupt = "chosen_from" in self.config, self.metrics.bankrupt
        return marks(in_sample=self.in_sample, chosen=chosen, settings=self.settings, bankrupt=bankrupt)

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
        return regular(file).read_text(encoding="utf-8").strip() if file.exists() else ""

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
        table = pd.read_csv(regular(self.folder / name, LARGEST_TABLE), index_col="timestamp")
        return table.set_index(pd.to_datetime(table.index, utc=True))

    def trades(self) -> pd.DataFrame:
        """Its ``trades.csv``: one row per closed round trip."""
        return pd.read_csv(regular(self.folder / "trades.csv", LARGEST_TABLE), parse_dates=["opened", "closed"])

    def remove(self) -> None:
        """Delete all but settings and figures, which move to a hidden folder: the run still counts as a trial."""
        kept = self.folder.parent / REMOVED / self.id
        kept.mkdir(parents=True, exist_ok=True)
        for name in (_CONFIG, METRICS):
            shutil.copy(self.folder / name, kept)
        draft = draft_beside(self.folder)
        self.folder.rename(draft)  # at once, so that no other command reads a part of it
        shutil.rmtree(draft)


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
    if not name:  # every run begins with this
        raise DataError("an empty text names no run. `regimes runs` lists all runs.")
    newest = latest_run(results / name) if (results / name).is_dir() else None
    if (Path(name) / METRICS).is_file():
        folders = [Path(name)]
    elif newest is not None:
        folders = [newest]
    elif Path(name).is_absolute():
        folders = []
    else:
        pattern = f"{escape(name)}*/{METRICS}"
        folders = [path.parent for path in sorted(results.glob(pattern if "/" in name else f"*/{pattern}"))]
    if not folders:
        ids = [path.parent.name for path in results.glob(f"*/[0-9]*/{METRICS}")]
        suggestion = did_you_mean(name, [*ids, *datasets_in(results)])
        raise DataError(f"{name}: there is no such run in {results}. `regimes runs` lists all runs.{suggestion}")
    if len(folders) > 1:
        raise DataError(f"{name}: {len(folders)} runs begin with this: {', '.join(path.name for path in folders[:4])}.")
    return _read_run(folders[0])


class Figures(NamedTuple):
    """The content of a run's ``metrics.json``, as in `Run`."""

    dataset: str
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    in_sample: bool
    format_version: int
    training: Training
    metrics: Metrics
    holding: Metrics
    members: list[AccountFigures]
    regime_returns: tuple[RegimeReturns, ...]
    months: tuple[str, ...]
    returns: str | None


def read_figures(folder: Path) -> Figures:
    """Read a run's figures, also with older names; raises DataError if they are incomplete or of a newer version."""
    try:
        figures = json.loads(regular(folder / METRICS).read_text(encoding="utf-8"))
        version = figures.get("format_version", 1)
        read = Figures(
            dataset=figures["dataset"],
            first_bar=pd.Timestamp(figures["first_bar"]),
            last_bar=pd.Timestamp(figures["last_bar"]),
            in_sample=figures["in_sample"],
            format_version=version,
            training=Training.from_dict(figures["training"]),
            metrics=Metrics.from_dict(upgraded("metrics", figures["strategy"])),
            holding=Metrics.from_dict(upgraded("metrics", figures["buy_and_hold"])),
            members=[AccountFigures(**member) for member in figures.get("members", [])],
            regime_returns=tuple(map(RegimeReturns.from_dict, figures.get("regime_returns", []))),
            months=tuple(figures.get("months", ())),
            returns=figures.get("returns"),
        )
    except DAMAGE as error:
        raise _incomplete(folder, error, NOT_COUNTED) from error
    if version > FORMAT_VERSION:
        reason = f"has format {version}; this version reads formats up to {FORMAT_VERSION}"
        raise DataError(f"{folder}: {reason}. {NOT_COUNTED}.")
    return read


def _read_run(folder: Path) -> Run:
    """Read a run, also with older names of settings; raises DataError if it is incomplete or of a newer version."""
    figures = read_figures(folder)
    try:
        config = tomllib.loads(regular(folder / _CONFIG).read_text(encoding="utf-8"))
        config["backtest"] = upgraded("backtest", config["backtest"])
    except DAMAGE as error:
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
