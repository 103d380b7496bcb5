"""The result of a backtest, and the source of its forecasts."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from models.model_set import ModelSet
from models.provenance import Training
from models.regime_returns import RegimeReturns, regime_label
from models.regimes import regime_name
from runners.backtesting.marks import marks
from runners.backtesting.metrics import Metrics
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import Trials
from runners.backtesting.yardsticks import CURVES, HOLDING, AccountFigures, Yardstick


@dataclass(frozen=True)
class TradedFold:
    """One fold of a walk-forward: the bars it was fitted on, and the bars it traded.

    Attributes
    ----------
    notes
        Notes on its experts.
    """

    fit_first: pd.Timestamp
    fit_last: pd.Timestamp
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where the forecasts of a backtest come from.

    Attributes
    ----------
    training
        The training of their models.
    model_set
        None for recorded forecasts and walk-forwards.
    folds
        Of a walk-forward.
    chosen_from
        Number of settings from which these were chosen in hindsight, on the same bars; 0 if they were not.
    regime_returns
        Of the model set, or of each fold's; empty for a run of an earlier version.
    """

    dataset: str
    interval: pd.Timedelta
    training: Training
    model_set: ModelSet | None = None
    folds: tuple[TradedFold, ...] = ()
    chosen_from: int = 0
    regime_returns: tuple[RegimeReturns, ...] = ()

    def regime_label(self, regime: int) -> str:
        """The regime's name as it is shown (`models.regime_returns.regime_label`)."""
        return regime_label(regime_name(regime), self.regime_returns)


@dataclass(frozen=True)
class Backtest:
    """The result of a backtest.

    Attributes
    ----------
    forecasts
        ``(n_bars, n)`` at the traded bars: ``regime``, ``p_<regime>`` where the source has them, and ``member_1`` to
        ``member_n``, each member's forecast log return; NaN if unknown.
    equity
        ``(n_bars, 8)`` of `runners.backtesting.engine.Recorder.equity`.
    trades
        One row per closed round trip (`runners.backtesting.engine.Recorder.trades`).
    open_trade
        The round trip that is open at the last bar: the same columns, one row or none.
    metrics, holding
        AccountFigures of the strategy, and of buy and hold over the same bars with the same exposure and costs.
    members
        AccountFigures of each member traded alone.
    yardsticks
        Simple strategies by name, over the same bars with the same exposure and costs.
    curves
        ``(n_bars, n)`` equity of the yardsticks and of each member alone (`runners.backtesting.yardsticks.Compared`).
    candles
        Of the traded bars.
    in_sample
        Whether training or validation has seen traded bars.
    fingerprint
        Of all candles, see `data.candles.fingerprint`.
    trials
        On its bars in the workspace that recorded it; None if it was not recorded, so that the others are not known.
    """

    source: Source
    settings: BacktestSettings
    candles: pd.DataFrame
    forecasts: pd.DataFrame
    equity: pd.DataFrame
    trades: pd.DataFrame
    open_trade: pd.DataFrame
    metrics: Metrics
    holding: Metrics
    members: list[AccountFigures]
    yardsticks: dict[str, Yardstick]
    curves: pd.DataFrame
    in_sample: bool
    fingerprint: str
    trials: Trials | None = None

    @property
    def mark(self) -> str:
        """What to show with all figures, see `runners.backtesting.marks.marks`; or no text."""
        chosen, bankrupt = bool(self.source.chosen_from), self.metrics.bankrupt
        return marks(in_sample=self.in_sample, chosen=chosen, settings=self.settings, bankrupt=bankrupt)

    @property
    def holding_equity(self) -> pd.Series:
        """``(n_bars,)`` of buy and hold."""
        return self.curves[CURVES[HOLDING]]
