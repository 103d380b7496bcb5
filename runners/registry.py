"""The backtests that a workplace has made, read from their folders, and how many tries a figure is the best of."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from runners.report.metrics import Metrics


@dataclass(frozen=True)
class Run:
    """One backtest, as its folder tells.

    Attributes
    ----------
    config
        Its ``config.toml``: candles, models, fingerprint, settings.
    metrics, holding
        Of the strategy and of buying and holding.
    """

    folder: Path
    dataset: str
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    in_sample: bool
    config: dict[str, Any]
    metrics: Metrics
    holding: Metrics

    @property
    def id(self) -> str:
        return self.folder.name


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
            metrics=Metrics(**figures["strategy"]),
            holding=Metrics(**figures["buy_and_hold"]),
        )
    except (OSError, ValueError, KeyError, TypeError):  # another version's, or not a run's folder
        return None


def _outcome(metrics: Metrics) -> tuple[float, float]:
    """Final value, and Sharpe ratio per bar (an account that never moved has 0)."""
    record = metrics.track_record()
    return metrics.final_value, record.sharpe if record else 0.0
