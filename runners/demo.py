"""`regimes demo`: train and backtest on daily S&P 500 candles that ship with a dependency."""

from __future__ import annotations

from data.samples import SP500, sp500_candles
from runners.backtest import run_backtest
from runners.cli import main
from runners.home import Home
from runners.train import run_train


def run_demo(home: Home) -> None:
    """Write the sample CSV into the home, train on it with the default settings, and backtest on the unseen part."""
    home.csv.mkdir(parents=True, exist_ok=True)
    file = home.csv / f"{SP500}.csv"
    sp500_candles().to_csv(file, date_format="%Y-%m-%dT%H:%M:%SZ")
    (models,) = run_train(home, [str(file)], {}, config=None, jobs=None, sort=False)
    run_backtest(home, str(file), {}, config=None, models=models, sort=False)


if __name__ == "__main__":
    main("demo")
