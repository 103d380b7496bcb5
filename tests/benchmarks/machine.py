"""The machine: what it is, its limits, and how far a training is from them."""

from __future__ import annotations

import datetime as dt
import platform
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from models.network import one_thread
from tests.benchmarks.comparison import CORES, Figure, cost_of
from tests.benchmarks.subject import Subject
from training.fit import fit_network
from training.prepare import NetworkData
from training.provenance import package_versions
from training.settings import NetworkSettings, SharedSettings

_SIZE, _REPETITIONS = 2048, 5  # of the matrices
_COPIED = 512 * 2**20  # bytes, far more than any cache holds
_EPOCHS = 5
_PEERS = ("numba", "polars", "skorch", "backtesting", "vectorbt")


def description() -> dict[str, str]:
    """The processor, its cores and memory, the versions and the date."""
    processor = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": str(CORES),
        "memory": f"{int(memory[1]) * 1024 / 1e9:.0f} GB" if memory else "unknown",
        "versions": ", ".join(f"{name} {number}" for name, number in _versions().items()),
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
    }


def _versions() -> dict[str, str]:
    found = package_versions()
    for name in _PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def figures(subject: Subject) -> list[Figure]:
    peaks = {
        (name, threads): _gemm(kind, threads)
        for name, kind in (("float32", torch.float32), ("float64", torch.float64))
        for threads in (1, 2)
    }
    data = subject.prepared.networks[None]
    reached = _training(data)
    share = 100 * reached / peaks["float32", 1]
    told = f"{share:.0f} % of the matrix product's on one thread"
    return [
        *(
            Figure(f"matrix product, {name}, {threads} thread{'s' * (threads > 1)}", peak, "GFLOP/s")
            for (name, threads), peak in peaks.items()
        ),
        Figure(f"copy of {_COPIED // 2**20} MiB, read and written", _bandwidth(), "GB/s"),
        Figure("training of one network, one thread", reached, "GFLOP/s", told=told),
    ]


def _best(run: Callable[[], object]) -> float:
    run()
    return min(cost_of(run).wall for _ in range(_REPETITIONS))


def _gemm(kind: torch.dtype, threads: int) -> float:
    one, other = torch.rand((2, _SIZE, _SIZE), dtype=kind)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    seconds = _best(lambda: one @ other)
    torch.set_num_threads(before)
    return 2 * _SIZE**3 / seconds / 1e9


def _bandwidth() -> float:
    source, copied = np.ones(_COPIED // 8), np.empty(_COPIED // 8)
    return 2 * _COPIED / _best(lambda: np.copyto(copied, source)) / 1e9


def _training(data: NetworkData) -> float:
    """GFLOP per CPU second of the LSTM layers in an epoch; a backward pass counts as two forward passes."""

    def run() -> None:
        with one_thread():
            fit_network(data, SharedSettings(epochs=_EPOCHS, patience=_EPOCHS), seed=0, on_epoch=lambda *_: None)

    cpu = cost_of(run).cpu
    per_bar = flops_per_bar(data.inputs.shape[1], data.settings)
    read = [
        len(data.passes.places(bars).first) * data.passes.length
        for bars in (data.samples.train, data.samples.validation)
    ]
    return _EPOCHS * per_bar * (3 * read[0] + read[1]) / cpu / 1e9


def flops_per_bar(n_features: int, settings: NetworkSettings) -> int:
    """Of a forward pass: per layer four gates, each a product of width x (input + width)."""
    hidden = settings.hidden_dim
    inputs = [n_features, *[hidden] * (settings.num_layers - 1)]
    return sum(2 * 4 * hidden * (width + hidden) for width in inputs)
