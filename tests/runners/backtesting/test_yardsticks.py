"""Members alone and yardsticks, against Backtrader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from models import ModelSet
from models.regimes import Regime
from runners.backtesting.engine import backtest, run_strategy
from runners.backtesting.metrics import Metrics
from runners.backtesting.result import Backtest
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.yardsticks import (
    ALL_REGIMES,
    CURVES,
    FLAT_IF_BEARISH,
    HOLDING,
    LONG_IF_BULLISH,
    buy_and_hold,
    volatility_weights,
)
from strategies import BuyAndHold
from strategies.settings import target_size

EAGER = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002, borrow_rate=0.0001)


@pytest.fixture(scope="module")
def result(candles: pd.DataFrame, model_set: ModelSet) -> Backtest:
    return backtest(candles, model_set, EAGER)


class LongWhen(bt.Strategy):
    """Long at bars where ``long`` is true, flat at the others."""

    params = (("long", ()), ("exposure", 1.0), ("trade_from", None))

    def next(self) -> None:
        wanted = self.p.long[len(self) - 1]
        if wanted != bool(self.position):
            self.order_target_size(target=target_size(self, int(wanted), self.p.exposure))


def with_member(model_set: ModelSet, number: int) -> ModelSet:
    """The set with one member of each expert."""
    experts = {
        regime: replace(expert, networks=expert.networks[number - 1 : number])
        for regime, expert in model_set.experts.items()
    }
    everywhere = replace(model_set.all_regimes, networks=model_set.all_regimes.networks[number - 1 : number])
    return replace(model_set, experts=experts, all_regimes=everywhere)


def as_metrics(figures: Any) -> dict[str, Any]:
    return {name: pytest.approx(value) for name, value in vars(figures).items()}


def some(metrics: Metrics) -> dict[str, Any]:
    return {name: getattr(metrics, name) for name in ("sharpe", "max_drawdown", "total_return", "trades")}


def test_a_member_alone_trades_as_a_set_that_has_only_this_member(
    result: Backtest, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    assert len(result.members) == 2
    for number, figures in enumerate(result.members, start=1):
        alone = backtest(candles, with_member(model_set, number), EAGER)
        assert (result.curves[f"member_{number}"] == alone.equity["equity"]).all()
        assert some(alone.metrics) == as_metrics(figures)
        assert alone.metrics.seed_error is None  # one member does not show the luck of its seed


def test_the_all_regimes_network_alone_trades_as_a_set_without_experts(
    result: Backtest, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    alone = backtest(candles, replace(model_set, experts={}), EAGER)
    assert (result.curves[CURVES[ALL_REGIMES]] == alone.equity["equity"]).all()
    assert some(alone.metrics) == as_metrics(result.yardsticks[ALL_REGIMES].figures)


def test_the_regime_alone_trades_as_a_strategy_in_backtrader_does(result: Backtest) -> None:
    regime = result.forecasts["regime"].to_numpy()
    for name, long in ((FLAT_IF_BEARISH, regime != Regime.BEARISH), (LONG_IF_BULLISH, regime == Regime.BULLISH)):
        options = {"long": tuple(long), "exposure": EAGER.exposure}
        recorder = run_strategy(result.candles, EAGER, LongWhen, options)
        assert (result.curves[CURVES[name]] == recorder.equity()["equity"]).all()
        assert result.yardsticks[name].figures.trades == len(recorder.trades())


@pytest.mark.parametrize("exposure", [0.5, 0.998])
def test_buy_and_hold_is_the_strategy_of_this_name_in_backtrader(candles: pd.DataFrame, exposure: float) -> None:
    settings = EAGER.model_copy(update={"exposure": exposure})
    expected = run_strategy(candles, settings, BuyAndHold, {"exposure": exposure}).equity()
    held = buy_and_hold(candles, settings)
    assert expected["position"].iloc[-1] > 0
    for name in held:
        assert (held[name] == expected[name]).all(), name


def test_differences_are_the_strategys_figure_minus_the_yardsticks(result: Backtest) -> None:
    assert result.yardsticks[HOLDING].figures.sharpe == pytest.approx(result.holding.sharpe)
    for yardstick in result.yardsticks.values():
        sharpe, drawdown = yardstick.sharpe_difference, yardstick.drawdown_difference
        assert sharpe is not None
        assert drawdown is not None
        assert sharpe.difference == pytest.approx(result.metrics.sharpe - yardstick.figures.sharpe)
        assert drawdown.difference == pytest.approx(result.metrics.max_drawdown - yardstick.figures.max_drawdown)
        assert drawdown.low <= drawdown.difference <= drawdown.high


def test_volatility_scaled_holding_holds_less_while_recent_bars_are_more_volatile_and_ignores_small_changes() -> None:
    signs = np.where(np.arange(400) % 2, 1.0, -1.0)
    size = np.repeat([0.01, 0.02, 0.01, 0.0105], 100)
    weights = volatility_weights(pd.Series(np.exp(np.cumsum(signs * size))))
    assert np.isnan(weights[:20]).all()
    assert (weights[20:100] == 1).all()
    assert weights[120] == pytest.approx(
        0.7
    )  # 100 bars of 1 % and 20 of 2 %: 1.2 % of 2 % is 0.61, within a tenth of 0.7
    assert set(weights[230:]) == {0.9}  # 1 is within a tenth
    assert set(np.round(10 * weights[20:], 9) % 1) == {0.0}


def test_a_series_that_never_moves_is_held_whole() -> None:
    assert set(volatility_weights(pd.Series(np.full(60, 100.0)))[20:]) == {1.0}
