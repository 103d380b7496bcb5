"""Commands that a person types: they parse, call, print and write files; and what they call, for Python.

``from runners import backtest, compare`` gives the functions behind `regimes backtest` and `regimes compare`: data in,
data out. `BacktestSettings` and `find_run` make their arguments. The commands themselves stay in the modules
``runners.backtest`` and ``runners.compare``: import from these by ``from runners.backtest import ...``.
"""

from typing import TYPE_CHECKING

from data.lazy import give_on_first_use

if TYPE_CHECKING:
    from runners.comparison import compare as compare
    from runners.registry import find_run as find_run
    from runners.settings import BacktestSettings as BacktestSettings
    from runners.simulation import backtest as backtest

give_on_first_use(__name__, dict.fromkeys(("BacktestSettings", "backtest", "compare", "find_run"), "runners.notebook"))
