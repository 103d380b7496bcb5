"""The status page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from runners.live.bus.bus import Bus
from tests.conftest import needs_browser
from tests.patience import PATIENCE_S, new_page
from tests.runners.live.serving import Client, OneRedis, one_redis, serving, trade

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser
KEY = "correct horse battery staple"


class Place(NamedTuple):
    """The server of the page, and its Redis."""

    server: Client
    store: OneRedis
    bus: Bus


@pytest.fixture
def place(saved: Path) -> Iterator[Place]:
    with one_redis() as store, serving(saved, store.connect) as server:
        yield Place(server, store, store.connect())


def inner_text(page: sync_api.Page, name: str) -> str:
    return page.locator(f"#{name}").inner_text()


def shows(page: sync_api.Page, name: str, text: str) -> None:
    """Wait until the element with this id contains the text."""
    sync_api.expect(page.locator(f"#{name}")).to_contain_text(text)


def test_it_shows_the_services_state_and_updates_itself(
    place: Place, page: sync_api.Page, candles: pd.DataFrame
) -> None:
    messages, urls = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: urls.append(request.url))
    page.goto(place.server.url)
    shows(page, "regime-more", "no forecast yet")
    shows(page, "services", "server")

    seen = candles.iloc[-30:-1]
    trade(place.bus, seen)
    close = seen["close"].iloc[-1]
    shows(page, "decision-more", f"vote +40 %; candle of {seen.index[-1]:%Y-%m-%d %H:%M}")
    assert inner_text(page, "regime") == "bullish"
    assert inner_text(page, "name") == "SWITCH/USDT, 4h"
    assert inner_text(page, "mode") == "paper"
    assert inner_text(page, "forecast") == "+0.213 %"
    assert inner_text(page, "decision") == "buy 0.25"
    assert inner_text(page, "position") == "long 1.5"
    assert inner_text(page, "position-more") == f"worth {1.5 * close:,.2f} at the last close"
    assert inner_text(page, "equity") == f"{100 * close:,.2f}"
    assert inner_text(page, "candle") == f"{seen.index[-1]:%Y-%m-%d %H:%M}"
    assert "closed" in inner_text(page, "candle-more")
    assert inner_text(page, "dead") == "None:"
    assert page.title() == "bullish, long · SWITCH/USDT"
    points = page.locator("polyline").get_attribute("points").split()
    assert len(points) == len(seen)
    highest = min(range(len(points)), key=lambda at: float(points[at].split(",")[1]))
    assert highest == seen["close"].argmax()
    rows = page.locator("#services tr").evaluate_all("all => all.map(one => one.innerText)")
    assert [row.split()[0] for row in rows] == ["engine", "server", "trader"]
    assert "orders 7" in rows[2]
    dot = page.locator("#regime .dot").evaluate("one => getComputedStyle(one).backgroundColor")
    assert dot == "rgb(0, 114, 178)"  # as bullish in the reports

    place.bus.add_dead_letter(seen.index[-1], {"close": -1}, "close is -1")
    shows(page, "dead", "1")
    assert messages == []
    assert {url for url in urls if not url.startswith("data:")} == {
        f"{place.server.url}/",
        f"{place.server.url}/status",
    }


def test_it_shows_a_stopped_trader_and_a_late_service(place: Place, page: sync_api.Page, candles: pd.DataFrame) -> None:
    trade(place.bus, candles.iloc[-3:], stopped="kill switch: regimes live kill")
    long_ago = {"beat": int(place.bus.now().timestamp() * 1000) - 5_227_200_000, "state": "streaming", "counted": {}}
    place.bus.redis.hset("regimes:SWITCH:services", "ingest", json.dumps(long_ago))
    page.goto(place.server.url)
    shows(page, "stopped", "kill switch: regimes live kill")
    assert page.locator("#stopped").is_visible()
    assert page.title().startswith("STOPPED, ")
    late = page.locator("#services .mark").evaluate_all("all => all.map(one => one.innerText)")
    assert late == ["60 d ago: late"]


def test_it_shows_an_active_kill_switch_and_a_dead_trader(
    place: Place, page: sync_api.Page, candles: pd.DataFrame
) -> None:
    bus = place.bus
    trade(bus, candles.iloc[-3:])
    bus.set_kill_switch(True)
    page.goto(place.server.url)
    shows(page, "stopped", "The kill switch is active")
    assert not page.locator("#silent").is_visible()
    bus.set_kill_switch(False)
    heartbeats = {"trader": {"state": "waiting for a forecast"}, "engine": {"state": "ended"}}
    for name, fields in heartbeats.items():
        long_ago = int(1000 * (bus.now().timestamp() - 3600))
        bus.redis.hset("regimes:SWITCH:services", name, json.dumps({"counted": {}, "beat": long_ago, **fields}))
    shows(page, "silent", "trader. A position is open and not managed.")
    assert "engine" not in inner_text(page, "silent")
    assert not page.locator("#stopped").is_visible()


def test_it_shows_real_money(place: Place, page: sync_api.Page) -> None:
    place.bus.store_facts({"mode": "real"})
    page.goto(place.server.url)
    shows(page, "mode", "REAL MONEY")


def test_it_shows_that_redis_or_the_server_is_down(place: Place, page: sync_api.Page, candles: pd.DataFrame) -> None:
    trade(place.bus, candles.iloc[-3:])
    page.goto(place.server.url)
    shows(page, "regime", "bullish")
    assert not page.locator("#trouble").is_visible()
    place.store.stop()
    shows(page, "trouble", "Redis cannot be reached. The values below are ")
    assert inner_text(page, "regime") == "bullish"
    assert page.title().startswith("? ")
    place.store.start()
    sync_api.expect(page.locator("#trouble")).to_be_hidden(timeout=20_000)
    place.server.stop.set()
    shows(page, "trouble", "The server cannot be reached.")


def test_the_browser_asks_for_the_key_as_a_password(
    saved: Path, browser: sync_api.Browser, candles: pd.DataFrame
) -> None:
    with one_redis() as store, serving(saved, store.connect, key=KEY) as server:
        trade(store.connect(), candles.iloc[-3:])
        stranger = new_page(browser)
        with pytest.raises(sync_api.Error, match="INVALID_AUTH_CREDENTIALS"):  # without a password
            stranger.goto(server.url)
        stranger.close()
        context = browser.new_context(http_credentials={"username": "me", "password": KEY})
        context.set_default_timeout(1000 * PATIENCE_S)
        page = context.new_page()
        page.goto(server.url)
        shows(page, "regime", "bullish")
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_small_and_large_screens_in_both_themes(
    place: Place, browser: sync_api.Browser, candles: pd.DataFrame, width: int, theme: str
) -> None:
    trade(place.bus, candles.iloc[-40:])
    page = new_page(browser, viewport={"width": width, "height": 800}, color_scheme=theme)
    page.goto(place.server.url)
    shows(page, "regime", "bullish")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate(
        "() => [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    text, background = (sum(int(part) for part in colour[4:-1].split(",")) for colour in colours)
    assert (text < background) == (theme == "light")
    page.close()


def test_the_api_documentation_works_without_the_internet(place: Place, page: sync_api.Page) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(f"{place.server.url}/docs")
    sync_api.expect(page.locator("#swagger-ui")).to_contain_text("/forecast")
    sync_api.expect(page.locator("#swagger-ui")).to_contain_text("Show Models")
    assert all(url.startswith((place.server.url, "data:")) for url in urls)
