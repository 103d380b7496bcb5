"""Generates series with a known answer: an edge per regime, a martingale, and noise after a given bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.candles import OHLCV, REGIME
from data.features import log_returns


@dataclass(frozen=True)
class RegimeSeries:
    """Log returns that follow a different first-order autoregression in each of three regimes.

    In regime s at bar t, ``return[t+1] = drift[s] + slope[s] * return[t] + volatility[s] * noise[t+1]`` with standard
    normal noise. The regime is a Markov chain: it stays with probability ``stay``, else moves to either other regime.

    Parameters
    ----------
    drift, slope, volatility
        For regimes 0 bearish, 1 sideways, 2 bullish; drift and volatility in log return per bar.
    """

    drift: tuple[float, float, float]
    slope: tuple[float, float, float]
    volatility: tuple[float, float, float]
    stay: float

    def candles(self, n_bars: int, seed: int) -> pd.DataFrame:
        """Four-hour candles ``(n_bars, 6)`` with the true regime in the column ``regime``."""
        random = np.random.default_rng(seed)
        moves = (random.random(n_bars) >= self.stay) * random.integers(1, 3, n_bars)
        regime = (random.integers(3) + np.cumsum(moves)) % 3
        noise = random.standard_normal(n_bars)
        returns = np.zeros(n_bars)
        for bar in range(1, n_bars):
            now = regime[bar - 1]
            returns[bar] = self.drift[now] + self.slope[now] * returns[bar - 1] + self.volatility[now] * noise[bar]
        close = 100 * np.exp(np.cumsum(returns))
        opened = np.append(100.0, close[:-1])
        wicks = 1 + 0.2 * np.array(self.volatility)[regime, None] * random.random((n_bars, 2))
        return pd.DataFrame(
            {
                "open": opened,
                "high": np.maximum(opened, close) * wicks[:, 0],
                "low": np.minimum(opened, close) / wicks[:, 1],
                "close": close,
                "volume": random.lognormal(5, 1, n_bars),
                REGIME: regime.astype(float),
            },
            index=pd.date_range("2020-01-01", periods=n_bars, freq="4h", tz="UTC", name="timestamp", unit="us"),
        )

    def best_r2(self) -> float:
        """R2, relative to the forecast 0, of a forecaster that knows the regime and the parameters.

        In the stationary state, with transitions ``P`` and equal shares of the regimes, the moments
        ``a[j] = E[return 1(regime = j)]`` and ``b[j] = E[return^2 1(regime = j)]`` solve
        ``a = P' (drift / 3 + slope a)`` and ``b = P' ((drift^2 + volatility^2) / 3 + 2 drift slope a + slope^2 b)``.
        The best forecast's squared error is ``sum(volatility^2) / 3``, the forecast 0's is ``sum(b)``.
        """
        drift, slope, volatility = (np.array(values) for values in (self.drift, self.slope, self.volatility))
        leave = (1 - self.stay) / 2
        into = np.full((3, 3), leave) + (self.stay - leave) * np.eye(3)  # symmetric: its own transpose
        first = np.linalg.solve(np.eye(3) - into * slope, into @ drift / 3)
        constant = (drift**2 + volatility**2) / 3 + 2 * drift * slope * first
        second = np.linalg.solve(np.eye(3) - into * slope**2, into @ constant)
        return float(1 - np.sum(volatility**2) / 3 / second.sum())


# Regimes that a detector can recognise by drift and volatility; each has its own edge.
VISIBLE = RegimeSeries(drift=(-0.004, 0.0, 0.003), slope=(0.6, -0.6, -0.6), volatility=(0.012, 0.003, 0.006), stay=0.99)

# Regimes that only the label shows: they differ in the sign of the edge and change at random at every bar.
HIDDEN = RegimeSeries(drift=(0.0, 0.0, 0.0), slope=(-0.6, 0.0, 0.6), volatility=(0.01, 0.01, 0.01), stay=1 / 3)


def martingale_like(candles: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Candles with the bar-by-bar volatility of the given ones, on which no strategy has an expected profit.

    Every gap to the open and every move from open to close keeps the size ``x`` of its log return and gets a random
    sign: plus with probability ``1 / (1 + exp(x))``, so that the expected price is the current price. Wicks are
    mirrored with the move; volume, labels and further columns are unchanged.
    """
    random = np.random.default_rng(seed)
    open_, high, low, close = (candles[name].to_numpy() for name in OHLCV[:4])

    def redrawn(move: np.ndarray) -> np.ndarray:
        size = np.abs(move)
        return np.where(random.random(len(size)) < 1 / (1 + np.exp(size)), size, -size)

    gap = redrawn(np.append(0.0, np.log(open_[1:] / close[:-1])))
    body = redrawn(np.log(close / open_))
    turned = np.sign(body) != np.sign(np.log(close / open_))
    above = np.log(high / np.maximum(open_, close))
    below = np.log(np.minimum(open_, close) / low)
    above, below = np.where(turned, below, above), np.where(turned, above, below)
    new_close = open_[0] * np.exp(np.cumsum(gap + body))
    new_open = new_close * np.exp(-body)
    return candles.assign(
        open=new_open,
        high=np.maximum(new_open, new_close) * np.exp(above),
        low=np.minimum(new_open, new_close) * np.exp(-below),
        close=new_close,
    )


def with_permuted_columns(candles: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The candles with the blocks of 50 bars of each further column but ``regime`` in a random order.

    Such a column is as autocorrelated as before, and says nothing about the candles beside it.
    """
    random = np.random.default_rng(seed)
    blocks = np.array_split(np.arange(len(candles)), max(1, len(candles) // 50))
    further = [str(name) for name in candles if name not in (*OHLCV, REGIME)]
    places = {name: np.concatenate([blocks[at] for at in random.permutation(len(blocks))]) for name in further}
    return candles.assign(**{name: candles[name].to_numpy()[place] for name, place in places.items()})


def with_noise_from(candles: pd.DataFrame, first: int, seed: int) -> pd.DataFrame:
    """Replace the candles from bar ``first`` on by noise, so that anything learnt from them changes.

    The noise is a random walk, five times as volatile as the earlier bars. Labels are drawn from the earlier ones;
    volume and further columns are about ten standard deviations away from their mean.
    """
    random = np.random.default_rng(seed)
    earlier, n_later = candles.iloc[:first], len(candles) - first
    spread = 5 * float(np.nanstd(log_returns(earlier["close"].to_numpy())))
    close = float(earlier["close"].iloc[-1]) * np.exp(np.cumsum(spread * random.standard_normal(n_later)))
    opened = np.append(earlier["close"].iloc[-1], close[:-1])
    later = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    for name in candles.columns.difference(list(later)):
        values = earlier[name].dropna().to_numpy()
        if name == REGIME:
            later[name] = random.choice(values, n_later)
        else:
            later[name] = np.abs(values.mean() + 10 * values.std() * (1 + random.random(n_later)))
    noisy = pd.DataFrame(later, index=candles.index[first:])[list(candles.columns)]
    return pd.concat([earlier, noisy])
