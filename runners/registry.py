"""The backtests that a workplace has made, read from their folders, and how many tries a figure is the best of."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.errors import DataError
from data.files import latest_run, write_text
from runners.report.metrics import Metrics

_REMOVED = ".removed"
NOTE = "note.txt"
_TELLS_OF_IT = ["config.toml", "metrics.json"]


@dataclass(frozen=True)
class Run:
    """One backtest, as its folder tells.

    Attributes
    ----------
    config
        Its ``config.toml``: candles, models, fingerprint, settings.
    training
        Fingerprint, last bar and settings of its models' training.
    metrics, holding
        Of the strategy and of buying and holding.
    """

    folder: Path
    dataset: str
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    in_sample: bool
    config: dict[str, Any]
    training: dict[str, Any]
    metrics: Metrics
    holding: Metrics

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def model_run(self) -> str:
        return Path(self.config["models"]).name

    @property
    def cash(self) -> float:
        return float(self.config["backtest"]["cash"])

    @property
    def note(self) -> str:
        """What the user wrote down about it."""
        file = self.folder / NOTE
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    def write_note(self, text: str) -> None:
        write_text(self.folder / NOTE, text + "\n")

    def equity(self) -> pd.DataFrame:
        """Its ``equity.csv``: `runners.recorder.Recorder.equity`, and ``holding``, the equity of buying and holding."""
        table = pd.read_csv(self.folder / "equity.csv", index_col="timestamp")
        return table.set_index(pd.to_datetime(table.index, utc=True))

    def trades(self) -> pd.DataFrame:
        """Its ``trades.csv``: a row per closed round trip."""
        return pd.read_csv(self.folder / "trades.csv", parse_dates=["opened", "closed"])

    def remove(self) -> None:
        """Delete all but the figures, which stay out of sight, so that the run still counts as a try."""
        grave = self.folder.parent / _REMOVED / self.id
        grave.mkdir(parents=True, exist_ok=True)
        for name in _TELLS_OF_IT:
            shutil.copy(self.folder / name, grave)
        shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Trials:
    """What was tried on the same bars: how many different results, and the variance of their Sharpe ratios per bar."""

    count: int
    variance: float

    @classmethod
    def of(cls, runs: Sequence[Run], metrics: Metrics, first_bar: pd.Timestamp, last_bar: pd.Timestamp) -> Trials:
        """The result itself, and every other result of ``runs`` on unseen bars that overlap its own.

        A run that was repeated is one try.
        """
        tried = {_outcome(metrics)}
        tried |= {
            _outcome(run.metrics)
            for run in runs
            if not run.in_sample and run.first_bar <= last_bar and run.last_bar >= first_bar
        }
        return cls(len(tried), float(np.var([sharpe for _, sharpe in tried], ddof=1)) if len(tried) > 1 else 0.0)

    def deflated_sharpe(self, metrics: Metrics) -> float | None:
        """Probability that the true Sharpe ratio is above zero, given that it is the best of these trials."""
        record = metrics.track_record()
        return record.deflated_sharpe(self.count, self.variance) if record else None


def read_runs(folder: Path) -> list[Run]:
    """The finished backtests in one dataset's folder of results, oldest first; folders that hold none are left out."""
    runs = [_read_run(path) for path in sorted(folder.glob("[0-9]*"))]
    return [run for run in runs if run is not None]


def read_tries(folder: Path) -> list[Run]:
    """The runs in one dataset's folder of results, and those removed from it, of which only the figures are left."""
    return read_runs(folder) + read_runs(folder / _REMOVED)


def deflated_sharpe(run: Run, tries: Sequence[Run]) -> float | None:
    """Of one run among its dataset's tries."""
    return Trials.of(tries, run.metrics, run.first_bar, run.last_bar).deflated_sharpe(run.metrics)


def datasets_in(results: Path) -> list[str]:
    return sorted(path.name for path in results.glob("*") if path.is_dir() and not path.name.startswith("."))


def find_run(results: Path, name: str) -> Run:
    """A run by its folder, its id or a beginning of it, with its dataset before a slash or without; or by its dataset.

    Raises
    ------
    DataError
        If there is none, more than one, or its folder holds no whole run.
    """
    newest = latest_run(results / name) if (results / name).is_dir() else None
    if (Path(name) / _TELLS_OF_IT[1]).is_file():
        found = [Path(name)]
    elif newest is not None:
        found = [newest]
    else:
        found = sorted(results.glob(f"{name}*/{_TELLS_OF_IT[1]}" if "/" in name else f"*/{name}*/{_TELLS_OF_IT[1]}"))
        found = [path.parent for path in found]
    if not found:
        raise DataError(f"{name}: there is no such run in {results}. `regimes runs` lists them.")
    if len(found) > 1:
        raise DataError(f"{name}: {len(found)} runs begin so: {', '.join(path.name for path in found[:4])}.")
    run = _read_run(found[0])
    if run is None:
        raise DataError(f"{found[0]}: holds no whole run of this version; backtest again.")
    return run


def _read_run(folder: Path) -> Run | None:
    try:
        figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
        return Run(
            folder=folder,
            dataset=figures["dataset"],
            first_bar=pd.Timestamp(figures["first_bar"]),
            last_bar=pd.Timestamp(figures["last_bar"]),
            in_sample=figures["in_sample"],
            config=config,
            training=figures["training"],
            metrics=Metrics(**figures["strategy"]),
            holding=Metrics(**figures["buy_and_hold"]),
        )
    except (OSError, ValueError, KeyError, TypeError):  # another version's, or not a run's folder
        return None


def _outcome(metrics: Metrics) -> tuple[float, float]:
    """Final value, and Sharpe ratio per bar (an account that never moved has 0)."""
    record = metrics.track_record()
    return metrics.final_value, record.sharpe if record else 0.0
