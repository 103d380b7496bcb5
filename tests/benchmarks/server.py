"""How many requests a second does the model server answer, and a bare FastAPI route with the same bodies?

A server process, and two client processes with four connections each that ask as soon as they have an answer: on two
cores they share both. Windows go over all lengths that a pass has; candles are just as many as a forecast needs.

Under load, 256 connections ask for 30 s: each request is answered, if only with 429 or 503, and memory stays bounded.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import uvloop

from tests.benchmarks.comparison import Figure, at_most
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    import pandas as pd

    from models.forecaster import Forecaster
    from tests.benchmarks.subject import Subject

_SECONDS, _WARM_UP, _ROUNDS = 3.0, 0.5, 2
_CLIENTS, _CONNECTIONS = 2, 4
_LOAD_SECONDS, _LOAD_CONNECTIONS, _LOAD_MEMORY = 30.0, 256, 100  # MB more than before
_ANSWERS_UNDER_LOAD = {"200", "429", "503"}
_HEAD = "POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"

Asked = dict[str, list[bytes]]  # bodies of each kind


def what_to_ask(candles: pd.DataFrame, forecaster: Forecaster) -> Asked:
    """Bodies out of real candles and features."""
    from data.features import compute_features
    from models.network import pass_length

    expert = forecaster.model_set.all_regimes
    values = compute_features(candles, expert.features).to_numpy()
    lengths = range(expert.window, pass_length(expert.window, expert.stride) + 1)
    windows = [
        {"regime": number % 3, "features": values[-length - number : len(values) - number].tolist()}
        for number, length in enumerate(lengths)
    ]
    rows = [{"timestamp": time.isoformat(), **row.to_dict()} for time, row in candles.iterrows()]
    needed = forecaster.lookback + 1
    candle_sets = [{"candles": rows[end - needed : end]} for end in range(len(rows) - 10, len(rows))]
    return {
        "windows": [json.dumps(one).encode() for one in windows],
        "64 windows": [json.dumps({"batch": [windows[n % len(windows)] for n in range(64)]}).encode()],
        "candles": [json.dumps(one).encode() for one in candle_sets],
    }


def _serve_forecasts(folder: Path, ports: Any, stop: Any) -> None:
    from runners.live.server import Server
    from runners.live.services.model_reloader import ModelReloader

    server = Server(ModelReloader(folder), None, port=0)
    ending = threading.Event()
    thread = threading.Thread(target=server.run, args=(ending,))
    thread.start()
    server.started.wait()
    ports.put(server.port)
    stop.wait()
    ending.set()
    thread.join()


def _serve_bare(ports: Any, stop: Any) -> None:
    """A route that reads the body as JSON and answers with one number."""
    import uvicorn
    from fastapi import Body, FastAPI

    app = FastAPI()

    @app.post("/forecast")
    async def forecast(body: Any = Body()) -> dict[str, int]:  # noqa: B008
        return {"entries": len(body)}

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, loop="uvloop", http="httptools", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    ports.put(listener.getsockname()[1])
    stop.wait()
    server.should_exit = True
    thread.join()


@contextmanager
def serving(serve: Callable[..., None], *arguments: object) -> Iterator[tuple[int, psutil.Process]]:
    """A server process; the block gets its port and the process."""
    fresh = multiprocessing.get_context("spawn")
    ports, stop = fresh.Queue(), fresh.Event()
    process = fresh.Process(target=serve, args=(*arguments, ports, stop))
    process.start()
    try:
        yield ports.get(timeout=PATIENCE_S), psutil.Process(process.pid)
    finally:
        stop.set()
        process.join()


def _ask(port: int, bodies: list[bytes], took: Any) -> None:
    async def ask_on_all() -> list[list[float]]:
        return await asyncio.gather(*(_ask_on_one(port, bodies) for _ in range(_CONNECTIONS)))

    took.put([one for some in uvloop.run(ask_on_all()) for one in some])


async def _ask_on_one(port: int, bodies: list[bytes]) -> list[float]:
    """Seconds that each request took, those of the warm-up left out."""
    requests = [_HEAD.format(len(body)).encode() + body for body in bodies]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took, begin = [], time.perf_counter()
    for request in cycle(requests):
        asked = time.perf_counter()
        if asked - begin > _WARM_UP + _SECONDS:
            break
        writer.write(request)
        status = await _read_answer(reader)
        assert status == "200", status
        if asked - begin > _WARM_UP:
            took.append(time.perf_counter() - asked)
    writer.close()
    return took


async def _read_answer(reader: asyncio.StreamReader) -> str:
    """The status of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return head.split(maxsplit=2)[1].decode()


async def _load(port: int, body: bytes) -> Counter[str]:
    """Statuses of all answers, and the errors of connections, of clients that ask as soon as they have an answer."""
    counted, end = Counter[str](), time.monotonic() + _LOAD_SECONDS

    async def ask_until_the_end() -> None:
        while time.monotonic() < end:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while time.monotonic() < end:
                    writer.write(_HEAD.format(len(body)).encode() + body)
                    counted[await _read_answer(reader)] += 1
                writer.close()
            except (OSError, asyncio.IncompleteReadError) as error:
                counted[type(error).__name__] += 1

    await asyncio.gather(*(ask_until_the_end() for _ in range(_LOAD_CONNECTIONS)))
    return counted


def figures_under_load(port: int, process: psutil.Process, body: bytes) -> list[Figure]:
    before, largest, done = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.1):
            largest = max(largest, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    counted = uvloop.run(_load(port, body))
    done.set()
    watching.join()
    errors = sum(count for status, count in counted.items() if status not in _ANSWERS_UNDER_LOAD)
    what = f"{_LOAD_CONNECTIONS} connections for {_LOAD_SECONDS:.0f} s"
    told = ", ".join(f"{count:,} x {status}" for status, count in sorted(counted.items()))
    grown = (largest - before) / 1e6
    return [
        Figure(f"{what}: errors other than 429 and 503", errors, must=at_most(0), told=told),
        Figure(f"{what}: growth of memory", grown, "MB", at_most(_LOAD_MEMORY), f"from {before / 1e6:.0f} MB"),
    ]


def measure(port: int, bodies: list[bytes]) -> np.ndarray:
    """Seconds of every request, of all clients."""
    fresh = multiprocessing.get_context("spawn")
    took = fresh.Queue()
    clients = [fresh.Process(target=_ask, args=(port, bodies, took)) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    seconds_of = np.concatenate([took.get() for _ in clients])
    for client in clients:
        client.join()
    return seconds_of


def figures(subject: Subject) -> list[Figure]:
    from models.forecaster import Forecaster

    asked = what_to_ask(subject.candles.iloc[-4000:], Forecaster(subject.models))
    with (
        TemporaryDirectory() as trained,
        serving(_serve_forecasts, subject.models.save(trained)) as (port, process),
        serving(_serve_bare) as (bare, _),
    ):
        rounds = {
            kind: [(measure(port, bodies), measure(bare, bodies)) for _ in range(_ROUNDS)]
            for kind, bodies in asked.items()
        }
        under_load = figures_under_load(port, process, asked["candles"][0])
    return [*(_figure(kind, pairs) for kind, pairs in rounds.items()), *under_load]


def _figure(kind: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> Figure:
    ours, bare = (median(len(pair[place]) for pair in pairs) / _SECONDS for place in (0, 1))
    slow = 1000 * median(float(np.quantile(pair[0], 0.99)) for pair in pairs)
    told = f"{ours:,.0f} a second, 99 of 100 under {slow:.1f} ms; bare: {bare:,.0f} a second"
    ratio = median(len(mine) / len(its) for mine, its in pairs)
    return Figure(f"requests a second: {kind}", ratio, told=told, peer="a bare FastAPI route")
