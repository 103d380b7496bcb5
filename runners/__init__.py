"""Python API of backtests: ``from runners import backtest, compare, find_run, BacktestSettings``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runners.backtesting.comparison import compare as compare
    from runners.backtesting.engine import backtest as backtest
    from runners.backtesting.runs import find_run as find_run
    from runners.backtesting.settings import BacktestSettings as BacktestSettings

_NAMES = ("BacktestSettings", "backtest", "compare", "find_run")


def __getattr__(name: str) -> Any:
    """Import Backtrader, torch and the reports only when a name is used."""
    if name in _NAMES:
        from runners.report import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
