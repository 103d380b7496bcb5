"""The model server over real connections: forecasts, errors, keys, load, metrics and status."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from structlog.testing import capture_logs

from data.errors import LiveError, SettingsError
from data.features import compute_features
from data.files import mark_latest, new_run_id
from models import Forecaster, ForecastSettings, ModelSet
from models.network import Passes, time_slots
from runners.live.server import Server, app, middleware
from runners.live.server.app import Limits
from runners.live.server.forecasts import window_log_returns
from runners.live.services.model_reloader import ModelReloader
from tests.conftest import SMALL
from tests.patience import PATIENCE_S, wait_until
from tests.runners.live.serving import Client, OneRedis, as_json, one_redis, serving, trade
from training import TrainSettings, train

KEY = "correct horse battery staple"
ROUTES = ["/", "/models", "/metrics", "/status", "/openapi.json"]


@pytest.fixture(scope="module")
def store() -> Iterator[OneRedis]:
    with one_redis() as running:
        yield running


def window(forecaster: Forecaster, candles: pd.DataFrame, bar: int, regime: int) -> dict[str, Any]:
    """Input of an expert for the forecast at a bar: from ``window - 1`` bars before its block on."""
    expert = forecaster.model_set.expert_for(regime)
    slots = time_slots(pd.DatetimeIndex(candles.index), forecaster.interval)
    first = Passes.over(slots, expert.window, expert.stride).block_start[bar] - expert.window + 1
    values = compute_features(candles, expert.features).to_numpy()
    return {"regime": regime, "features": values[first : bar + 1].tolist()}


def problem(answer: requests.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    result = answer.json()
    assert (result["status"], result["type"]) == (status, "about:blank")
    assert result["title"]
    return result


# forecasts


def test_a_window_is_forecast_by_its_regime_s_expert_as_in_a_backtest(
    server: Client, forecaster: Forecaster, candles: pd.DataFrame
) -> None:
    expected = forecaster.forecast(candles)
    for bar in range(len(candles) - 60, len(candles)):
        regime = int(expected["regime"].iloc[bar])
        result = server.forecast(window(forecaster, candles, bar, regime)).json()
        assert result["log_return"] == pytest.approx(expected["forecast"].iloc[bar], rel=1e-9, abs=1e-15)
        assert result["regime"] == regime
        assert result["expert"] == result["regime_name"] == forecaster.model_set.expert_for(regime).name
        assert result["models"] == server.get("/ready").json()["models"]


def test_a_batch_gives_the_same_forecasts_as_its_windows(
    server: Client, forecaster: Forecaster, candles: pd.DataFrame
) -> None:
    windows = [window(forecaster, candles, 1000 + number, number % 4) for number in range(64)]
    alone = [server.forecast(one).json() for one in windows]
    together = server.forecast({"batch": windows}).json()["forecasts"]
    assert [one["expert"] for one in together] == [one["expert"] for one in alone]
    assert [one["regime"] for one in together] == [number % 4 for number in range(64)]
    np.testing.assert_allclose(
        [one["log_return"] for one in together], [one["log_return"] for one in alone], rtol=1e-9, atol=1e-15
    )


def test_a_regime_without_an_expert_uses_the_all_regimes_network(
    server: Client, forecaster: Forecaster, candles: pd.DataFrame
) -> None:
    content = window(forecaster, candles, 1100, 57)
    result = server.forecast(content).json()
    assert (result["expert"], result["regime_name"]) == ("all", "regime57")
    expected = window_log_returns(forecaster.model_set.all_regimes, np.array([content["features"]]))
    assert result["members"] == pytest.approx(expected[0], rel=1e-12)
    assert result["log_return"] == pytest.approx(expected[0].mean(), rel=1e-12)


@pytest.mark.parametrize("further", [0, 3, 500])
def test_candles_are_forecast_as_in_a_backtest(
    server: Client, forecaster: Forecaster, candles: pd.DataFrame, further: int
) -> None:
    sent = candles.iloc[-(forecaster.lookback + 1 + further) :]
    result = server.forecast({"candles": as_json(sent)}).json()
    expected = forecaster.forecast(candles).iloc[-1]
    assert pd.Timestamp(result["timestamp"]) == candles.index[-1]
    assert result["regime"] == expected["regime"]
    assert result["log_return"] == pytest.approx(expected["forecast"], rel=1e-6)
    shares = [result["probabilities"][str(regime)] for regime in range(3)]
    np.testing.assert_allclose(shares, expected[["p_bearish", "p_sideways", "p_bullish"]], atol=1e-6)
    assert result["reason"] is None


def test_each_candle_needs_the_models_columns(saved: Path, labelled: pd.DataFrame) -> None:
    models = ModelReloader(saved, ForecastSettings(regime_source="column"))
    sent = labelled.iloc[-(models.forecaster.lookback + 1) :]
    with serving(models) as server:
        assert server.get("/models").json()["columns"] == ["open", "high", "low", "close", "volume", "regime"]
        result = server.forecast({"candles": as_json(sent)}).json()
        assert result["regime"] == sent["regime"].iloc[-1]
        without = server.forecast({"candles": as_json(sent.drop(columns="regime"))})
        assert problem(without, 422)["detail"] == "candles, row 0: regime is missing, but the models read it."


def test_a_forecast_that_cannot_be_computed_is_null_with_a_reason(
    server: Client, forecaster: Forecaster, candles: pd.DataFrame
) -> None:
    sent = candles.iloc[-(forecaster.lookback + 1) :].copy()
    sent.iloc[::2, :4] *= 1e-300
    sent.iloc[1::2, :4] *= 1e300
    result = server.forecast({"candles": as_json(sent)}).json()
    assert (result["regime"], result["log_return"], result["probabilities"]) == (None, None, None)
    assert "not a finite number" in result["reason"]


def test_models_lists_each_expert_s_inputs(server: Client, forecaster: Forecaster, saved: Path) -> None:
    result = server.get("/models").json()
    assert (result["dataset"], result["run"], result["interval_seconds"]) == ("SWITCH", saved.name, 4 * 3600)
    assert result["lookback"] == forecaster.lookback
    assert [(one["name"], one["regime"]) for one in result["experts"]] == [
        ("bearish", 0),
        ("sideways", 1),
        ("bullish", 2),
        ("all", None),
    ]
    first = result["experts"][0]
    assert first["columns"] == ["log_return", "volatility", "rsi", "macd", "boll_width"]
    assert (first["window"], first["stride"], first["hidden_dim"], first["num_layers"]) == (6, 4, 8, 1)
    assert first["validation_loss"] > 0
    assert (first["label"], result["notes"]) == ("bearish", forecaster.model_set.notes())


# errors

ROW = [0.001, 0.01, 50.0, 0.0, 0.05]
WINDOW = {"regime": 2, "features": [ROW] * 6}


@pytest.mark.parametrize(
    ("content", "detail", "location"),
    [
        ({}, "body: send an object with regime and features, candles, or batch", []),
        ([], "body: send an object with regime and features, candles, or batch", []),
        ({**WINDOW, "candles": []}, "body: send an object with regime and features, candles, or", []),
        ({"regime": 2}, "features: Field required", ["features"]),
        ({**WINDOW, "regime": 100}, "regime: Input should be less than or equal to 99", ["regime"]),
        ({**WINDOW, "regime": -1}, "regime: Input should be greater than or equal to 0", ["regime"]),
        ({**WINDOW, "regime": "2"}, "regime: Input should be a valid integer", ["regime"]),
        ({**WINDOW, "features": [["1"]]}, "features.0.0: Input should be a valid number", ["features", 0, 0]),
        ({**WINDOW, "features": [[float("nan")]]}, "features.0.0: Input should be a finite", ["features", 0, 0]),
        ({**WINDOW, "features": [[float("inf")]]}, "features.0.0: Input should be a finite", ["features", 0, 0]),
        ({**WINDOW, "symbol": "X"}, "symbol: Extra inputs are not permitted", ["symbol"]),
        ({**WINDOW, "features": [ROW] * 5}, "features: expert bullish reads 6 to 9 bars, not 5.", None),
        ({**WINDOW, "features": [ROW] * 10}, "features: expert bullish reads 6 to 9 bars, not 10.", None),
        ({**WINDOW, "features": [ROW] * 5 + [[1.0]]}, "features, row 5: 1 values, but expert bullish reads 5:", None),
        ({**WINDOW, "features": [[1e308] * 5] * 6}, "features: values are far outside the training", None),
        ({"batch": [WINDOW] * 65}, "batch: List should have at most 64 items", ["batch"]),
        ({"batch": []}, "batch: List should have at least 1 item", ["batch"]),
        ({"batch": [WINDOW, {**WINDOW, "features": [ROW]}]}, "batch, entry 1: features: expert bullish reads", None),
        ({"batch": [WINDOW, {**WINDOW, "features": [ROW[:2]] * 6}]}, "batch, entry 1: features, row 0: 2 values", None),
    ],
)
def test_an_invalid_request_is_refused_with_its_location(
    server: Client, content: Any, detail: str, location: list[Any] | None
) -> None:
    result = problem(server.session.post(f"{server.url}/forecast", data=json.dumps(content), headers=JSON), 422)
    assert result["detail"].startswith(detail)
    assert (result["errors"][0]["location"] if "errors" in result else None) == location


JSON = {"Content-Type": "application/json"}


def changed(name: str, value: Any) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda rows: rows[-1].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda rows: rows.pop(), "candles: has 158 bars, but at least 159 are needed. Bring more history."),
        (lambda rows: rows.extend(rows * 15), "candles: 2544 are too many. Send at most 2159."),
        (lambda rows: rows.reverse(), "candles, row 1: timestamp"),
        (changed("high", 0.01), "candles, row 158: high 0.01 is below low"),
        (changed("close", 0), "candles.158.close: Input should be greater than 0"),
        (changed("volume", -1), "candles.158.volume: Input should be greater than or equal to 0"),
        (changed("volume", None), "candles.158.volume: Input should be a valid number"),
        (changed("timestamp", "2022-07-19T20:00:00"), "candles.158.timestamp: Input should have timezone info"),
        (changed("timestamp", "0001-01-01T00:00:00+14:00"), "candles.158.timestamp: Input should be greater than"),
        (changed("timestamp", "9999-12-31T23:59:59-14:00"), "candles.158.timestamp: Input should be less than"),
        (changed("timestamp", 1650000000), "candles.158.timestamp: Input should be a valid datetime"),
        (changed("own", "text"), "candles.158.own: Input should be a valid number"),
        (lambda rows: rows[3].pop("open"), "candles.3.open: Field required"),
    ],
)
def test_invalid_candles_are_refused(
    server: Client, forecaster: Forecaster, candles: pd.DataFrame, change: Callable[[Any], Any], detail: str
) -> None:
    rows = as_json(candles.iloc[-(forecaster.lookback + 1) :])
    change(rows)
    assert problem(server.forecast({"candles": rows}), 422)["detail"].startswith(detail)


def test_candles_of_another_interval_are_refused(server: Client, forecaster: Forecaster, candles: pd.DataFrame) -> None:
    every_other = candles.iloc[::2].iloc[-(forecaster.lookback + 1) :]
    result = problem(server.forecast({"candles": as_json(every_other)}), 422)
    assert result["detail"].startswith("candles: bars are 8 h apart, but the models of SWITCH were trained on bars 4 h")


def test_an_error_does_not_repeat_long_input(server: Client) -> None:
    result = server.forecast({**WINDOW, "x" * 100_000: 1})
    assert problem(result, 422)["errors"][0]["message"] == "Extra inputs are not permitted"
    many_errors = server.forecast({**WINDOW, "features": [["no"] * 500] * 200})
    assert len(problem(many_errors, 422)["errors"]) == 1
    assert max(len(result.content), len(many_errors.content)) < 1000


def test_invalid_json_is_refused(server: Client) -> None:
    def post(body: bytes, headers: dict[str, str]) -> requests.Response:
        return server.session.post(f"{server.url}/forecast", data=body, headers=headers)

    assert problem(post(b"{", JSON), 422)["errors"][0]["location"] == []
    assert problem(post(b"\xff", JSON), 422)
    assert problem(post(b"[" * 100_000, JSON), 422)
    assert problem(post(json.dumps(WINDOW).encode(), {}), 415)
    assert post(json.dumps(WINDOW).encode(), {"Content-Type": "Application/JSON; charset=utf-8"}).ok


def test_unknown_routes_and_methods_give_problem_details(server: Client) -> None:
    assert "openapi.json" in problem(server.get("/nothing"), 404)["detail"]
    assert problem(server.get("/redoc"), 404)
    answer = server.session.delete(f"{server.url}/models")
    assert problem(answer, 405)
    assert answer.headers["Allow"] == "GET"


def test_a_body_that_is_too_long_is_refused_with_or_without_its_length(saved: Path) -> None:
    with serving(saved, limits=Limits(body=10_000)) as server:
        url = f"{server.url}/forecast"
        assert problem(server.session.post(url, data=b" " * 10_001, headers=JSON), 413)
        piece_by_piece = (b" " * 1000 for _ in range(11))
        result = problem(server.session.post(url, data=piece_by_piece, headers=JSON), 413)
        assert result["detail"] == "The body is longer than 10000 bytes."
        assert server.forecast(WINDOW).ok


def test_a_body_that_does_not_arrive_times_out(saved: Path) -> None:
    with serving(saved, limits=Limits(threads=1, waiting=0, body_seconds=0.05)) as server:
        with socket.create_connection(("127.0.0.1", server.server.port), PATIENCE_S) as slow:
            slow.sendall(
                b"POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert wait_until(lambda: server.forecast(WINDOW).ok)  # a slow machine may be late with this body, too


def test_an_endless_header_is_refused(server: Client) -> None:
    with socket.create_connection(("127.0.0.1", server.server.port), PATIENCE_S) as endless:
        endless.sendall(b"GET /health HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            endless.sendall(b"X-More: " + b"x" * 100_000_000)
    assert server.get("/health").ok


# keys


@pytest.fixture(scope="module")
def keyed(saved: Path) -> Iterator[Client]:
    with serving(saved, key=KEY) as client:
        yield client


@pytest.mark.parametrize("path", [*ROUTES, "/nothing"])
@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"headers": {"X-API-Key": ""}},
        {"headers": {"X-API-Key": KEY + " "[:0] + "r"}},
        {"auth": ("", "wrong")},
        {"auth": (KEY, "")},
        {"headers": {"Authorization": f"Bearer {KEY}"}},
        {"headers": {"Authorization": "Basic ???"}},
    ],
)
def test_every_route_needs_the_key(keyed: Client, path: str, sent: dict[str, Any]) -> None:
    answer = keyed.get(path, **sent)
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_a_forecast_needs_the_key(keyed: Client) -> None:
    assert problem(keyed.forecast(WINDOW), 401)
    assert keyed.forecast(WINDOW, headers={"X-API-Key": KEY}).ok


@pytest.mark.parametrize("path", [path for path in ROUTES if path != "/status"])
def test_the_key_works_as_header_and_as_password_and_is_never_shown(keyed: Client, path: str) -> None:
    for sent in ({"headers": {"X-API-Key": KEY}}, {"auth": ("anybody", KEY)}):
        answer = keyed.get(path, **sent)
        assert answer.status_code == 200
        assert KEY not in answer.text + str(answer.headers)


def test_health_checks_need_no_key(keyed: Client) -> None:
    assert keyed.get("/health").json() == {"status": "ok"}
    assert keyed.get("/ready").json()["status"] == "ready"


def test_keys_are_compared_in_constant_time(keyed: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(sent: bytes, key: bytes) -> bool:
        compared.append((sent, key))
        return False

    monkeypatch.setattr(middleware.hmac, "compare_digest", compare)
    assert problem(keyed.get("/models", headers={"X-API-Key": KEY}), 401)
    assert compared == [(KEY.encode(), KEY.encode())] * 2  # for the connection and for the request


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", "", "127.0.0.1.example.com"])
def test_serving_other_machines_requires_a_key(saved: Path, host: str) -> None:
    models = ModelReloader(saved)
    for none in (None, ""):
        with pytest.raises(SettingsError, match="REGIMES_SERVER_KEY"):
            Server(models, None, host, key=none)
    Server(models, None, host, key=KEY)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]", "LOCALHOST"])
def test_serving_this_machine_needs_no_key(saved: Path, host: str) -> None:
    Server(ModelReloader(saved), None, host)


def test_without_a_key_other_host_names_are_refused(server: Client) -> None:
    assert problem(server.get("/models", headers={"Host": "evil.example:8000"}), 421)
    for name in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]"):
        assert server.get("/models", headers={"Host": name}).ok


# newer models


def test_newer_models_are_loaded_without_mixing_two_sets_in_one_answer(
    saved: Path, model_set: ModelSet, candles: pd.DataFrame, tmp_path: Path
) -> None:
    shutil.copytree(saved.parent, tmp_path / "SWITCH")
    newer = train(candles, "SWITCH", TrainSettings(**SMALL, seed=5))
    forecaster = Forecaster(model_set)
    content = window(forecaster, candles, 1100, 2)
    expected = {saved.name: window_log_returns(model_set.experts[2], np.array([content["features"]]))[0].mean()}
    with serving(tmp_path / "SWITCH") as server:
        asking = threading.Event()

        def ask() -> set[str]:
            seen = {}
            with requests.Session() as session:
                while len(seen) < 2:
                    answer = session.post(f"{server.url}/forecast", json=content, timeout=PATIENCE_S)
                    assert answer.status_code == 200
                    seen.setdefault(answer.json()["models"], answer.json()["log_return"])
                    assert seen[answer.json()["models"]] == answer.json()["log_return"]
                    asking.set()
            return seen

        with ThreadPoolExecutor(4) as clients:
            answers = [clients.submit(ask) for _ in range(4)]
            assert asking.wait(PATIENCE_S)
            run = newer.save(tmp_path).name
            contents = [answer.result(PATIENCE_S) for answer in answers]
        expected[run] = window_log_returns(newer.experts[2], np.array([content["features"]]))[0].mean()
        for one in contents:
            assert one == pytest.approx(expected, rel=1e-12)
        assert wait_until(lambda: server.metric("regimes_server_reloads_total") == 1)


def test_damaged_newer_models_are_reported_and_the_old_ones_stay(
    saved: Path, model_set: ModelSet, tmp_path: Path
) -> None:
    shutil.copytree(saved.parent, tmp_path / "SWITCH")
    damaged = tmp_path / "SWITCH" / new_run_id()
    model_set.write(damaged)
    weights = damaged / "SWITCH_bullish.pt"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with serving(tmp_path / "SWITCH") as server:
        assert server.get("/ready").json() == {
            "status": "ready",
            "models": saved.name,
            "newer_models_refused": False,
        }
        mark_latest(damaged)
        assert wait_until(lambda: server.get("/ready").json()["newer_models_refused"])
        assert "SWITCH_bullish.pt: has changed" in server.get("/models").json()["refused"]
        assert wait_until(lambda: server.metric("regimes_server_newer_models_refused") == 1)
        assert server.metric("regimes_server_reload_failures_total") == 1
        assert server.forecast(WINDOW).json()["models"] == saved.name


# load, internal errors and shutdown


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Forecasts of candles wait until this is set."""
    release = threading.Event()
    stream = Forecaster.stream

    def wait_and_stream(self: Forecaster, history: pd.DataFrame | None = None) -> Any:
        assert release.wait(PATIENCE_S)
        return stream(self, history)

    monkeypatch.setattr(Forecaster, "stream", wait_and_stream)
    yield release
    release.set()


def test_too_many_requests_are_answered_503_with_retry_after(
    saved: Path, forecaster: Forecaster, candles: pd.DataFrame, held: threading.Event
) -> None:
    content = {"candles": as_json(candles.iloc[-(forecaster.lookback + 1) :])}
    with serving(saved, limits=Limits(threads=1, waiting=1)) as server, ThreadPoolExecutor(2) as clients:
        inside = [clients.submit(requests.post, f"{server.url}/forecast", json=content) for _ in range(2)]
        assert wait_until(
            lambda: server.metric("regimes_server_requests_in_flight") == 3
        )  # including the one for the metrics
        answer = server.forecast(WINDOW)
        problem(answer, 503)
        assert answer.headers["Retry-After"] == "1"
        assert server.get("/health").ok
        held.set()
        assert [one.result(PATIENCE_S).status_code for one in inside] == [200, 200]
        assert server.forecast(WINDOW).ok


def test_requests_in_progress_are_answered_before_the_server_stops(
    saved: Path, forecaster: Forecaster, candles: pd.DataFrame, held: threading.Event
) -> None:
    content = {"candles": as_json(candles.iloc[-(forecaster.lookback + 1) :])}
    with serving(saved) as server, ThreadPoolExecutor(1) as clients:
        begun = clients.submit(requests.post, f"{server.url}/forecast", json=content)
        assert wait_until(lambda: server.metric("regimes_server_requests_in_flight") == 2)
        server.stop.set()

        def refuses() -> bool:
            try:
                socket.create_connection(("127.0.0.1", server.server.port), PATIENCE_S).close()
            except OSError:
                return True
            return False

        assert wait_until(refuses)
        held.set()
        assert begun.result(PATIENCE_S).status_code == 200


def test_an_internal_error_is_logged_and_reveals_nothing(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(app, "describe_models", fail)
    with capture_logs() as logged:
        answer = server.get("/models")
    assert problem(answer, 500)["detail"] == "Internal error. The server's log has the details."
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert [(one["event"], one["path"], one["exc_info"]) for one in logged] == [("request failed", "/models", True)]


def test_a_port_in_use_is_an_error(server: Client, saved: Path) -> None:
    second = Server(ModelReloader(saved), None, port=server.server.port)
    with pytest.raises(LiveError, match=r"cannot listen on 127\.0\.0\.1, port \d+ .*--port"):
        second.run(threading.Event())


@pytest.mark.parametrize("head", [b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"], ids=["idle", "slow"])
def test_connections_without_a_key_keep_nobody_out(saved: Path, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.live.server.connections._MOST_WITHOUT_KEY", 128)
    with serving(saved, key="secret") as server, ExitStack() as opened:
        with server.session.get(f"{server.url}/models", headers={"X-API-Key": "secret"}, timeout=PATIENCE_S) as known:
            assert known.ok
        for _ in range(140):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", server.server.port), PATIENCE_S))
            one.sendall(head)
        assert requests.get(f"{server.url}/health", timeout=PATIENCE_S).ok
        assert server.get("/models", headers={"X-API-Key": "secret"}).ok


def test_256_connections_of_one_address_are_all_answered(server: Client) -> None:
    with ExitStack() as opened:
        address = "127.0.0.1", server.server.port
        connections = [opened.enter_context(socket.create_connection(address, PATIENCE_S)) for _ in range(256)]
        for one in connections:
            one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert [one.recv(12) for one in connections] == [b"HTTP/1.1 200"] * 256


@pytest.mark.parametrize("length", [70_000, 170_000, 1_000_000])
def test_a_long_head_is_refused_however_it_arrives(server: Client, length: int) -> None:
    with socket.create_connection(("127.0.0.1", server.server.port), PATIENCE_S) as one, suppress(ConnectionError):
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * length + b"\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 400 ")


# metrics and status of all services


def test_metrics_cover_the_server_and_all_services(
    saved: Path, store: OneRedis, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    bus = store.connect("METRICS")
    trade(bus, candles.iloc[-5:])
    bus.add_dead_letter(candles.index[0], {"close": -1}, "close is -1")
    with serving(saved, lambda: bus) as server:
        assert server.forecast(WINDOW).ok
        assert server.get("/made/up").status_code == 404
        server.forecast({})
        assert wait_until(lambda: "server" in bus.heartbeats())
        assert server.metric('regimes_server_requests_total{route="/forecast",status="200"}') == 1
        assert server.metric('regimes_server_requests_total{route="/forecast",status="422"}') == 1
        assert server.metric('regimes_server_requests_total{route="other",status="404"}') == 1
        assert server.metric('regimes_server_request_seconds_count{route="/forecast"}') == 2
        assert server.metric("regimes_server_requests_in_flight") == 1
        assert server.metric("regimes_vote") == 0.4
        assert server.metric("regimes_position") == 1.5
        assert server.metric("regimes_equity") == pytest.approx(100 * candles["close"].iloc[-1])
        assert server.metric("regimes_stopped") == 0
        assert server.metric("regimes_dead_letters") == 1
        assert server.metric("regimes_regime") == 2
        assert server.metric('regimes_service_behind{service="trader"}') == 0
        assert server.metric('regimes_service_behind{service="server"}') is None
        assert server.metric('regimes_service_events_total{event="orders",service="trader"}') == 7
        ages = [server.metric(f'regimes_service_beat_age_seconds{{service="{name}"}}') for name in bus.heartbeats()]
        assert all(0 <= age < PATIENCE_S for age in ages)
        since = (bus.now() - candles.index[-1]).total_seconds() - 4 * 3600
        assert server.metric("regimes_last_candle_age_seconds") == pytest.approx(since, abs=PATIENCE_S)
        assert server.get("/status").json()["decision"]["position"] == 1.5


def test_it_sends_heartbeats_and_a_last_one(saved: Path, store: OneRedis) -> None:
    bus = store.connect("BEATS")
    with serving(saved, lambda: bus) as server:
        assert wait_until(lambda: bus.heartbeats().get("server", {}).get("state") == "answering")
        server.get("/health")
        assert wait_until(lambda: bus.heartbeats()["server"]["counted"].get("requests", 0) > 0)
    assert bus.heartbeats()["server"]["state"] == "ended"


def test_it_answers_without_redis_and_reconnects(saved: Path) -> None:
    with one_redis() as store, serving(saved, store.connect) as server:
        assert wait_until(lambda: server.metric("regimes_dead_letters") == 0)
        store.stop()
        assert problem(server.get("/status"), 503)["detail"] == "Redis cannot be reached."
        assert problem(server.get("/ready"), 503)
        assert server.get("/health").ok
        assert server.forecast(WINDOW).ok
        assert server.metric("regimes_dead_letters") is None
        assert server.metric("regimes_server_requests_in_flight") == 1
        store.start()
        assert server.get("/ready").ok
        assert wait_until(lambda: "server" in store.connect().heartbeats())


def test_a_server_without_redis_has_no_status(server: Client) -> None:
    assert "has no Redis" in problem(server.get("/status"), 503)["detail"]
    assert server.get("/ready").ok
