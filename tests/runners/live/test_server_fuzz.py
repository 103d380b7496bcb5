"""Property tests: the model server answers every request as its OpenAPI description says, and never with 500."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from models import Forecaster
from tests.patience import PATIENCE_S
from tests.runners.live.serving import Client, as_json, one_redis, serving, trade

KEY = "correct horse battery staple"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="schemathesis is not installed")
def test_every_answer_matches_the_openapi_description(saved: Path, candles: pd.DataFrame, tmp_path: Path) -> None:
    """Schemathesis sends valid and invalid requests, with and without the key."""
    with one_redis() as store:
        trade(store.connect(), candles.iloc[-3:])
        with serving(saved, store.connect, key=KEY) as server:
            flags = {
                "--header": f"X-API-Key: {KEY}",
                "--phases": "examples,coverage,fuzzing",
                "--max-examples": "100",
                "--request-timeout": str(PATIENCE_S),
                "--suppress-health-check": "too_slow",
                # OpenAPI cannot describe valid candles, or the features of these models
                "--exclude-checks": "positive_data_acceptance",
                "--generation-database": "none",
            }
            command = [SCHEMATHESIS, "run", f"{server.url}/openapi.json", "--no-color"]
            ran = subprocess.run(
                [*command, *(part for flag in flags.items() for part in flag)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
            assert "7 selected / 7 total" in ran.stdout
            answered = 'regimes_server_requests_total{route="/forecast",status="200"}'
            assert server.metric(answered, auth=("", KEY)) > 0


def post(server: Client, body: bytes) -> requests.Response:
    return server.session.post(f"{server.url}/forecast", data=body, headers={"Content-Type": "application/json"})


def forecast_or_refusal(server: Client, content: Any) -> Any:
    """The forecast, or None if the request is refused."""
    answer = post(server, json.dumps(content).encode())
    assert answer.status_code in (200, 422), answer.text
    return answer.json() if answer.ok else None


@given(body=st.binary() | st.text().map(str.encode))
def test_random_bytes_are_refused(server: Client, body: bytes) -> None:
    assert post(server, body).status_code == 422


_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["regime", "features", "candles", "batch"]), inner),
)


@given(content=_ANY_JSON)
def test_invalid_json_content_is_refused_with_its_location(server: Client, content: Any) -> None:
    answer = post(server, json.dumps(content).encode())
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert len(answer.content) < 10_000


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_too_large_for_a_float_is_refused(server: Client, digits: int) -> None:
    assert post(server, b'{"regime": 2, "features": [[' + b"9" * digits + b"]]}").status_code == 422


_ROWS = st.lists(st.lists(st.floats(), min_size=5, max_size=5), min_size=6, max_size=9)


@given(regime=st.integers(0, 99), features=_ROWS)
def test_any_numbers_in_a_window_give_a_finite_forecast_or_a_refusal(
    server: Client, regime: int, features: list[list[float]]
) -> None:
    result = forecast_or_refusal(server, {"regime": regime, "features": features})
    if result is not None:
        assert math.isfinite(result["log_return"])
    tame = all(abs(value) < 1e6 for row in features for value in row)  # false for NaN
    assert result is not None or not tame


_PLACES = st.dictionaries(
    st.tuples(st.integers(0, 147), st.sampled_from(["open", "high", "low", "close", "volume", "timestamp"])),
    st.floats() | st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
    max_size=4,
)
_SIZES = st.sampled_from([1e-300, 1e-5, 1.0, 1e5, 1e300])


@given(places=_PLACES, size=_SIZES)
def test_any_values_in_candles_give_a_forecast_with_its_regime_or_neither_or_a_refusal(
    server: Client, forecaster: Forecaster, candles: pd.DataFrame, places: dict[tuple[int, str], Any], size: float
) -> None:
    given_candles = candles.iloc[-(forecaster.lookback + 1) :].copy()
    given_candles[["open", "high", "low", "close"]] *= size
    rows = as_json(given_candles)
    for (row, name), value in places.items():
        rows[row][name] = value
    result = forecast_or_refusal(server, {"candles": rows})
    if result is None:
        assert places
    elif result["reason"]:
        assert (result["regime"], result["log_return"]) == (None, None)
    else:
        assert math.isfinite(result["log_return"])
        assert sum(result["probabilities"].values()) == pytest.approx(1)
