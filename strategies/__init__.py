"""Strategies for Backtrader, their settings and costs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strategies.baselines import BuyAndHold as BuyAndHold
    from strategies.costs import TradingCosts as TradingCosts
    from strategies.feed import CandleFeed as CandleFeed
    from strategies.feed import candle_feed as candle_feed
    from strategies.lstm_regime import LSTMRegimeStrategy as LSTMRegimeStrategy
    from strategies.settings import TradingSettings as TradingSettings
    from strategies.settings import target_size as target_size

_MODULES = {
    "BuyAndHold": "baselines",
    "CandleFeed": "feed",
    "LSTMRegimeStrategy": "lstm_regime",
    "TradingCosts": "costs",
    "TradingSettings": "settings",
    "candle_feed": "feed",
    "target_size": "settings",
}


def __getattr__(name: str) -> Any:
    """Import Backtrader and torch only when one of the names is used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"strategies.{_MODULES[name]}"), name)
