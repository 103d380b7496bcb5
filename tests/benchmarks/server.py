"""How many requests a second does the model server answer, and a bare FastAPI route with the same bodies?

A server process, and two client processes with four connections each that ask as soon as they have an answer: on two
cores they share both. Windows go over all lengths that a pass has; candles are just as many as a forecast needs.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from tests.benchmarks.comparison import Figure
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    import pandas as pd

    from models.forecaster import Forecaster
    from tests.benchmarks.subject import Subject

_SECONDS, _WARM_UP, _ROUNDS = 3.0, 0.5, 2
_CLIENTS, _CONNECTIONS = 2, 4

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
def serving(serve: Callable[..., None], *arguments: object) -> Iterator[int]:
    """A server process; the block gets its port."""
    fresh = multiprocessing.get_context("spawn")
    ports, stop = fresh.Queue(), fresh.Event()
    process = fresh.Process(target=serve, args=(*arguments, ports, stop))
    process.start()
    try:
        yield ports.get(timeout=PATIENCE_S)
    finally:
        stop.set()
        process.join()


def _ask(port: int, bodies: list[bytes], took: Any) -> None:
    async def ask_on_all() -> list[list[float]]:
        return await asyncio.gather(*(_ask_on_one(port, bodies) for _ in range(_CONNECTIONS)))

    took.put([one for some in uvloop.run(ask_on_all()) for one in some])


async def _ask_on_one(port: int, bodies: list[bytes]) -> list[float]:
    """Seconds that each request took, those of the warm-up left out."""
    head = "POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    requests = [head.format(len(body)).encode() + body for body in bodies]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took, begin = [], time.perf_counter()
    for request in cycle(requests):
        asked = time.perf_counter()
        if asked - begin > _WARM_UP + _SECONDS:
            break
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        if asked - begin > _WARM_UP:
            took.append(time.perf_counter() - asked)
    writer.close()
    return took


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
        serving(_serve_forecasts, subject.models.save(trained)) as port,
        serving(_serve_bare) as bare,
    ):
        rounds = {
            kind: [(measure(port, bodies), measure(bare, bodies)) for _ in range(_ROUNDS)]
            for kind, bodies in asked.items()
        }
    return [_figure(kind, pairs) for kind, pairs in rounds.items()]


def _figure(kind: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> Figure:
    ours, bare = (median(len(pair[place]) for pair in pairs) / _SECONDS for place in (0, 1))
    slow = 1000 * median(float(np.quantile(pair[0], 0.99)) for pair in pairs)
    told = f"{ours:,.0f} a second, 99 of 100 under {slow:.1f} ms; bare: {bare:,.0f} a second"
    ratio = median(len(mine) / len(its) for mine, its in pairs)
    return Figure(f"requests a second: {kind}", ratio, told=told, peer="a bare FastAPI route")
