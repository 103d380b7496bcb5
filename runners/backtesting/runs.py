"""The backtests that a workplace has made, read from their folders, and how many tries a figure is the best of."""

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
from runners.backtesting.metrics import Metrics
from runners.backtesting.settings import BacktestSettings

_REMOVED = ".removed"
SWEEPS, OVERFITTING, GRID_TABLE = "sweeps", "overfitting", "settings.csv"
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
        Fingerprint, last bar and settings of its models' training, and the study that found them.
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
    def models(self) -> str:
        """What made its forecasts."""
        return models_said(self.config)

    @property
    def kind(self) -> str:
        if self.in_sample:
            return "in-sample"
        if "chosen_from" in self.config:
            return "hindsight"
        return "walk-forward" if "walk_forward" in self.config else "backtest"

    @property
    def file(self) -> Path:
        """Its candles."""
        return Path(self.config["file"])

    @property
    def settings(self) -> BacktestSettings:
        """How it traded."""
        return BacktestSettings(**self.config["backtest"])

    @property
    def cash(self) -> float:
        return self.settings.cash

    @property
    def note(self) -> str:
        """What the user wrote down about it."""
        file = self.folder / NOTE
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    def write_note(self, text: str) -> None:
        write_text(self.folder / NOTE, text + "\n")

    def equity(self) -> pd.DataFrame:
        """Its ``equity.csv``: `Recorder.equity`, and ``holding``, the equity of buying and holding."""
        table = pd.read_csv(self.folder / "equity.csv", index_col="timestamp")
        if "borrowing" not in table:  # written before there was a fee for it
            table.insert(6, "borrowing", 0.0)
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


class Try(NamedTuple):
    """One thing that was tried on unseen bars, of which a result may be the best.

    Attributes
    ----------
    bars
        That its Sharpe ratio was measured on.
    outcome
        Tells it from others. Runs whose Sharpe ratios agree are the same try: repeated ones, and those that trade
        alike, such as with a little more exposure.
    sharpe
        Per bar; None where it has none, being too short or given up.
    """

    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    bars: int
    outcome: str
    sharpe: float | None


@dataclass(frozen=True)
class Trials:
    """What was tried on the same bars: how many different things, and the variance of their Sharpe ratios per bar.

    A ratio measured on more or fewer bars than the result is scaled to the result's: without skill it varies with one
    over the root of its bars. The variance is at least what luck alone gives, one over the bars, so that many tries
    that hardly differ do not look like few.
    """

    count: int
    variance: float

    @classmethod
    def of(
        cls,
        tries: Sequence[Try],
        metrics: Metrics,
        training: Mapping[str, Any],
        first_bar: pd.Timestamp,
        last_bar: pd.Timestamp,
    ) -> Trials:
        """A result, the trials of the study that its training comes from, and all earlier tries that share its bars."""
        own = _tries_of(metrics, training, first_bar, last_bar)
        tried = {
            one.outcome: None if one.sharpe is None else one.sharpe * math.sqrt(one.bars / metrics.bars)
            for one in [*own, *tries]
            if one.first_bar <= last_bar and one.last_bar >= first_bar
        }
        if len(tried) == 1:
            return cls(1, 0.0)
        known = [sharpe for sharpe in tried.values() if sharpe is not None]
        found = float(np.var(known, ddof=1)) if len(known) > 1 else 0.0
        return cls(len(tried), max(found, 1 / (metrics.bars - 1)))

    def deflated_sharpe(self, metrics: Metrics) -> float | None:
        """Probability that the true Sharpe ratio is above zero, given that it is the best of these trials."""
        record = metrics.track_record()
        return record.deflated_sharpe(self.count, self.variance) if record else None


def _tries_of(
    metrics: Metrics, training: Mapping[str, Any], first_bar: pd.Timestamp, last_bar: pd.Timestamp
) -> list[Try]:
    """A result, and the trials of the study that its settings come from."""
    record = metrics.track_record()
    sharpe = record.sharpe if record else 0.0 if metrics.sharpe is None else None
    tries = [_try(first_bar, last_bar, metrics.bars, sharpe)]
    study = training.get("study", {"id": "", "bars": 0, "sharpes": {}})
    for network, sharpes in study["sharpes"].items():
        tries += [
            Try(first_bar, last_bar, study["bars"], f"{study['id']} {network} {number}", of_trial)
            for number, of_trial in enumerate(sharpes)
        ]
    return tries


def _try(first_bar: pd.Timestamp, last_bar: pd.Timestamp, bars: int, sharpe: float | None) -> Try:
    shown = "too short" if sharpe is None else f"{sharpe + 0.0:.4f}"
    return Try(first_bar, last_bar, bars, f"{bars} bars, {shown}", sharpe)


def read_runs(folder: Path) -> list[Run]:
    """The finished backtests in one dataset's folder of results, oldest first; folders that hold none are left out."""
    runs = [_read_run(path) for path in sorted(folder.glob("[0-9]*"))]
    return [run for run in runs if run is not None]


def read_tries(folder: Path) -> list[Try]:
    """What was tried on unseen bars in one dataset's folder of results: runs, those removed, and grids of settings."""
    runs = [run for run in read_runs(folder) + read_runs(folder / _REMOVED) if not run.in_sample]
    tries = [one for run in runs for one in _tries_of(run.metrics, run.training, run.first_bar, run.last_bar)]
    for file in sorted(file for name in (SWEEPS, OVERFITTING) for file in (folder / name).glob(f"[0-9]*/{GRID_TABLE}")):
        tries += tries_of_table(pd.read_csv(file, parse_dates=["first_bar", "last_bar"]))
    return tries


def tries_of_table(table: pd.DataFrame) -> list[Try]:
    """The settings in a grid's table (`GridRun.figures`) that could be chosen on unseen bars."""
    tried = table[table["tried"]]
    columns = (tried[name] for name in ("first_bar", "last_bar", "bars", "sharpe_per_bar"))
    return [_try(*of_setting) for of_setting in zip(*columns, strict=True)]


def deflated_sharpe(run: Run, tries: Sequence[Try]) -> float | None:
    """Of one run among its dataset's tries."""
    return Trials.of(tries, run.metrics, run.training, run.first_bar, run.last_bar).deflated_sharpe(run.metrics)


def datasets_in(results: Path) -> list[str]:
    return sorted(path.name for path in results.glob("*") if path.is_dir() and not path.name.startswith("."))


def find_run(results: str | Path, name: str) -> Run:
    """A run by its folder, its id or a beginning of it, with its dataset before a slash or without; or by its dataset.

    Raises
    ------
    DataError
        If there is none, more than one, or its folder holds no whole run.
    """
    results = Path(results)
    newest = latest_run(results / name) if (results / name).is_dir() else None
    if (Path(name) / _TELLS_OF_IT[1]).is_file():
        found = [Path(name)]
    elif newest is not None:
        found = [newest]
    elif Path(name).is_absolute():
        found = []
    else:
        begins = f"{escape(name)}*/{_TELLS_OF_IT[1]}"
        found = sorted(results.glob(begins if "/" in name else f"*/{begins}"))
        found = [path.parent for path in found]
    if not found:
        ids = [path.parent.name for path in results.glob(f"*/[0-9]*/{_TELLS_OF_IT[1]}")]
        near = did_you_mean(name, [*ids, *datasets_in(results)])
        raise DataError(f"{name}: there is no such run in {results}. `regimes runs` lists them.{near}")
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


def models_said(config: Mapping[str, Any]) -> str:
    """What made a run's forecasts: a model set, another run's, or the folds of a walk-forward."""
    if "models" in config:
        return Path(config["models"]).name
    return f"of {Path(config['forecasts']).name}" if "forecasts" in config else "one a fold"
