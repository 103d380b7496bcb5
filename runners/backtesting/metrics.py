"""Computes the figures of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from data.intervals import bars_per_year
from training.resampling import Returns, Uncertainty, resample
from training.sharpe import TrackRecord, sharpe_ratio


@dataclass(frozen=True)
class Metrics:
    """Figures of an equity curve, as fractions; None if a figure is not defined.

    Attributes
    ----------
    sharpe, sortino, volatility, cagr, calmar
        Annualised with ``bars_per_year``; risk-free rate 0.
    sharpe_low, sharpe_high, drawdown_low, drawdown_high
        95 % intervals of ``sharpe`` and ``max_drawdown`` (`training.resampling.resample`).
    seed_error
        Part of the standard error of ``sharpe`` that comes from the luck of the seed and does not shrink with more
        bars; 0 without networks, None if unknown, because there is one member only.
    skewness, kurtosis
        Of the returns per bar; 0 and 3 for a normal distribution.
    max_drawdown
        Largest fall from a peak, negative.
    drawdown_days
        Longest time below a peak.
    time_in_market
        Share of bars with a position at the close.
    trades, win_rate, profit_factor
        Of closed round trips, after costs; a position open at the end counts in ``open_trades`` only.
    costs
        Commission paid, in currency; slippage is in the prices.
    borrowing
        Borrowing fees and funding, in currency, below 0 if the account received more; 0 in runs of earlier versions.
    turnover
        Value traded per year, in multiples of mean equity.
    """

    bars: int
    bars_per_year: float
    final_value: float
    total_return: float
    cagr: float | None
    sharpe: float | None
    sharpe_low: float | None
    sharpe_high: float | None
    skewness: float | None
    kurtosis: float | None
    sortino: float | None
    volatility: float | None
    max_drawdown: float
    drawdown_days: float
    calmar: float | None
    time_in_market: float
    trades: int
    open_trades: int
    win_rate: float | None
    profit_factor: float | None
    costs: float
    turnover: float
    borrowing: float = 0.0
    drawdown_low: float | None = None
    drawdown_high: float | None = None
    seed_error: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metrics:
        """The inverse of `to_dict`; what follows from other figures is computed again."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        derived = ("probabilistic_sharpe", "minimum_years", "bankrupt")
        return asdict(self) | {name: getattr(self, name) for name in derived}

    @property
    def bankrupt(self) -> bool:
        """Whether nothing is left, or less than nothing: such an account trades no more."""
        return self.final_value <= 0

    @property
    def years(self) -> float:
        """Length of the curve."""
        return self.bars / self.bars_per_year

    @property
    def probabilistic_sharpe(self) -> float | None:
        """Probability that the true Sharpe ratio is above 0, without correction for other trials."""
        record = self.track_record()
        return record.probabilistic_sharpe() if record else None

    @property
    def minimum_years(self) -> float | None:
        """Minimum track record length: years until this Sharpe ratio's interval is above 0; None if it is below 0."""
        record = self.track_record()
        needed = record.minimum_length() if record else None
        return None if needed is None else needed / self.bars_per_year

    def track_record(self) -> TrackRecord | None:
        """Sharpe ratio and interval per bar; None for a constant equity or fewer than 20 bars."""
        if self.sharpe is None or self.sharpe_low is None or self.sharpe_high is None:
            return None
        scale = math.sqrt(self.bars_per_year)
        low, high = self.sharpe_low / scale, self.sharpe_high / scale
        return TrackRecord(self.sharpe / scale, low, high, self.bars, (self.seed_error or 0.0) / scale)


def without_debt(equity: np.ndarray, cash: float) -> np.ndarray:
    """Equity ``(n_bars, ...)`` that stays 0 after the first bar at 0 or below; all 0 if ``cash`` is not positive."""
    if cash > 0 and (equity > 0).all():
        return equity
    return np.where(np.logical_and.accumulate(equity > 0, axis=0) & (cash > 0), equity, 0.0)


def simple_returns(equity: np.ndarray, cash: float) -> np.ndarray:
    """Simple return of each bar ``(n_bars, ...)``, the first relative to ``cash``; -1 at a bankruptcy, then 0."""
    solvent = without_debt(equity, cash)
    returns = np.ones_like(solvent)
    _divide(solvent[:1], cash, returns[:1])
    _divide(solvent[1:], solvent[:-1], returns[1:])
    returns -= 1
    return returns


def equity_returns(equity: pd.Series, cash: float) -> pd.Series:
    """`simple_returns` of a series, by time without time zone."""
    index = pd.DatetimeIndex(equity.index).tz_localize(None)
    return pd.Series(simple_returns(equity.to_numpy(), cash), index=index)


def metrics_of(
    recorded: pd.DataFrame, trades: pd.DataFrame, cash: float, uncertainty: Uncertainty | None = None
) -> Metrics:
    """Figures of at least two bars of a run.

    Parameters
    ----------
    recorded, trades
        From `runners.backtesting.engine.Recorder`, or a part of them in time.
    cash
        Equity before the first bar. Equity counts as 0 after a bankruptcy, except in final value and total return.
    uncertainty
        Of the figures; default: from the equity alone.
    """
    equity = recorded["equity"]
    solvent = without_debt(equity.to_numpy(), cash)
    periods = bars_per_year(pd.DatetimeIndex(equity.index))
    returns = simple_returns(equity.to_numpy(), cash)
    max_drawdown = float(drawdown(equity.to_numpy(), cash).min())
    uncertainty = uncertainty or resample([Returns(returns)], periods).uncertainty()
    interval, fall = uncertainty.sharpe, uncertainty.max_drawdown
    annual = math.sqrt(periods)
    with np.errstate(over="ignore"):  # minutes of a synthetic series can grow beyond any number in a year
        growth = float(np.prod(1 + returns) ** (periods / len(returns)))
    cagr = growth - 1 if math.isfinite(growth) else None
    standardised = (returns - returns.mean()) / returns.std() if interval else returns
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0) ** 2)))
    pnl = trades["net_pnl"].to_numpy(dtype=float)
    lost = -float(pnl[pnl < 0].sum())
    return Metrics(
        bars=len(equity),
        bars_per_year=periods,
        final_value=float(equity.iloc[-1]),
        total_return=float(equity.iloc[-1] / cash - 1) if cash > 0 else 0.0,
        cagr=cagr,
        sharpe=float(sharpe_ratio(returns)) * annual if np.ptp(returns) > 0 else None,
        sharpe_low=interval.low if interval else None,
        sharpe_high=interval.high if interval else None,
        skewness=float(np.mean(standardised**3)) if interval else None,
        kurtosis=float(np.mean(standardised**4)) if interval else None,
        sortino=float(returns.mean()) / downside * annual if downside > 0 else None,
        volatility=float(returns.std(ddof=1)) * annual,
        max_drawdown=max_drawdown,
        drawdown_days=_longest_below_peak(equity, cash),
        calmar=cagr / -max_drawdown if cagr is not None and max_drawdown < 0 else None,
        time_in_market=float((recorded["position"] != 0).mean()),
        trades=len(trades),
        open_trades=int(recorded["position"].iloc[-1] != 0),
        win_rate=float((pnl > 0).mean()) if len(pnl) else None,
        profit_factor=float(pnl[pnl > 0].sum()) / lost if lost > 0 else None,
        costs=float(recorded["commission"].sum()),
        turnover=float(recorded["traded"].sum()) / float(solvent.mean()) * periods / len(equity)
        if solvent.any()
        else 0.0,
        borrowing=float(recorded["borrowing"].sum()),
        drawdown_low=fall.low if fall else None,
        drawdown_high=fall.high if fall else None,
        seed_error=uncertainty.seed_error,
    )


def metrics_of_part(
    recorded: pd.DataFrame,
    trades: pd.DataFrame,
    cash: float,
    bars: pd.DatetimeIndex,
    uncertainty: Uncertainty | None = None,
) -> Metrics:
    """Figures of a part of a run, with the trades that closed in it; parameters as in `metrics_of`."""
    first, last = bars[0].tz_localize(None), bars[-1].tz_localize(None)
    closed = trades[(trades["closed"] >= first) & (trades["closed"] <= last)]
    return metrics_of(recorded.loc[bars], closed, equity_before(recorded["equity"], bars[0], cash), uncertainty)


def equity_before(equity: pd.Series, bar: pd.Timestamp, cash: float) -> float:
    """Equity at the close before a bar; ``cash`` for the first bar."""
    before = int(equity.index.searchsorted(bar)) - 1
    return float(equity.to_numpy()[before]) if before >= 0 else cash


def drawdown(equity: np.ndarray, cash: float) -> np.ndarray:
    """Fraction below the highest equity so far, including ``cash``: ``(n_bars, ...)``, from 0 to -1."""
    solvent = without_debt(equity, cash)
    peak = np.maximum(np.maximum.accumulate(solvent, axis=0), cash)
    below = np.ones_like(solvent)
    _divide(solvent, peak, below)
    below -= 1
    return below


def _divide(numerator: np.ndarray, denominator: np.ndarray | float, out: np.ndarray) -> None:
    """Divide where the denominator is above 0; elsewhere ``out`` keeps its values."""
    positive = np.greater(denominator, 0)
    np.divide(numerator, denominator, out=out, where=True if positive.all() else positive)


def _longest_below_peak(equity: pd.Series, cash: float) -> float:
    """Days from a peak, or the start, to the last bar below it."""
    days = pd.DatetimeIndex(equity.index).to_julian_date().to_numpy()
    since_peak = days - np.maximum.accumulate(np.where(drawdown(equity.to_numpy(), cash) < 0, days[0], days))
    return float(since_peak.max())
