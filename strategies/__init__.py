"""Strategies for Backtrader, their settings and costs."""

from typing import TYPE_CHECKING

from data.lazy_names import lazy_names

if TYPE_CHECKING:
    from strategies.baselines import BuyAndHold as BuyAndHold
    from strategies.costs import TradingCosts as TradingCosts
    from strategies.feed import CandleFeed as CandleFeed
    from strategies.feed import candle_feed as candle_feed
    from strategies.lstm_regime import LSTMRegimeStrategy as LSTMRegimeStrategy
    from strategies.settings import TradingSettings as TradingSettings
    from strategies.settings import target_size as target_size

# Backtrader and torch are imported only when one of these is used.
__getattr__ = lazy_names(
    __name__,
    {
        "BuyAndHold": "strategies.baselines",
        "CandleFeed": "strategies.feed",
        "LSTMRegimeStrategy": "strategies.lstm_regime",
        "TradingCosts": "strategies.costs",
        "TradingSettings": "strategies.settings",
        "candle_feed": "strategies.feed",
        "target_size": "strategies.settings",
    },
)
