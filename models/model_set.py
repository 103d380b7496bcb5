"""A model set, the result of one training: its experts and detector, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from data.errors import DamagedFileError, ModelSetError, did_you_mean
from data.features import columns_of
from data.files import (
    latest_run,
    mark_latest,
    new_run_id,
    read_json,
    require_dataset_name,
    require_size,
    require_unchanged,
    sha256_of,
    whole_folder,
    write_json,
)
from data.intervals import bars_per_year_of
from data.notebook import result_html
from models import detectors  # noqa: F401  registers the built-in detectors
from models.density import BASE, DENSITY, Correction, Density, DensityLSTM
from models.expert import ALL_REGIMES, Expert, member_names
from models.files import (
    FORMAT_VERSION,
    READABLE_VERSIONS,
    DensityFile,
    DetectorAttributes,
    DetectorFile,
    ExpertFile,
    Hyperparameters,
    ManifestFile,
    NetworksFile,
)
from models.network import RegimeLSTM
from models.own_code import require_same_code
from models.provenance import Provenance
from models.regime_returns import UNKNOWN_RETURNS, RegimeReturns
from models.regimes import RegimeDetector, find_detector, regime_name, regime_number
from models.shrinkage import Shrinkage

_MANIFEST, _DETECTOR = "model_set.json", "detector.json"
_BYTES_PER_TENSOR = 4096  # that a file of weights has beside its numbers, at most
NetworkKind = TypeVar("NetworkKind", bound=RegimeLSTM)
_PICKLE_ERRORS = (pickle.UnpicklingError, zipfile.BadZipFile, EOFError)


@dataclass(frozen=True)
class ModelSet:
    """The experts, their regime detector and their provenance.

    Attributes
    ----------
    experts
        One per regime, by its number.
    all_regimes
        The network trained on every regime: the baseline, and the fallback in a regime without expert.
    interval
        Bar interval of the training candles.
    validation_end
        Open time of the last bar of training and validation; every later bar is unseen.
    min_confidence, min_dwell
        See `models.regimes.likeliest_regime`.
    shrinkage
        Weights for ``shrinkage = "learnt"``; None in a set of an earlier version.
    regime_returns
        Next-bar returns by regime in the training part; without figures in a set of an earlier version.
    density
        The predictive density; None without one, as in a set of an earlier version.
    """

    dataset: str
    experts: dict[int, Expert]
    all_regimes: Expert
    detector: RegimeDetector
    interval: pd.Timedelta
    validation_end: pd.Timestamp
    provenance: Provenance
    min_confidence: float = 0.0
    min_dwell: int = 1
    shrinkage: Shrinkage | None = None
    regime_returns: RegimeReturns = UNKNOWN_RETURNS
    density: Density | None = None

    @property
    def n_members(self) -> int:
        """Number of networks of each expert."""
        return len(self.all_regimes.networks)

    @property
    def bars_per_year(self) -> float:
        """Of the training's candles."""
        known = self.provenance
        return bars_per_year_of(known.n_bars, known.first_bar, known.last_bar)

    @property
    def ensembles(self) -> list[Expert | Density]:
        """The experts, the all-regimes network, and the density if there is one."""
        return [*self.experts.values(), self.all_regimes, *([self.density] if self.density else [])]

    def __repr__(self) -> str:
        title, table, notes = self._summary()
        figures = table.to_string(index=False, na_rep="-", float_format="{:.4f}".format)
        return "\n".join([title, figures, *(fill(note, 100) for note in notes)])

    def _repr_html_(self) -> str:
        return result_html(*self._summary())

    def _summary(self) -> tuple[str, pd.DataFrame, list[str]]:
        """Title, a table with one row per expert, and notes on its figures and on the set."""
        rows = []
        for expert in [*self.experts.values(), self.all_regimes]:
            windows, losses = (expert.training.get(name, {}) for name in ("windows", "relative_loss"))
            by_part = {f"{part} loss": losses.get(part) for part in ("train", "validation")}
            network = expert.networks[0]
            shape = {"window": expert.window, "hidden_dim": network.hidden_dim, "num_layers": network.num_layers}
            name = self.regime_returns.label(expert.name)
            rows.append({"regime": name, **shape, "training windows": windows.get("train"), **by_part})
        title = f"{self.dataset}: detector {self.detector.name}, unseen bars after {self.validation_end:%Y-%m-%d %H:%M}"
        legend = "Losses are squared errors relative to the zero forecast's: below 1 is better."
        return title, pd.DataFrame(rows), [legend, *self.notes()]

    def expert_for(self, regime: int) -> Expert:
        """The expert of a regime; the all-regimes network where it has none."""
        return self.experts.get(regime, self.all_regimes)

    def notes(self) -> list[str]:
        """Whether the names of the regimes hold, and notes on single experts."""
        return [*self.regime_returns.notes(), *self.expert_notes()]

    def expert_notes(self) -> list[str]:
        """Notes on experts that use the all-regimes network, or were validated on training windows."""
        notes = []
        for expert in self.experts.values():
            if expert.training["fallback"]:
                notes.append(f"{expert.name} uses the all-regimes network: {expert.training['fallback']}.")
            elif expert.training["validation_part"] == "train":
                notes.append(
                    f"{expert.name} has too few windows in the validation part; its last training windows validate it."
                )
        return notes

    def save(self, trained: str | Path, *, promote: bool = True) -> Path:
        """Write the set to a new folder ``<trained>/<dataset>/<run>/`` and return it.

        ``promote`` names it in ``latest`` beside it, so that live services and the next commands use it.
        """
        require_dataset_name(self.dataset, "dataset")
        folder = Path(trained) / self.dataset / new_run_id()
        self.write(folder)
        if promote:
            mark_latest(folder)
        return folder

    def write(self, folder: Path) -> None:
        """Write the set to a new folder, atomically."""
        with whole_folder(folder) as draft:
            detector = draft / _DETECTOR
            written = [
                _write_expert(draft, self.dataset, expert) for expert in [*self.experts.values(), self.all_regimes]
            ]
            if self.density is not None:
                written.append(_write_density(draft, self.dataset, self.density))
            write_json(detector, {"detector": self.detector.name, "parameters": self.detector.parameters()})
            manifest = {
                "format_version": FORMAT_VERSION,
                "dataset": self.dataset,
                "regimes": {expert.name: regime for regime, expert in self.experts.items()},
                "interval_seconds": self.interval.total_seconds(),
                "validation_end": self.validation_end.isoformat(),
                "min_confidence": self.min_confidence,
                "min_dwell": self.min_dwell,
                "shrinkage": asdict(self.shrinkage) if self.shrinkage else None,
                "regime_returns": asdict(self.regime_returns),
                "provenance": self.provenance.to_dict(),
                "sha256": {path.name: sha256_of(path) for path in [*written, detector]},
            }
            write_json(draft / _MANIFEST, {**manifest, "content_sha256": _content_hash(manifest)})

    @classmethod
    def load(cls, path: str | Path) -> ModelSet:
        """Read a set from its folder, or the newest one from a dataset's folder.

        Raises
        ------
        ModelSetError
            If a file is missing, invalid, of another format, or has changed since it was written, or own code that the
            set depends on has changed.
        SettingsError
            If its detector is not registered.
        """
        folder = find_model_set(path)
        try:
            return cls._read(folder)
        except DamagedFileError as error:
            raise ModelSetError(f"{error} Restore the file, or train again.") from error

    @classmethod
    def _read(cls, folder: Path) -> ModelSet:
        manifest = _read_manifest(folder)
        require_same_code(manifest.provenance.code, folder)
        dataset, hashes = manifest.dataset, manifest.sha256
        experts = {regime: _read_expert(folder, dataset, name, hashes) for name, regime in manifest.regimes.items()}
        all_regimes = _read_expert(folder, dataset, ALL_REGIMES, hashes)
        for expert in experts.values():
            if len(expert.networks) != len(all_regimes.networks):
                raise DamagedFileError(f"{folder}: {expert.name} and {ALL_REGIMES} differ in their number of members.")
        return cls(
            dataset=dataset,
            experts=experts,
            all_regimes=all_regimes,
            detector=_read_detector(folder / _DETECTOR, hashes[_DETECTOR]),
            interval=pd.Timedelta(seconds=manifest.interval_seconds),
            validation_end=manifest.validation_end,
            min_confidence=manifest.min_confidence,
            min_dwell=manifest.min_dwell,
            shrinkage=manifest.shrinkage,
            regime_returns=manifest.regime_returns,
            provenance=manifest.provenance,
            density=_read_density(folder, dataset, hashes),
        )


def find_model_set(path: str | Path) -> Path:
    """The folder of one model set: ``path`` itself, or the newest run inside it."""
    path = Path(path)
    if (path / _MANIFEST).is_file():
        return path
    newest = latest_run(path) if path.is_dir() else None
    if newest is None:
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = did_you_mean(path.name, (folder.name for folder in beside if folder.is_dir() and folder != path))
        raise ModelSetError(f"{path}: there is no model set. Train one: regimes train FILE.csv.{near}")
    return newest


def _read_manifest(folder: Path) -> ManifestFile:
    path = folder / _MANIFEST
    content = read_json(path)
    if content.get("format_version") not in READABLE_VERSIONS:
        raise ModelSetError(
            f"{folder}: has format {content.get('format_version')}, this version reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}. Train again, or use the version that wrote it."
        )
    hashed = {name: value for name, value in content.items() if name != "content_sha256"}
    if content.get("content_sha256") != _content_hash(hashed):
        raise DamagedFileError(f"{path}: has changed since it was written.")
    manifest = ManifestFile.checked(content, path)
    if wrong := [name for name, regime in manifest.regimes.items() if name != regime_name(regime)]:
        raise DamagedFileError(f"{path}: regimes gives the name {wrong[0]!r} to another regime.")
    names = [*manifest.regimes, ALL_REGIMES]
    needed = [_DETECTOR, *(_expert_files(folder, manifest.dataset, name)[1].name for name in names)]
    if lacking := [name for name in needed if name not in manifest.sha256]:
        raise DamagedFileError(f"{path}: sha256 has no hash of {lacking[0]}.")
    return manifest


def _content_hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_detector(path: Path, sha256: str) -> RegimeDetector:
    content = DetectorFile.read(path, sha256)
    try:
        detector = find_detector(content.detector).from_parameters(content.parameters)
        _require_probabilities(detector, DetectorAttributes.checked(detector, path))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ModelSetError(f"{path}: invalid parameters of a detector ({error!r}). Train again.") from error
    return detector


def _require_probabilities(detector: RegimeDetector, attributes: DetectorAttributes) -> None:
    """Test the detector on random features: each bar's probabilities must sum to 1, or be NaN."""
    n_bars, n_columns = attributes.memory + 5, len(columns_of(attributes.features))
    with np.errstate(all="raise", under="ignore"):
        probabilities = detector.filter(np.random.default_rng(0).standard_normal((n_bars, n_columns)))
    known = probabilities[np.isfinite(probabilities).all(axis=1)]
    if probabilities.shape != (n_bars, len(attributes.regimes)) or (np.abs(known.sum(axis=1) - 1) >= 1e-6).any():
        raise ValueError("its output is not probabilities of its regimes")


def _expert_files(folder: Path, dataset: str, name: str) -> tuple[Path, Path]:
    """Paths of an expert's weights and its JSON file."""
    return folder / f"{dataset}_{name}.pt", folder / f"LSTM_{dataset}_{name}.json"


def _write_expert(folder: Path, dataset: str, expert: Expert) -> Path:
    """Write an expert's weights and its JSON file; returns the latter's path."""
    weights, path = _expert_files(folder, dataset, expert.name)
    content = {
        "regime": expert.name,
        **_write_networks(weights, expert),
        "target_scale": expert.target_scale,
        "training": expert.training,
        "sha256": sha256_of(weights),
    }
    write_json(path, content)
    return path


def _write_density(folder: Path, dataset: str, density: Density) -> Path:
    """Write the density's weights and its JSON file; returns the latter's path."""
    weights, path = _expert_files(folder, dataset, DENSITY)
    content = {
        **_write_networks(weights, density),
        "corrections": {regime_name(regime): one._asdict() for regime, one in density.corrections.items()},
        "training": density.training,
        "sha256": sha256_of(weights),
    }
    write_json(path, content)
    return path


def _write_networks(weights: Path, ensemble: Expert | Density) -> dict[str, Any]:
    """Write an ensemble's weights; returns the fields of its JSON file that describe its networks.

    The weights of one member are its state dict; those of several are their state dicts by `member_names`.
    """
    network, n_members = ensemble.networks[0], len(ensemble.networks)
    states = [{key: value.float() for key, value in one.state_dict().items()} for one in ensemble.networks]
    with weights.open("wb") as file:  # given a path, torch reports a full disk as "unexpected pos"
        torch.save(states[0] if n_members == 1 else dict(zip(member_names(n_members), states, strict=True)), file)
    return {
        "features": list(ensemble.features),
        "hyperparameters": {
            "window": ensemble.window,
            "stride": ensemble.stride,
            "hidden_dim": network.hidden_dim,
            "num_layers": network.num_layers,
            "dropout": network.dropout,
            "members": n_members,
        },
        "scaler": {"mean": ensemble.mean.tolist(), "scale": ensemble.scale.tolist()},
    }


def _read_expert(folder: Path, dataset: str, name: str, hashes: Mapping[str, str]) -> Expert:
    """Read an expert; ``hashes`` are those of the JSON files, by name."""
    weights, path = _expert_files(folder, dataset, name)
    content = ExpertFile.read(path, hashes[path.name])
    networks = _read_networks(weights, path, content, RegimeLSTM)
    training = content.training.model_dump(exclude_unset=True)
    if "members" not in training:  # format 2: one member
        own = ("best_epoch", "train_losses", "validation_losses")
        training = {**training, "members": [{key: training[key] for key in own if key in training}]}
    if len(training["members"]) != content.hyperparameters.members:
        raise DamagedFileError(f"{path}: training.members needs {content.hyperparameters.members} entries.")
    return Expert(
        name=name,
        features=tuple(content.features),
        mean=np.array(content.scaler.mean),
        scale=np.array(content.scaler.scale),
        target_scale=content.target_scale,
        networks=networks,
        window=content.hyperparameters.window,
        stride=content.hyperparameters.stride,
        training=training,
    )


def _read_density(folder: Path, dataset: str, hashes: Mapping[str, str]) -> Density | None:
    """Read the density, if the set has one."""
    weights, path = _expert_files(folder, dataset, DENSITY)
    if path.name not in hashes:
        return None
    content = DensityFile.read(path, hashes[path.name])
    if BASE not in content.features:
        raise DamagedFileError(f"{path}: needs the feature {BASE}.")
    return Density(
        features=tuple(content.features),
        mean=np.array(content.scaler.mean),
        scale=np.array(content.scaler.scale),
        networks=_read_networks(weights, path, content, DensityLSTM),
        window=content.hyperparameters.window,
        stride=content.hyperparameters.stride,
        corrections={regime_number(name): Correction(**one.model_dump()) for name, one in content.corrections.items()},
        training=content.training,
    )


def _read_networks(
    weights: Path, path: Path, content: NetworksFile, kind: type[NetworkKind]
) -> tuple[NetworkKind, ...]:
    """The networks that a JSON file at ``path`` describes."""
    n_columns, shape = len(columns_of(content.features)), content.hyperparameters
    if not len(content.scaler.mean) == len(content.scaler.scale) == n_columns:
        raise DamagedFileError(f"{path}: scaler needs {n_columns} values of mean and of scale.")
    _require_weights(weights, content.sha256, n_columns, shape, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about a foreign pickle before it raises
            state = torch.load(weights, weights_only=True, map_location="cpu")
        states = [state] if shape.members == 1 else [state[name] for name in member_names(shape.members)]
        if shape.members > 1 and len(state) != shape.members:
            raise ValueError(f"expected {shape.members} members")
        networks = tuple(_network(one, n_columns, shape, kind) for one in states)
    except (*_PICKLE_ERRORS, RuntimeError, LookupError, TypeError, AttributeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(f"{weights}: does not contain weights of this network ({reason}).") from error
    return networks


def _require_weights(path: Path, sha256: str, n_columns: int, shape: Hyperparameters, kind: type[RegimeLSTM]) -> None:
    """Raise a `DamagedFileError` if a file has another hash, or a size that is not that of these networks.

    So neither an archive that unpacks to more than its size nor a small file of a wide network fills the memory.
    """
    width, n_layers = shape.hidden_dim, shape.num_layers
    layers = 4 * width * (n_columns + width + 2) + (n_layers - 1) * 4 * width * (2 * width + 2)
    head = kind.n_outputs * (kind.head_inputs(n_columns, width) + 1) + kind.n_scalars
    n_bytes = 4 * shape.members * (layers + head)
    require_size(path, n_bytes + _BYTES_PER_TENSOR * (shape.members * _n_tensors(shape, kind) + 1))
    require_unchanged(path, sha256)
    reason = "" if path.stat().st_size >= n_bytes else f"expected at least {n_bytes:,} bytes"
    try:
        with zipfile.ZipFile(path) as archive:
            if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                reason = "it is compressed"
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        reason = str(error)
    if reason:
        raise DamagedFileError(f"{path}: does not contain weights of this network ({reason}).")


def _n_tensors(shape: Hyperparameters, kind: type[RegimeLSTM]) -> int:
    """Of a state dict: weights and biases, of a layer's input and state, and of the head."""
    return 4 * shape.num_layers + 2 + kind.n_scalars


def _network(
    state: Mapping[str, torch.Tensor], n_columns: int, shape: Hyperparameters, kind: type[NetworkKind]
) -> NetworkKind:
    head = kind.n_outputs, kind.head_inputs(n_columns, shape.hidden_dim)
    if tuple(state["head.weight"].shape) != head or len(state) != _n_tensors(shape, kind):
        # before a network is built that might not fit into memory
        raise ValueError(f"expected {shape.num_layers} layers of width {shape.hidden_dim}")
    network = kind(n_columns, shape.hidden_dim, shape.num_layers, shape.dropout)
    network.load_state_dict(state)
    if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
        raise ValueError("a weight is not finite")
    return network.double().eval()
