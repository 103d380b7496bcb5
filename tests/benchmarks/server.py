"""How many forecasts a second does the model server give, and how soon? ``python -m tests.benchmarks.server``

A server process, and two client processes with four connections each that ask as soon as they have an answer: on two
cores they share both. Windows go over all lengths that a pass has; candles are just as many as a forecast needs.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from data.features import compute_features
from data.synthetic import VISIBLE
from models.forecaster import Forecaster
from models.network import pass_length
from tests.benchmarks.measures import Measure
from tests.patience import PATIENCE_S
from training import train

_SECONDS, _WARM_UP = 10.0, 1.0
_CLIENTS, _CONNECTIONS = 2, 4

Asked = dict[str, list[bytes]]  # bodies of each kind


def what_to_ask(candles: pd.DataFrame, forecaster: Forecaster) -> Asked:
    """Bodies out of real candles and features."""
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


def _serve(folder: Path, ports: Any, stop: Any) -> None:
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


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """A server process; the block gets its port."""
    fresh = multiprocessing.get_context("spawn")
    ports, stop = fresh.Queue(), fresh.Event()
    process = fresh.Process(target=_serve, args=(folder, ports, stop))
    process.start()
    try:
        yield ports.get(timeout=PATIENCE_S)
    finally:
        stop.set()
        process.join()


def _ask(port: int, bodies: list[bytes], seconds: float, took: Any) -> None:
    async def ask_on_all() -> list[list[float]]:
        return await asyncio.gather(*(_ask_on_one(port, bodies, seconds) for _ in range(_CONNECTIONS)))

    took.put([one for some in uvloop.run(ask_on_all()) for one in some])


async def _ask_on_one(port: int, bodies: list[bytes], seconds: float) -> list[float]:
    """Seconds that each request took, those of the warm-up left out."""
    head = "POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    requests = [head.format(len(body)).encode() + body for body in bodies]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took, begin = [], time.perf_counter()
    for request in cycle(requests):
        asked = time.perf_counter()
        if asked - begin > _WARM_UP + seconds:
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


def measure(port: int, bodies: list[bytes], seconds: float = _SECONDS) -> np.ndarray:
    """Seconds of every request, of all clients."""
    fresh = multiprocessing.get_context("spawn")
    took = fresh.Queue()
    clients = [fresh.Process(target=_ask, args=(port, bodies, seconds, took)) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    seconds_of = np.concatenate([took.get() for _ in clients])
    for client in clients:
        client.join()
    return seconds_of


def server_measures(seconds: float = _SECONDS) -> list[Measure]:
    candles = VISIBLE.candles(4000, seed=1).drop(columns="regime")
    models = train(candles, "PLANTED")
    with TemporaryDirectory() as trained, serving(models.save(trained)) as port:
        took = {
            kind: measure(port, bodies, seconds) for kind, bodies in what_to_ask(candles, Forecaster(models)).items()
        }
    bounds = {"windows": (500, 1000, 20, 10), "64 windows": (20, 50, 500, 200), "candles": (50, 150, 500, 100)}
    found = []
    for kind, (rate, rate_aim, slow, slow_aim) in bounds.items():
        p50, p99 = 1000 * np.quantile(took[kind], [0.5, 0.99])
        per_second, told = len(took[kind]) / seconds, f"half under {p50:.1f} ms"
        found.append(Measure(f"POST /forecast: {kind}", per_second, "a second", rate, rate_aim, told, True))
        found.append(Measure("99 of 100 under", float(p99), "ms", slow, slow_aim))
    return found


def main() -> None:
    before = os.getloadavg()[0]
    table = Table("", "measured", "must", "aim", "", box=SIMPLE_HEAD)
    for one in server_measures():
        at = ">=" if one.more_is_better else "<="
        what = f"{one.what}\n[dim]  {one.told}[/dim]" if one.told else one.what
        table.add_row(what, f"{one.value:.4g} {one.unit}", f"{at} {one.must:g}", f"{one.aim:g}", one.verdict)
    Console().print(table)
    print(f"load before: {before:.2f}")


if __name__ == "__main__":
    sys.exit(main())
