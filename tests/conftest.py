"""Candles, small trained model sets and a browser that many tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from typer.testing import CliRunner

from data.features import FEATURES
from data.registry import Registry
from data.samples import sp500_candles
from models import ModelSet
from models.regimes import DETECTORS
from runners import terminal
from runners.backtesting.engine import backtest
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import ALONE
from runners.cli import app
from runners.report.write_run import write_backtest
from tests.patience import PATIENCE_S, new_page
from training import TrainSettings, train

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Trains in a second; otherwise the defaults.
SMALL = {"window": 6, "stride": 4, "hidden_dim": 8, "num_layers": 1, "epochs": 2, "min_windows": 30, "members": 2}

# The suite tries the same examples in each run; `pytest --hypothesis-profile=fuzz` tries new ones, and more of them.
# A slow machine is not a failure.
slow = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
hypothesis_settings.register_profile("suite", **slow, derandomize=True)
hypothesis_settings.register_profile("fuzz", **slow, max_examples=20_000)
hypothesis_settings.load_profile("suite")

ROOT = Path(__file__).parents[1]
BTC = ROOT.parent / "shared" / "data" / "BTCUSDT_4h_20220101_20250707.csv"

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: pages are not tested in a browser")


def switching_candles(n_bars: int = 1200, seed: int = 0) -> pd.DataFrame:
    """4 h candles whose drift and volatility switch among three regimes; the true regime is in the column."""
    random = np.random.default_rng(seed)
    stay = random.random(n_bars) > 0.02
    regime = np.zeros(n_bars, dtype=int)
    for bar in range(1, n_bars):
        regime[bar] = regime[bar - 1] if stay[bar] else random.integers(3)
    drift, volatility = np.array([-0.004, 0.0, 0.003]), np.array([0.02, 0.003, 0.008])
    close = 100 * np.exp(np.cumsum(drift[regime] + volatility[regime] * random.standard_normal(n_bars)))
    opened = np.append(100.0, close[:-1])
    return pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * (1 + 0.002 * random.random(n_bars)),
            "low": np.minimum(opened, close) * (1 - 0.002 * random.random(n_bars)),
            "close": close,
            "volume": random.lognormal(5, 1, n_bars),
            "regime": regime.astype(float),
        },
        index=pd.date_range("2022-01-01", periods=n_bars, freq="4h", tz="UTC", name="timestamp", unit="us"),
    )


def flat(index: pd.DatetimeIndex) -> pd.DataFrame:
    """Candles at these times whose prices never change."""
    prices = dict.fromkeys(["open", "high", "low", "close", "volume"], 10.0)
    return pd.DataFrame(prices, index=index.rename("timestamp"))


def sessions(zone: str, times: str, *, freq: str | None = None, half_days: bool = False) -> pd.DatetimeIndex:
    """Bars of weekdays from 2021 to 2023 at local times such as ``9:30 13:30``, or between two of them.

    Some days are holidays; on half days, the market closes at 13:00.
    """
    random = np.random.default_rng(0)
    days = pd.bdate_range("2021-01-04", "2023-12-29")
    days = days[random.random(len(days)) > 0.04]
    hours = [pd.Timedelta(f"{time}:00") for time in times.split()]
    if freq:
        first, last, *auctions = hours
        hours = [*pd.timedelta_range(first, last, freq=freq), *auctions]
    short = half_days & (random.random(len(days)) < 0.02)
    closes = [pd.Timedelta(hours=13) if early else pd.Timedelta(hours=24) for early in short]
    local = [day + hour for day, close in zip(days, closes, strict=True) for hour in hours if hour < close]
    return pd.DatetimeIndex(local).tz_localize(zone).tz_convert("UTC").as_unit("us")


def halted(candles: pd.DataFrame, still: np.ndarray) -> pd.DataFrame:
    """The candles, without a change of the close after each bar that is ``still`` ``(n_bars,)``."""
    change = np.where(still[:-1], 0.0, np.diff(np.log(candles["close"])))
    close = candles["close"].iloc[0] * np.exp(np.cumsum(np.append(0.0, change)))
    opened = np.append(close[0], close[:-1])
    prices = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    return candles.assign(**prices)


def pytest_configure() -> None:
    """Enable Ctrl-C in the processes that tests start, even if the tests run in the background of a shell.

    A shell makes background processes ignore the signal, and their children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def own_code_removed() -> Iterator[None]:
    """Remove the features and detectors that the block registers."""
    registries: list[Registry[Any]] = [FEATURES, DETECTORS]
    before = [(dict(registry), dict(registry.code)) for registry in registries]
    yield
    for registry, (entries, code) in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
        registry.code = code


@pytest.fixture(autouse=True)
def _own_code_ends_with_the_test() -> Iterator[None]:
    with own_code_removed():
        yield


@pytest.fixture(scope="session")
def sp500() -> pd.DataFrame:
    return sp500_candles()


@pytest.fixture(scope="session")
def candles() -> pd.DataFrame:
    """Switching candles without labels."""
    return switching_candles().drop(columns="regime")


@pytest.fixture(scope="session")
def labelled() -> pd.DataFrame:
    return switching_candles()


@pytest.fixture(scope="session")
def model_set(candles: pd.DataFrame) -> ModelSet:
    return train(candles, "SWITCH", TrainSettings(**SMALL))


@pytest.fixture(scope="session")
def saved(model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the saved model set; tests that change files copy it first."""
    return model_set.save(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")  # an open browser keeps an event loop running, which would disturb other modules
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright

    patience = 1000 * PATIENCE_S
    expect.set_options(timeout=patience)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=patience)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = new_page(browser)
    yield page
    page.close()


def to_csv(candles: pd.DataFrame, path: Path) -> Path:
    candles.to_csv(path, date_format="%Y-%m-%dT%H:%M:%SZ")
    return path


def make_workspace(workspace: Path, candles: pd.DataFrame, model_set: ModelSet, *traded: BacktestSettings) -> Path:
    """A workspace with the candles as SWITCH.csv, the models, and a run for each of the settings."""
    (workspace / "data" / "csv").mkdir(parents=True)
    file = to_csv(candles, workspace / "data" / "csv" / "SWITCH.csv")
    models = model_set.save(workspace / "models" / "trained")
    for settings in traded:
        result = backtest(candles, model_set, settings)
        write_backtest(result, ALONE, workspace / "results", candle_file=file, origin={"models": str(models)})
    return workspace


def command(workspace: Path, name: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run ``regimes NAME`` in a new process, where every warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "runners.cli", name, *arguments, "--workspace", str(workspace)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)},
    )


def invoke(workspace: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``regimes NAME`` in this process: like `command`, but without the time to start a process.

    Without the tearsheet, which takes half the time of a backtest.
    """
    quick = ["--no-tearsheet"] if name in ("backtest", "walk-forward") else []
    full = [name, *arguments, *quick, "--workspace", str(workspace)]
    terminal.out.width = terminal.err.width = 200  # no line breaks within the texts that tests search for
    ran = CliRunner().invoke(app, full)
    assert ran.exit_code != 3, ran.stderr  # an unexpected exception
    return subprocess.CompletedProcess(full, ran.exit_code, ran.stdout, ran.stderr)
