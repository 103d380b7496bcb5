"""Trades each member alone, and the simple strategies that a backtest is compared with, in the array simulator.

All trade the bars of the backtest with its exposure, costs and cash, and decide at a close for the next open, too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from data.intervals import bars_per_year
from models.expert import member_names
from models.forecaster import all_regimes_forecasts, member_forecasts
from models.regimes import Regime
from runners.backtesting.metrics import drawdown, simple_returns
from strategies.array_simulation import SettingsGrid, Simulated, simulate
from strategies.settings import CostSettings, TradingSettings
from strategies.signals import Market
from training.resampling import Difference, Returns, Uncertainty, resample
from training.sharpe import sharpe_ratio

HOLDING = "buy and hold"
FLAT_IF_BEARISH, LONG_IF_BULLISH = "flat if bearish", "long if bullish"
VOLATILITY_SCALED = "volatility-scaled"
ALL_REGIMES = "all-regimes LSTM"
# Columns of `equity.csv`.
CURVES = {
    HOLDING: "holding",
    FLAT_IF_BEARISH: "flat_if_bearish",
    LONG_IF_BULLISH: "long_if_bullish",
    VOLATILITY_SCALED: "volatility_scaled",
    ALL_REGIMES: "all_regimes",
}
_RECENT = 20  # bars of the recent volatility
_STEPS = 10  # weights of volatility-scaled holding are multiples of a tenth


@dataclass(frozen=True)
class AccountFigures:
    """Figures of one account, as in `runners.backtesting.metrics.Metrics`."""

    sharpe: float | None
    max_drawdown: float
    total_return: float
    trades: int


@dataclass(frozen=True)
class Accounts:
    """Accounts over the same bars: ``equity`` is ``(n_bars, n_accounts)``, ``trades`` counts closed round trips."""

    equity: np.ndarray
    trades: np.ndarray

    def figures(self, cash: float, periods: float) -> list[AccountFigures]:
        """Of each account; ``periods`` are bars per year."""
        returns = simple_returns(self.equity, cash)
        sharpes, falls = sharpe_ratio(returns) * math.sqrt(periods), drawdown(self.equity, cash).min(axis=0)
        return [
            AccountFigures(
                float(sharpes[at]) if np.ptp(returns[:, at]) > 0 else None,
                float(falls[at]),
                float(self.equity[-1, at] / cash - 1),
                int(self.trades[at]),
            )
            for at in range(self.equity.shape[1])
        ]


@dataclass(frozen=True)
class Yardstick:
    """A simple strategy, and the backtest's Sharpe ratio and maximum drawdown minus its own; None: no test possible."""

    figures: AccountFigures
    sharpe_difference: Difference | None
    drawdown_difference: Difference | None

    def to_dict(self) -> dict[str, Any]:
        content = asdict(self)
        return {**content.pop("figures"), **content}


@dataclass(frozen=True)
class Compared:
    """A backtest's strategy beside its members and yardsticks; made by `compare_with_yardsticks`.

    Attributes
    ----------
    curves
        ``(n_bars, n)`` equity of each yardstick, with the names of `CURVES`, and of each member alone (``member_1`` to
        ``member_n``).
    members
        Figures of each member traded alone.
    yardsticks
        By name.
    strategy, holding
        The uncertainty of their figures.
    """

    curves: pd.DataFrame
    members: list[AccountFigures]
    yardsticks: dict[str, Yardstick]
    strategy: Uncertainty
    holding: Uncertainty


def buy_and_hold(bars: pd.DataFrame, settings: TradingSettings) -> pd.DataFrame:
    """The account of `strategies.BuyAndHold` over ``(n_bars, >= 5)`` candles.

    It has the columns of `runners.backtesting.engine.Recorder.equity` but regime, forecast and vote.
    """
    always = _as_signalled(settings).model_copy(update={"min_order": 0.0})
    simulated = _simulate(bars, np.ones((len(bars), 1)), always)
    position, price = simulated.position[:, 0], bars["open"].to_numpy() * (1 + settings.slippage)
    bought = np.diff(position, prepend=0.0)
    columns = {
        "equity": simulated.equity[:, 0],
        "position": position,
        "traded": bought * price,
        "commission": bought * settings.commission * price,
        "borrowing": settings.funding * np.append(0.0, position[:-1]) * bars["open"].to_numpy(),
    }
    return pd.DataFrame(columns, index=bars.index)


def compare_with_yardsticks(
    equity: pd.Series,
    holding: pd.DataFrame,
    candles: pd.DataFrame,
    forecasts: pd.DataFrame,
    settings: TradingSettings,
) -> Compared:
    """Trade each member and each yardstick over the bars of ``equity``, and test the differences.

    ``holding`` is from `buy_and_hold`; ``candles`` are the traded bars and all earlier ones; ``forecasts`` are
    `runners.backtesting.result.Backtest.forecasts`.
    """
    bars, periods, cash = candles.loc[equity.index], bars_per_year(pd.DatetimeIndex(equity.index)), settings.cash
    market = Market.of(candles, forecasts)
    members = _trade_alone(bars, member_forecasts(forecasts), settings, market)
    held = Accounts(holding[["equity"]].to_numpy(), np.zeros(1))
    others = {HOLDING: held, **_trade_yardsticks(candles, bars, forecasts, settings, market)}
    networks = _trade_alone(bars, all_regimes_forecasts(forecasts), settings, market)
    traded = [Returns(simple_returns(equity.to_numpy(), cash), simple_returns(members.equity, cash))]
    for name, account in others.items():
        alone = simple_returns(networks.equity, cash) if name == ALL_REGIMES else None
        traded.append(Returns(simple_returns(account.equity[:, 0], cash), alone))
    resamples = resample(traded, periods)
    curves = {CURVES[name]: account.equity[:, 0] for name, account in others.items()}
    curves |= dict(zip(member_names(members.equity.shape[1]), members.equity.T, strict=True))
    return Compared(
        curves=pd.DataFrame(curves, index=equity.index),
        members=members.figures(cash, periods),
        yardsticks={
            name: Yardstick(
                account.figures(cash, periods)[0],
                resamples.sharpe_difference(0, at),
                resamples.drawdown_difference(0, at),
            )
            for at, (name, account) in enumerate(others.items(), start=1)
        },
        strategy=resamples.uncertainty(0),
        holding=resamples.uncertainty(1),
    )


def _trade_alone(bars: pd.DataFrame, members: np.ndarray, settings: TradingSettings, market: Market) -> Accounts:
    """Each member ``(n_bars, n_members)`` alone, an account each."""
    parts = [_trade(bars, members[:, [at]], settings, market) for at in range(members.shape[1])]
    return Accounts(
        np.concatenate([np.empty((len(bars), 0)), *(part.equity for part in parts)], axis=1),
        np.concatenate([np.empty(0), *(part.trades for part in parts)]),
    )


def _trade_yardsticks(
    candles: pd.DataFrame, bars: pd.DataFrame, forecasts: pd.DataFrame, settings: TradingSettings, market: Market
) -> dict[str, Accounts]:
    """The account of each yardstick but buy and hold, by name; the all-regimes network only if it was recorded."""
    regime = forecasts["regime"].to_numpy(dtype=float)
    unless_bearish, if_bullish = (
        np.where(np.isfinite(regime), signal, np.nan) for signal in (regime != Regime.BEARISH, regime == Regime.BULLISH)
    )
    weight = volatility_weights(candles["close"])[-len(bars) :]
    steps = np.arange(_STEPS) < _STEPS * weight[:, None] - 0.5
    signals = {
        FLAT_IF_BEARISH: unless_bearish[:, None],
        LONG_IF_BULLISH: if_bullish[:, None],
        VOLATILITY_SCALED: np.where(np.isfinite(weight)[:, None], steps, np.nan),
    }
    accounts = {name: _trade(bars, signal, _as_signalled(settings)) for name, signal in signals.items()}
    all_regimes = all_regimes_forecasts(forecasts)
    if all_regimes.shape[1]:
        accounts[ALL_REGIMES] = _trade(bars, all_regimes, settings, market)
    return accounts


def _as_signalled(settings: TradingSettings) -> TradingSettings:
    """Settings that hold what a signal of 0 or 1 says: with the exposure, costs and smallest order of these."""
    kept = settings.model_dump(include={"exposure", "min_order", *CostSettings.model_fields, "cash"})
    return TradingSettings(**kept, long_threshold=0.5, short_threshold=-0.5, neutral="flat")


def _trade(
    bars: pd.DataFrame, members: np.ndarray, settings: TradingSettings, market: Market | None = None
) -> Accounts:
    """One account that trades the members' vote."""
    simulated = _simulate(bars, members, settings, market)
    return Accounts(simulated.equity, simulated.round_trips)


def _simulate(
    bars: pd.DataFrame, members: np.ndarray, settings: TradingSettings, market: Market | None = None
) -> Simulated:
    prices = bars["open"].to_numpy(), bars["close"].to_numpy()
    return simulate(*prices, members, SettingsGrid.of(settings), settings.cash, market)


def volatility_weights(close: pd.Series) -> np.ndarray:
    """Fraction of the exposure to hold after each bar: the volatility so far divided by the recent one, at most 1.

    Volatility-managed holding (Moreira and Muir 2017), with the standard deviation of the log returns of all bars so
    far and of the last 20. The weight is a multiple of a tenth and stays the same until it is wrong by more than a
    tenth. NaN for the first 20 bars.
    """
    returns = np.log(close).diff()
    recent = returns.rolling(_RECENT).std().to_numpy()
    wanted = np.minimum(
        1, np.divide(returns.expanding(_RECENT).std(), recent, where=recent > 0, out=np.ones(len(close)))
    )
    weights, held = np.full(len(close), np.nan), math.nan
    for bar, weight in enumerate(np.where(np.isfinite(recent), wanted, np.nan).tolist()):
        if not abs(weight - held) <= 1 / _STEPS and not math.isnan(weight):
            held = round(weight * _STEPS) / _STEPS
        weights[bar] = held
    return weights
