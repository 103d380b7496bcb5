"""Everything that one training run produced, in memory and on disk; nothing in it is pickled."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from data.errors import ModelSetError, did_you_mean
from data.files import latest_run, mark_latest, new_run_id, sha256_of, whole_folder, write_json
from data.notebook import result_html
from models import detectors  # noqa: F401  registers the built-in detectors
from models.lstm import RegimeLSTM
from models.regimes import RegimeDetector, find_detector, regime_name
from models.soundness import require_sound, require_weights_of

FORMAT_VERSION = 2
ALL_REGIMES = "all"


@dataclass(frozen=True)
class Expert:
    """A trained network with all that its forecast needs.

    Attributes
    ----------
    name
        The regime's name, or ``all`` for the network trained on every regime.
    features
        Feature names, in the order of the network's inputs (a feature may have several columns).
    mean, scale
        ``(n_columns,)`` of the training part: inputs are ``(feature - mean) / scale``.
    target_scale
        Log return per unit of the network's output.
    network
        In evaluation mode, float64, so that one bar alone and a thousand at once give the same forecast.
    hyperparameters
        ``window``, ``stride``, ``hidden_dim``, ``num_layers``, ``dropout``.
    training
        What happened in training: losses per epoch, sample counts, and why it fell back if it did.
    """

    name: str
    features: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    target_scale: float
    network: RegimeLSTM
    hyperparameters: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def window(self) -> int:
        return int(self.hyperparameters["window"])

    @property
    def stride(self) -> int:
        return int(self.hyperparameters["stride"])


@dataclass(frozen=True)
class ModelSet:
    """The experts, their regime detector and where they come from.

    Attributes
    ----------
    experts
        One per regime, by its number.
    all_regimes
        The network of the same shape trained on every regime: the baseline, and the answer in a regime without expert.
    interval
        Time between two bars of the training candles.
    validation_end
        Open time of the last bar that training or validation has seen; every later bar is unseen.
    min_confidence, min_dwell
        How a regime is held, see `models.regimes.likeliest_regime`.
    provenance
        Dataset fingerprint and range, split, settings, seed, versions, commit.
    """

    dataset: str
    experts: dict[int, Expert]
    all_regimes: Expert
    detector: RegimeDetector
    interval: pd.Timedelta
    validation_end: pd.Timestamp
    min_confidence: float = 0.0
    min_dwell: int = 1
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Its experts and how they learnt, a line each."""
        title, table, told = self._summary()
        return f"{title}\n{table.to_string(index=False, na_rep='-', float_format='{:.4f}'.format)}\n{told}"

    def _repr_html_(self) -> str:
        """Its experts and how they learnt, for a notebook."""
        title, table, told = self._summary()
        return result_html(title, table, [told])

    def _summary(self) -> tuple[str, pd.DataFrame, str]:
        """Title, a row an expert, and what the figures are."""
        rows = []
        for expert in [*self.experts.values(), self.all_regimes]:
            windows, losses = (expert.training.get(name, {}) for name in ("windows", "relative_loss"))
            of_parts = {f"{part} loss": losses.get(part) for part in ("train", "validation", "test")}
            shape = {name: expert.hyperparameters.get(name) for name in ("window", "hidden_dim", "num_layers")}
            rows.append({"regime": expert.name, **shape, "training windows": windows.get("train"), **of_parts})
        title = f"{self.dataset}: detector {self.detector.name}, unseen bars after {self.validation_end:%Y-%m-%d %H:%M}"
        told = "Losses are squared errors relative to the zero forecast's: below 1 is better."
        return title, pd.DataFrame(rows), told

    def save(self, trained: str | Path) -> Path:
        """Write the set to ``<trained>/<dataset>/<run>/`` and name it in ``latest`` there; gives the folder."""
        folder = Path(trained) / self.dataset / new_run_id()
        self.write(folder)
        mark_latest(folder)
        return folder

    def write(self, folder: Path) -> None:
        """Write the set to a folder that is not there yet, whole or not at all."""
        with whole_folder(folder) as draft:
            files = {}
            for expert in [*self.experts.values(), self.all_regimes]:
                weights = draft / f"{self.dataset}_{expert.name}.pt"
                with weights.open("wb") as file:  # given a path, torch says of a full disk "unexpected pos"
                    torch.save({key: value.float() for key, value in expert.network.state_dict().items()}, file)
                description = draft / f"LSTM_{self.dataset}_{expert.name}.json"
                write_json(description, _describe(expert, sha256_of(weights)))
                files[description.name] = sha256_of(description)
            detector = draft / "detector.json"
            write_json(detector, {"detector": self.detector.name, "parameters": self.detector.parameters()})
            files[detector.name] = sha256_of(detector)
            manifest = {
                "format_version": FORMAT_VERSION,
                "dataset": self.dataset,
                "regimes": {expert.name: regime for regime, expert in self.experts.items()},
                "interval_seconds": self.interval.total_seconds(),
                "validation_end": self.validation_end.isoformat(),
                "min_confidence": self.min_confidence,
                "min_dwell": self.min_dwell,
                "provenance": self.provenance,
                "sha256": files,
            }
            write_json(draft / "model_set.json", {**manifest, "content_sha256": _content_hash(manifest)})

    @classmethod
    def load(cls, path: str | Path) -> ModelSet:
        """Read a set from its run folder, or the newest one from a dataset's folder.

        Raises
        ------
        ModelSetError
            If anything is missing, changed since it was written, of a newer format or of other shapes.
        """
        folder = find_model_set(path)
        manifest = _read_json(folder / "model_set.json")
        if manifest.get("format_version") != FORMAT_VERSION:
            raise ModelSetError(
                f"{folder}: has format {manifest.get('format_version')}, this version reads {FORMAT_VERSION}. "
                "Train again, or use the version that wrote it."
            )
        if manifest.pop("content_sha256", None) != _content_hash(manifest):
            raise ModelSetError(f"{folder / 'model_set.json'}: has changed since it was written. Train again.")
        try:
            dataset = manifest["dataset"]
            if Path(dataset).name != dataset:
                raise ValueError(f"dataset is {dataset}, which is no name")
            if any(name != regime_name(regime) for name, regime in manifest["regimes"].items()):
                raise ValueError(f"regimes are {manifest['regimes']}")
            for name, expected in manifest["sha256"].items():
                _require_hash(folder / name, expected)
            experts = {regime: _load_expert(folder, dataset, name) for name, regime in manifest["regimes"].items()}
            detector = _read_json(folder / "detector.json")
            loaded = cls(
                dataset=dataset,
                experts=experts,
                all_regimes=_load_expert(folder, dataset, ALL_REGIMES),
                detector=find_detector(detector["detector"]).from_parameters(detector["parameters"]),
                interval=pd.Timedelta(seconds=manifest["interval_seconds"]),
                validation_end=pd.Timestamp(manifest["validation_end"]),
                min_confidence=manifest["min_confidence"],
                min_dwell=manifest["min_dwell"],
                provenance=manifest["provenance"],
            )
            require_sound(loaded)
            return loaded
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
            raise ModelSetError(
                f"{folder}: its JSON files do not describe a model set ({error!r}). Train again."
            ) from error


def find_model_set(path: str | Path) -> Path:
    """The folder of one model set: ``path`` itself, or the newest run inside it."""
    path = Path(path)
    if (path / "model_set.json").is_file():
        return path
    newest = latest_run(path) if path.is_dir() else None
    if newest is None:
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = did_you_mean(path.name, (folder.name for folder in beside if folder.is_dir() and folder != path))
        raise ModelSetError(f"{path}: there is no model set. Train one: regimes train FILE.csv.{near}")
    return newest


def expert_name(regime: int | None) -> str:
    return ALL_REGIMES if regime is None else regime_name(regime)


def _describe(expert: Expert, weights_sha256: str) -> dict[str, Any]:
    return {
        "regime": expert.name,
        "features": list(expert.features),
        "hyperparameters": expert.hyperparameters,
        "scaler": {"mean": expert.mean.tolist(), "scale": expert.scale.tolist()},
        "target_scale": expert.target_scale,
        "training": expert.training,
        "sha256": weights_sha256,
    }


def _load_expert(folder: Path, dataset: str, name: str) -> Expert:
    described = _read_json(folder / f"LSTM_{dataset}_{name}.json")
    weights = folder / f"{dataset}_{name}.pt"
    _require_hash(weights, described["sha256"])
    shape = {key: value for key, value in described["hyperparameters"].items() if key not in ("window", "stride")}
    mean, scale = (np.array(described["scaler"][key], dtype=float) for key in ("mean", "scale"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of a foreign pickle before it refuses it
            state = torch.load(weights, weights_only=True, map_location="cpu")
        require_weights_of(shape, state)
        network = RegimeLSTM(n_features=len(mean), **shape)
        network.load_state_dict(state)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelSetError(f"{weights}: holds no weights of this network ({reason}). Train again.") from error
    return Expert(
        name=name,
        features=tuple(described["features"]),
        mean=mean,
        scale=scale,
        target_scale=float(described["target_scale"]),
        network=network.double().eval(),
        hyperparameters=described["hyperparameters"],
        training=described["training"],
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelSetError(f"{path}: is missing from the model set. Train again.") from None
    except OSError as error:
        raise ModelSetError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ModelSetError(f"{path}: is no JSON ({error}). Train again.") from error
    if not isinstance(content, dict):
        raise ModelSetError(f"{path}: holds no JSON object. Train again.")
    return content


def _content_hash(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _require_hash(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelSetError(f"{path}: is missing from the model set. Train again.")
    if sha256_of(path) != expected:
        raise ModelSetError(f"{path}: has changed since it was written (its sha256 differs). Train again.")
