"""The real yfinance client and Yahoo on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.download import new_candles
from data.errors import DataError, SettingsError
from data.yahoo import YahooSource
from tests.yahoo import ZONE, Yahoo, serve_yahoo


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[Yahoo]:
    with serve_yahoo(tmp_path) as served:
        yield served


def download(since: pd.Timestamp, known: pd.DataFrame | None = None) -> pd.DataFrame:
    return pd.concat(list(new_candles(YahooSource("AAPL", "1d"), since, known=known)))


def test_a_day_opens_at_its_midnight_in_utc_and_today_is_left_out(yahoo: Yahoo) -> None:
    since = pd.Timestamp(yahoo.opens[3].date(), tz="UTC")
    candles = download(since)
    assert candles.index[0] == since
    assert candles.index.tolist() == [pd.Timestamp(day.date(), tz="UTC") for day in yahoo.opens[3:-1]]
    assert candles["close"].to_numpy() == pytest.approx(yahoo.close[3:-1])
    assert list(candles) == ["open", "high", "low", "close", "volume"]


def test_prices_include_dividends_and_a_new_dividend_prevents_continuing(yahoo: Yahoo) -> None:
    since = pd.Timestamp(yahoo.opens[0].date(), tz="UTC")
    known = download(since).iloc[:-5]
    assert len(download(since, known)) == 5
    yahoo.dividends = 0.99
    assert download(since)["open"].to_numpy() == pytest.approx(0.99 * (yahoo.close[:-1] - 0.5))
    with pytest.raises(DataError, match=r"open is .* in the file, but .* at Yahoo AAPL 1d.*adjusted"):
        download(since, known)


def test_an_hour_opens_at_its_time_in_utc_and_an_unfinished_one_is_left_out(yahoo: Yahoo) -> None:
    half_an_hour_ago = (pd.Timestamp.now("UTC") - pd.Timedelta(minutes=30)).floor("min")
    hours = pd.date_range(end=half_an_hour_ago, periods=30, freq="h", unit="us")
    yahoo.opens, yahoo.close = hours.tz_convert(ZONE), 100.0 + np.arange(30)
    (page,) = new_candles(YahooSource("AAPL", "1h"), hours[9])
    assert page.index.tolist() == hours[9:-1].tolist()
    assert page["close"].tolist() == yahoo.close[9:-1].tolist()


def test_without_yfinance_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(SettingsError, match=r"pip install .*\[download\]"):
        YahooSource("AAPL", "1d")


def test_an_unknown_symbol_or_timeframe_is_refused(yahoo: Yahoo) -> None:
    with pytest.raises(DataError, match=r"Yahoo NONE 1d: .*does not know this symbol"):
        YahooSource("NONE", "1d").now()
    with pytest.raises(SettingsError, match="no timeframe '4h'; it has 1m"):
        YahooSource("AAPL", "4h")
