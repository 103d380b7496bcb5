"""`regimes demo`: train and backtest on daily S&P 500 candles that ship with a dependency."""

from runners.backtesting.settings import BacktestSettings
from runners.commands.backtest import backtest_file
from runners.commands.options import HomeOption
from runners.commands.train import train_file
from runners.workspace.workspace import Home
from training.settings import TrainSettings


def demo(home: HomeOption = None) -> None:
    """Train and backtest on daily S&P 500 candles, 1999 to 2018, without a download."""
    from data.files import require_writable
    from data.samples import SP500, sp500_candles

    place = Home.find(home)
    place.csv.mkdir(parents=True, exist_ok=True)
    require_writable(place.results / SP500)
    file = place.csv / f"{SP500}.csv"
    sp500_candles().to_csv(file, date_format="%Y-%m-%dT%H:%M:%SZ")
    models = train_file(place, file, TrainSettings())
    backtest_file(place, file, models, BacktestSettings())
