"""Downloads by the real ccxt client from an exchange on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from data.download import OVERLAP, new_candles, require_nothing_earlier, step_of
from data.errors import DataError, SettingsError
from data.exchange import ExchangeSource, exchange_client, exchange_options
from tests.conftest import switching_candles
from tests.exchange import Exchange, Fault

CANDLES = switching_candles(2500).drop(columns="regime").round(2)
START = CANDLES.index[0]
BAR = pd.Timedelta(hours=4)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(CANDLES) as served:
        yield served


def source_of(exchange: Exchange, waits: list[tuple[float, str]] | None = None) -> ExchangeSource:
    client = exchange_client("binance", exchange.client_options())
    noted = [] if waits is None else waits
    return ExchangeSource(client, "BTC/USDT", "4h", pause=lambda seconds, why: noted.append((seconds, why)))


def download(
    exchange: Exchange, known: pd.DataFrame | None = None, *, end: pd.Timestamp | None = None
) -> list[pd.DataFrame]:
    return list(new_candles(source_of(exchange), START, end, known))


def assert_same(pages: list[pd.DataFrame], expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(pd.concat(pages), expected, check_freq=False)


def test_gives_every_candle_once_page_by_page(exchange: Exchange) -> None:
    pages = download(exchange)
    assert [len(page) for page in pages] == [1000, 1000, 500]
    assert_same(pages, CANDLES)


def test_an_exchange_may_return_shorter_pages_than_requested() -> None:
    with Exchange(CANDLES.head(100), page_limit=7) as exchange:
        assert_same(download(exchange), CANDLES.head(100))


def test_a_clock_that_was_set_back_does_not_stop_it(exchange: Exchange) -> None:
    source = source_of(exchange)
    source._client.lastRestRequestTimestamp = source._client.milliseconds() + 86_400_000
    assert source.now() == exchange.now


def test_a_candle_counts_as_closed_by_the_clock_of_the_exchange(exchange: Exchange) -> None:
    exchange.now = CANDLES.index[50] + BAR - pd.Timedelta(milliseconds=1)
    assert_same(download(exchange), CANDLES.head(50))
    exchange.now = CANDLES.index[50] + BAR
    assert_same(download(exchange), CANDLES.head(51))


def test_candles_from_the_end_on_are_left_out(exchange: Exchange) -> None:
    assert_same(download(exchange, end=CANDLES.index[40]), CANDLES.head(40))


def test_repeated_and_missing_candles_are_accepted() -> None:
    served = pd.concat([CANDLES.iloc[:60], CANDLES.iloc[55:60], CANDLES.iloc[80:]])
    with Exchange(served) as exchange:
        assert_same(download(exchange), CANDLES.drop(CANDLES.index[60:80]))


def test_a_market_with_few_trades_is_downloaded_and_continued() -> None:
    served = CANDLES[np.random.default_rng(0).random(len(CANDLES)) > 0.6]
    with Exchange(served, page_limit=100) as exchange:
        assert_same(download(exchange), served)
        assert_same(download(exchange, served.iloc[:500]), served.iloc[500:])


def test_a_gap_longer_than_a_page_is_skipped() -> None:
    served = CANDLES.drop(CANDLES.index[100:2200])
    with Exchange(served, in_windows=True) as exchange:
        assert_same(download(exchange), served)


def test_temporary_errors_are_retried_with_growing_waits(exchange: Exchange) -> None:
    exchange.faults += [
        Fault(status=429, headers={"Retry-After": "7"}),
        Fault(status=500),
        Fault(drops=True),
        Fault(cuts=True),
        Fault(status=503, headers={"Content-Type": "text/html"}, body="<html>"),
    ]
    waits: list[tuple[float, str]] = []
    assert_same(list(new_candles(source_of(exchange, waits), START)), CANDLES)
    assert [seconds for seconds, _ in waits] == [7, 2, 4, 8, 16]
    assert [why[:8] for _, why in waits] == ["HTTP 429", "HTTP 500", "('Connec", "the resp", "HTTP 503"]


def test_the_last_attempt_raises_the_reason(exchange: Exchange) -> None:
    exchange.faults += [Fault(cuts=True)] * 6
    waits: list[tuple[float, str]] = []
    with pytest.raises(DataError, match=r"the response is not JSON, after 6 attempts.*\[exchange.binance\]"):
        list(new_candles(source_of(exchange, waits), START))
    assert [seconds for seconds, _ in waits] == [1, 2, 4, 8, 16]
    assert not exchange.faults


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=451), "HTTP 451 Unavailable For Legal Reasons"),
        (
            Fault(status=400, body='{"code": -1120, "msg": "Invalid interval."}'),
            "HTTP 400 Bad Request.*Invalid interval",
        ),
        (Fault(status=418, headers={"Retry-After": "7200"}), "asks to wait 7200 s"),
    ],
)
def test_permanent_errors_are_not_retried(exchange: Exchange, fault: Fault, message: str) -> None:
    exchange.faults.append(fault)
    with pytest.raises(DataError, match=message):
        download(exchange)
    assert exchange.asked == []


def test_an_impossible_candle_is_refused() -> None:
    served = CANDLES.head(50).copy()
    served.loc[served.index[20], "low"] = served["high"].iloc[20] + 1
    with Exchange(served) as exchange, pytest.raises(DataError, match=r"binance BTC/USDT 4h from .*, row 20: high"):
        download(exchange)


@pytest.mark.parametrize("page_limit", [3, 1000])
@pytest.mark.parametrize("n_known", [1, 5, 40, 100])
def test_new_candles_continue_the_known_ones(page_limit: int, n_known: int) -> None:
    with Exchange(CANDLES.head(101), page_limit=page_limit) as exchange:
        assert_same(download(exchange, CANDLES.head(n_known)), CANDLES.iloc[n_known:101])
        assert exchange.asked[0] == CANDLES.index[max(0, n_known - OVERLAP)]


def test_there_are_no_new_candles_before_the_next_close(exchange: Exchange) -> None:
    assert download(exchange, CANDLES) == []
    assert download(exchange, CANDLES, end=CANDLES.index[10]) == []


def test_known_candles_that_differ_are_refused_by_line_and_values(exchange: Exchange) -> None:
    known = CANDLES.head(100).copy()
    known.iloc[95, 3] = 55.25
    there = float(CANDLES["close"].iloc[95])
    with pytest.raises(DataError, match=rf"line 97 .*close is 55.25 in the file, but {there} at binance BTC/USDT 4h"):
        download(exchange, known)


def test_a_candle_that_only_one_of_the_two_has_is_refused(exchange: Exchange) -> None:
    with pytest.raises(DataError, match=r"line 97 .*the file lacks this candle"):
        download(exchange, CANDLES.head(100).drop(CANDLES.index[95]))
    exchange.candles = CANDLES.drop(CANDLES.index[95])
    with pytest.raises(DataError, match=r"line 97 .*has no such candle"):
        download(exchange, CANDLES.head(100))


def test_a_file_that_ends_in_an_unfinished_candle_is_refused(exchange: Exchange) -> None:
    exchange.now = CANDLES.index[99] + pd.Timedelta(minutes=5)
    with pytest.raises(DataError, match=r"line 101 .*or has not closed it yet"):
        download(exchange, CANDLES.head(100))


def test_earlier_candles_cannot_be_prepended(exchange: Exchange) -> None:
    known = CANDLES.iloc[100:200]
    with pytest.raises(DataError, match=r"begins at 2022-01-17 16:00, but .* has candles from 2022-01-01 00:00"):
        require_nothing_earlier(source_of(exchange), START, known, "X.csv")
    require_nothing_earlier(source_of(exchange), START - pd.Timedelta(days=900), CANDLES, "X.csv")


def test_candles_that_begin_in_time_or_with_the_exchange_can_be_continued(exchange: Exchange) -> None:
    require_nothing_earlier(source_of(exchange), START, CANDLES, "X.csv")
    assert exchange.asked == []  # there is nothing to ask
    exchange.in_windows = True  # it gives empty pages for the time before its first candle
    long_before = START - pd.Timedelta(days=900)
    require_nothing_earlier(source_of(exchange), long_before, CANDLES, "X.csv")
    exchange.candles = CANDLES.iloc[1500:]  # and by now it has forgotten the first of the known ones
    require_nothing_earlier(source_of(exchange), long_before, CANDLES, "X.csv")
    assert len(exchange.asked) > 2


def test_an_unknown_name_is_refused_with_the_known_ones(exchange: Exchange) -> None:
    client = exchange_client("binance", exchange.client_options())
    with pytest.raises(SettingsError, match=r"no symbol 'btcusdt'\. Did you mean BTC/USDT\?"):
        ExchangeSource(client, "btcusdt", "4h")
    with pytest.raises(SettingsError, match="no timeframe '5h'; it has 1s, 1m"):
        ExchangeSource(client, "BTC/USDT", "5h")
    with pytest.raises(SettingsError, match="Did you mean 'binance'"):
        exchange_client("binanc", {})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"binance": "http://proxy"}, r"f.toml: exchange\.binance is 'http://proxy'\. Write a table of"),
        ({"binanc": {}}, r"f.toml, \[exchange\.binanc\]: there is no exchange 'binanc'\. Did you mean 'binance'\?"),
        ({"binance": {"htpsProxy": "x"}}, r"\[exchange\.binance\]: ccxt has no option 'htpsProxy'\. .*'httpsProxy'\?"),
        ({"binance": {"fetch_ticker": "x"}}, "ccxt has no option 'fetch_ticker'"),
        ({"binance": {"urls": "http://x"}}, "urls is 'http://x', but must be a table"),
        ({"binance": {"timeout": "soon"}}, "timeout is 'soon', but must be a number"),
        ({"binance": {"enableRateLimit": 3}}, "enableRateLimit is 3, but must be true or false"),
    ],
)
def test_an_option_that_ccxt_does_not_know_is_refused(tables: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        exchange_options(tables, "binance", "f.toml")


def test_options_of_both_clients_of_an_exchange_are_accepted(exchange: Exchange) -> None:
    known = {**exchange.client_options(), "httpsProxy": "http://x", "timeout": 3.5, "userAgent": "x", "verbose": True}
    assert exchange_options({"binance": known}, "binance", "f.toml") == known
    assert exchange_options({"binance": known}, "kraken", "f.toml") == {}


def test_an_exchange_without_candles_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"coinspot has no candles\. Choose another --exchange"):
        ExchangeSource(exchange_client("coinspot", {}), "BTC/AUD", "4h")


def test_without_ccxt_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(SettingsError, match=r"pip install .*\[download\]"):
        exchange_client("binance", {})


def test_months_have_their_own_lengths() -> None:
    assert START + step_of("1M") == pd.Timestamp("2022-02-01", tz="UTC")
    assert START + 2 * step_of("15m") == pd.Timestamp("2022-01-01 00:30", tz="UTC")
    with pytest.raises(SettingsError, match="unknown timeframe 'day'"):
        step_of("day")
