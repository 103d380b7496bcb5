"""Backtests and sweeps, against Backtrader alone, backtesting.py and vectorbt."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from typing import NamedTuple

import backtrader as bt
import numpy as np
import pandas as pd

from models.forecaster import Forecast, member_forecasts
from runners.backtesting.engine import run_strategy
from runners.backtesting.grid import Grid, simulate_grid
from runners.backtesting.settings import BacktestSettings
from strategies import LSTMRegimeStrategy
from strategies.array_simulation import SettingsGrid, simulate
from strategies.settings import AXES
from tests.benchmarks.comparison import Comparison, Figure, Peer, at_most, cost_alone
from tests.benchmarks.subject import Subject

# Enough cash that whole units, the only ones that backtesting.py trades, hardly differ from fractions. Its spread is
# paid at the entry alone, so there is no slippage where it is compared.
_PLAIN = BacktestSettings(cash=1e9, commission=0.0015, slippage=0.0)
_SWEPT = BacktestSettings()
_TEST_SHARE = 0.2
_EXACT, _WHOLE_UNITS = 1e-9, 1e-3  # largest relative differences of equity

Orders = dict[int, float]  # units to hold from the next bar on, by the number of the bar (from 1) that decides


def figures(subject: Subject) -> list[Figure]:
    return [*_backtests(subject), *_sweeps(subject), *_large_sweep(subject)]


class Replay(bt.Strategy):
    """Sends orders that are known beforehand."""

    params = (("orders", None),)

    def next(self) -> None:
        size = self.p.orders.get(len(self))
        if size is not None:
            self.order_target_size(target=size)


class Noting(LSTMRegimeStrategy):
    """Keeps what it orders."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: Orders = {}

    def wanted_size(self, forecast: Forecast, held: float) -> float:
        size = super().wanted_size(forecast, held)
        if size != held:
            self.orders[len(self)] = size
        return size


def _backtests(subject: Subject) -> list[Figure]:
    """One backtest over all bars on recorded forecasts; the peers get its orders."""
    candles = subject.candles
    noting = run_strategy(candles, _PLAIN, Noting, {"models": subject.recorded})
    orders, equity = noting.strategy.orders, float(noting.equity()["equity"].iloc[-1])
    ours = partial(run_strategy, candles, _PLAIN, LSTMRegimeStrategy, {"models": subject.recorded})
    runs: dict[str, tuple[Callable[[], float], float | None]] = {
        "Backtrader alone, PandasData and default observers": (partial(_with_pandas_data, candles, orders), 0.75),
        "Backtrader alone, our feed and recorder": (partial(_with_our_feed, candles, orders), 1.1),
        "backtesting.py": (_with_backtesting_py(candles, orders), None),
        "vectorbt": (partial(_with_vectorbt, candles, orders), None),
    }
    for name, (run, _) in runs.items():
        tolerance = _WHOLE_UNITS if name == "backtesting.py" else _EXACT
        _require_equal(name, np.array([run()]), np.array([equity]), tolerance)
    peers = {name: Peer(run, at_most(must) if must else None) for name, (run, must) in runs.items()}
    return Comparison(f"backtest of {len(candles):,} bars, {len(orders)} orders", ours, peers).figures()


def _require_equal(peer: str, theirs: np.ndarray, ours: np.ndarray, tolerance: float) -> None:
    difference = float(np.max(np.abs(theirs / ours - 1)))
    if not difference <= tolerance:
        raise AssertionError(f"the equity of {peer} differs by {difference:.2g}, at most {tolerance:g} is allowed.")


def _with_pandas_data(candles: pd.DataFrame, orders: Orders) -> float:
    cerebro = bt.Cerebro()
    cerebro.adddata(bt.feeds.PandasData(dataname=candles.tz_localize(None)))
    cerebro.broker.setcash(_PLAIN.cash)
    cerebro.broker.setcommission(_PLAIN.commission)
    cerebro.addstrategy(Replay, orders=orders)
    cerebro.run()
    return float(cerebro.broker.getvalue())


def _with_our_feed(candles: pd.DataFrame, orders: Orders) -> float:
    recorder = run_strategy(candles, _PLAIN, Replay, {"orders": orders})
    return float(recorder.strategy.broker.getvalue())


def _with_backtesting_py(candles: pd.DataFrame, orders: Orders) -> Callable[[], float]:
    from backtesting import Backtest, Strategy

    class Whole(Strategy):
        def init(self) -> None:
            self.bar = 1  # its first `next` is that of the second bar

        def next(self) -> None:
            self.bar += 1
            if self.bar in orders:
                units = round(orders[self.bar]) - self.position.size
                if units:
                    (self.buy if units > 0 else self.sell)(size=abs(units))

    table = candles.rename(columns=str.capitalize).tz_localize(None)

    def run() -> float:
        test = Backtest(table, Whole, cash=_PLAIN.cash, commission=_PLAIN.commission)
        with redirect_stderr(io.StringIO()):  # a progress bar, and that the last trade stays open
            return float(test.run()["Equity Final [$]"])

    return run


def _with_vectorbt(candles: pd.DataFrame, orders: Orders) -> float:
    import vectorbt

    targets = np.full(len(candles), np.nan)
    targets[[bar for bar in orders if bar < len(candles)]] = [
        size for bar, size in orders.items() if bar < len(candles)
    ]
    portfolio = vectorbt.Portfolio.from_orders(
        candles["close"],
        targets,
        size_type="targetamount",
        price=candles["open"],
        fees=_PLAIN.commission,
        init_cash=_PLAIN.cash,
        freq="4h",
    )
    return float(portfolio.value().iloc[-1])


class Sweep(NamedTuple):
    """Bars, one member's forecasts ``(n_bars,)``, and pairs of thresholds ``(n_settings,)``."""

    open: np.ndarray
    close: np.ndarray
    forecast: np.ndarray
    long: np.ndarray
    short: np.ndarray

    @classmethod
    def of(cls, subject: Subject, n_bars: int, n_settings: int) -> Sweep:
        """The last ``n_bars`` bars, and thresholds up to the forecasts' usual size."""
        candles = subject.candles.iloc[-n_bars:]
        forecast = member_forecasts(subject.recorded.table)[-n_bars:, 0]
        largest, per_side = np.nanquantile(np.abs(forecast), 0.99), round(n_settings**0.5)
        pairs = np.stack(np.meshgrid(*[np.linspace(0, largest, per_side)] * 2), axis=-1).reshape(-1, 2)
        return cls(candles["open"].to_numpy(), candles["close"].to_numpy(), forecast, pairs[:, 0], -pairs[:, 1])

    def ours(self) -> np.ndarray:
        """Equity ``(n_bars, n_settings)``."""
        grid = SettingsGrid(_settings_table(self.long, self.short))
        return simulate(self.open, self.close, self.forecast[:, None], grid, _SWEPT.cash).equity

    def with_vectorbt(self) -> np.ndarray:
        """Equity ``(n_bars, n_settings)``."""
        import vectorbt

        state = np.where(self.forecast[:, None] < self.short, -1.0, np.nan)
        state[self.forecast[:, None] > self.long] = 1.0
        held = pd.DataFrame(state).ffill().fillna(0.0).to_numpy()
        before = np.vstack([np.zeros_like(held[:1]), held[:-1]])
        target = np.where(held != before, _SWEPT.exposure * held, np.nan)
        last = np.full_like(target[:1], np.nan)
        portfolio = vectorbt.Portfolio.from_orders(
            self.close[:, None],
            np.vstack([last, target[:-1]]),  # decided at the close before
            size_type="targetpercent",
            price=self.open[:, None],
            val_price=np.append(self.open[0], self.close[:-1])[:, None],
            fees=_SWEPT.commission,
            slippage=_SWEPT.slippage,
            init_cash=_SWEPT.cash,
            freq="4h",
        )
        return portfolio.value().to_numpy()


def _settings_table(long: np.ndarray, short: np.ndarray) -> pd.DataFrame:
    others = {name: getattr(_SWEPT, name) for name in AXES}
    return pd.DataFrame({"long_threshold": long, "short_threshold": short}).assign(
        **{name: value for name, value in others.items() if not name.endswith("_threshold")}
    )


def _sweeps(subject: Subject) -> list[Figure]:
    n_bars = len(subject.candles)
    found = []
    for bars, settings in ((round(_TEST_SHARE * n_bars), 10_000), (n_bars, 1024)):
        sweep = Sweep.of(subject, bars, settings)
        _require_equal("vectorbt", sweep.with_vectorbt(), sweep.ours(), _EXACT)
        what = f"{len(sweep.long):,} settings x {bars:,} bars"
        found += Comparison(what, sweep.ours, {"vectorbt": Peer(sweep.with_vectorbt, at_most(0.1))}, rounds=3).figures()
    return found


def _large_sweep(subject: Subject) -> list[Figure]:
    sweep = Sweep.of(subject, len(subject.candles), 100_000)
    cost, _ = cost_alone(final_equity, sweep)
    what = f"{len(sweep.long):,} settings x {len(sweep.close):,} bars"
    return [
        Figure(what, cost.cpu, "s CPU", at_most(10), f"{cost.wall:.0f} s wall"),
        Figure(f"{what}: peak memory of the process", cost.peak / 1e9, "GB", at_most(1)),
    ]


def final_equity(sweep: Sweep) -> np.ndarray:
    """Of each setting, in parts that fit into memory, as `regimes sweep` simulates."""
    bars = pd.DataFrame({"open": sweep.open, "close": sweep.close})
    grid = Grid(_settings_table(sweep.long, sweep.short))
    parts = simulate_grid(bars, sweep.forecast[:, None], grid, _SWEPT.cash)
    return np.concatenate([simulated.equity[-1].copy() for _, simulated in parts])
