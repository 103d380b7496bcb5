"""Strategies for Backtrader, and the rule that turns a forecast into a position."""

from strategies.baselines import BuyAndHold
from strategies.costs import TradingCosts
from strategies.lstm_regime import LSTMRegimeStrategy
from strategies.rules import ThresholdRule
from strategies.sizing import target_size

__all__ = ["BuyAndHold", "LSTMRegimeStrategy", "ThresholdRule", "TradingCosts", "target_size"]
