"""Python API of backtests: ``from runners import backtest, compare, find_run, BacktestSettings``."""

from typing import TYPE_CHECKING

from data.lazy_names import lazy_names

if TYPE_CHECKING:
    from runners.backtesting.comparison import compare as compare
    from runners.backtesting.engine import backtest as backtest
    from runners.backtesting.runs import find_run as find_run
    from runners.backtesting.settings import BacktestSettings as BacktestSettings

# The notebook module also adds to the results how they show themselves; it imports Backtrader and torch.
__getattr__ = lazy_names(
    __name__,
    {
        "BacktestSettings": "runners.report.notebook",
        "backtest": "runners.report.notebook",
        "compare": "runners.report.notebook",
        "find_run": "runners.report.notebook",
    },
)
