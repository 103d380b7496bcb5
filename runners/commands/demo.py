"""`regimes demo`: train and backtest on daily S&P 500 candles that come with the package arch."""

from runners.backtesting.settings import BacktestSettings
from runners.commands import options
from runners.commands.backtest import add_tearsheet, backtest_file
from runners.commands.train import train_candles
from runners.workspace.workspace import Workspace
from training.settings import TrainSettings


def demo(workspace_folder: options.WorkspaceOption = None) -> None:
    """Train and backtest on daily S&P 500 candles from 1999 to 2018; needs no download."""
    from data.candles import read_candles
    from data.files import mark_latest, require_writable
    from data.samples import SP500, sp500_candles

    workspace = Workspace.open(workspace_folder)
    workspace.csv.mkdir(parents=True, exist_ok=True)
    require_writable(workspace.results / SP500)
    file = workspace.csv / f"{SP500}.csv"
    sp500_candles().to_csv(file, date_format="%Y-%m-%dT%H:%M:%SZ")
    models = train_candles(workspace, file, read_candles(file), TrainSettings())
    mark_latest(models)
    written = backtest_file(workspace, file, models, BacktestSettings())
    add_tearsheet(written.result, written.folder)
