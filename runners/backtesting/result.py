"""What a backtest gives: where its forecasts come from, curves, trades and figures."""

from __future__ import annotations

from dataclasses import dataclass

import backtrader as bt
import pandas as pd

from models.model_set import ModelSet
from models.provenance import Training
from runners.backtesting.metrics import Metrics
from runners.backtesting.settings import BacktestSettings
from training.sharpe import SharpeDifference


@dataclass(frozen=True)
class TradedFold:
    """One refit of a walk-forward: the bars that it learnt from, and those that it forecast.

    Attributes
    ----------
    notes
        Remarks on its experts.
    names_in_order
        Whether its regimes' mean returns are in the order of their names, which they keep from the folds before.
    """

    fit_first: pd.Timestamp
    fit_last: pd.Timestamp
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    notes: tuple[str, ...] = ()
    names_in_order: bool = True


@dataclass(frozen=True)
class Source:
    """Where the forecasts of a backtest come from.

    Attributes
    ----------
    training
        The training of their models.
    model_set
        None where there is not exactly one: recorded forecasts, a walk-forward.
    folds
        Of a walk-forward.
    chosen_from
        How many settings these were chosen from in hindsight, on the very bars of the backtest; 0 where they were not.
    """

    dataset: str
    interval: pd.Timedelta
    training: Training
    model_set: ModelSet | None = None
    folds: tuple[TradedFold, ...] = ()
    chosen_from: int = 0


@dataclass(frozen=True)
class Backtest:
    """The result of a backtest.

    Attributes
    ----------
    equity
        ``(n_bars, 7)`` of `runners.backtesting.engine.Recorder.equity`.
    trades
        One row per closed round trip.
    metrics, holding
        Figures of the strategy, and of buying and holding over the same bars with the same exposure and costs.
    holding_equity
        ``(n_bars,)`` of buying and holding.
    difference
        The strategy's Sharpe ratio less that of buying and holding; None where one of them never moves.
    candles
        Of the bars traded.
    in_sample
        Whether bars that training or validation has seen were traded.
    fingerprint
        Of all candles given, see `data.candles.fingerprint`.
    """

    source: Source
    settings: BacktestSettings
    candles: pd.DataFrame
    equity: pd.DataFrame
    trades: pd.DataFrame
    metrics: Metrics
    holding_equity: pd.Series
    holding: Metrics
    difference: SharpeDifference | None
    in_sample: bool
    fingerprint: str
    cerebro: bt.Cerebro

    @property
    def mark(self) -> str:
        """What must stand wherever its figures appear: ``in-sample``, ``chosen in hindsight``, or nothing."""
        return "in-sample" if self.in_sample else "chosen in hindsight" if self.source.chosen_from else ""
