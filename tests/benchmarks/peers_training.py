"""Training, against a tutorial's loop, skorch and neuralforecast, and how many cores it uses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from models.network import one_thread
from tests.benchmarks.comparison import (
    CORES,
    REGIMES,
    Comparison,
    Cost,
    Figure,
    Peer,
    at_least,
    at_most,
    cost_of,
    cost_of_command,
)
from tests.benchmarks.subject import Subject, many_candles, write_csv
from tests.benchmarks.tutorial import TutorialLSTM, train_network, windows
from training.fit import fit_network
from training.prepare import NetworkData, prepare
from training.settings import SharedSettings, TrainSettings
from training.trainer import network_tasks, train

# In an environment of its own, because its packages change what pandas imports.
_NEURALFORECAST = Path("build/neuralforecast/bin/python").absolute()
_PEER = Path(__file__).with_name("peer_neuralforecast.py")
_EPOCHS = 5
_BUSY = 0.9  # share of the cores


def figures(subject: Subject) -> list[Figure]:
    return [*_whole_training(subject), *_epochs(subject), *_beside_busy_process(subject), *_busy_cores(subject)]


def _whole_training(subject: Subject) -> list[Figure]:
    """Everything that `train` does, with five members, and the tutorial's loop for the experts alone."""
    tasks = network_tasks(subject.prepared).items()
    experts = [task.data for member, task in tasks if member.regime in subject.prepared.detector.regimes]

    def tutorial() -> None:
        for data in experts:
            train_network(data.inputs, data.target, data.samples.train, data.samples.validation, seed=0)

    peers = {"the tutorial's loop, one network per regime": Peer(tutorial, at_most(1))}
    ours = partial(train, subject.candles, subject.name)
    return Comparison("train: all networks, five members", ours, peers, rounds=3, warm=False).figures()


def _epochs(subject: Subject) -> list[Figure]:
    """An epoch of the all-regimes network, validation included; network, batch size and learning rate are equal."""
    data, settings = subject.prepared.networks[None], TrainSettings(members=1, stride=1)
    sliding = prepare(subject.candles, subject.name, settings, detector=subject.prepared.detector).networks[None]
    peers = {
        "ours with one window per bar": Peer(partial(_fit, sliding)),
        f"skorch {version('skorch')}": Peer(_with_skorch(data)),
    }
    with TemporaryDirectory() as folder:
        if _NEURALFORECAST.exists():
            number, run = _with_neuralforecast(subject, data, Path(folder))
            peers[f"neuralforecast {number}"] = Peer(run)
        return Comparison("an epoch", partial(_fit, data), peers, rounds=3, times=_EPOCHS).figures()


def _fit(data: NetworkData) -> None:
    with one_thread():
        fit_network(data, SharedSettings(epochs=_EPOCHS, patience=_EPOCHS), seed=0, on_epoch=lambda epoch, loss: None)


def _with_skorch(data: NetworkData) -> Callable[[], object]:
    from skorch import NeuralNetRegressor
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    train_part, validation = (
        windows(data.inputs, data.target, bars) for bars in (data.samples.train, data.samples.validation)
    )
    network = NeuralNetRegressor(
        TutorialLSTM,
        module__n_features=data.inputs.shape[1],
        max_epochs=_EPOCHS,
        batch_size=data.settings.batch_size,
        lr=data.settings.lr,
        optimizer=torch.optim.Adam,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(*validation)),
        verbose=0,
    )
    return partial(network.fit, *train_part)


def _with_neuralforecast(subject: Subject, data: NetworkData, folder: Path) -> tuple[str, Callable[[], Cost]]:
    """Its version, and a training in its own environment, whose costs are those of its ``fit``."""
    seen = slice(data.samples.train[0] - 19, data.samples.validation[-1] + 1)
    np.savez(
        folder / "data.npz",
        features=data.inputs[seen],
        target=data.target[seen],
        time=subject.candles.index[seen].tz_convert(None).to_numpy(),
        n_validation=len(data.samples.validation),
    )
    settings = {"epochs": _EPOCHS, **data.settings.model_dump(include={"batch_size", "lr", "window"})}
    settings |= data.settings.model_dump(include={"hidden_dim", "num_layers"})

    def run() -> dict[str, Any]:
        command = [str(_NEURALFORECAST), str(_PEER), str(folder / "data.npz"), json.dumps(settings)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
        return json.loads(ran.stdout.splitlines()[-1])

    def cost() -> Cost:
        answer = run()
        return Cost(answer["cpu"], answer["wall"])

    return run()["version"], cost


def _beside_busy_process(subject: Subject) -> list[Figure]:
    alone = partial(train, subject.candles, subject.name, TrainSettings(members=1))

    def beside() -> Cost:
        with _busy_process():
            return cost_of(alone)

    what = "train, one member, beside a busy process"
    return Comparison(what, beside, {"alone": Peer(alone, at_most(2))}, rounds=3, warm=False).figures()


@contextmanager
def _busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _busy_cores(subject: Subject) -> list[Figure]:
    """Cores that the commands keep busy: CPU time over elapsed time, start and report included."""
    with TemporaryDirectory() as folder:
        csv = Path(folder) / "data" / "csv"
        write_csv(subject.candles, csv / f"{subject.name}.csv")
        fold = ("--train-bars", "3000", "--test-bars", "500")
        walk_forward = cost_of_command(REGIMES, "walk-forward", subject.name, *fold, "--workspace", folder)
        many = many_candles(24_000)
        names = [f"PART{number}" for number in range(8)]
        for number, name in enumerate(names):
            write_csv(many.iloc[3000 * number : 3000 * (number + 1)], csv / f"{name}.csv")
        training = cost_of_command(REGIMES, "train", *names, "--workspace", folder)
    return [
        _cores("walk-forward of 10 folds, five members", walk_forward),
        _cores("train on 8 CSVs of 3,000 bars, five members", training),
    ]


def _cores(what: str, cost: Cost) -> Figure:
    return Figure(what, cost.cpu / cost.wall, f"of {CORES} cores", at_least(_BUSY * CORES), str(cost))
