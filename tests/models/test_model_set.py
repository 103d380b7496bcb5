from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from data.errors import DataError, ModelSetError, RegimesError, StorageError
from data.files import sha256_of, whole_folder
from models import Forecaster, ModelSet


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "set"))


def test_a_set_on_disk_has_the_files_that_its_readers_expect(saved: Path, model_set: ModelSet) -> None:
    names = ["bearish", "sideways", "bullish", "all", "density"]
    expected = {f"SWITCH_{name}.pt" for name in names} | {f"LSTM_SWITCH_{name}.json" for name in names}
    assert {path.name for path in saved.iterdir()} == expected | {"detector.json", "model_set.json"}
    assert saved.parent.name == "SWITCH"
    assert (saved.parent / "latest").read_text().strip() == saved.name

    described = json.loads((saved / "LSTM_SWITCH_bullish.json").read_text())
    assert described["sha256"] == sha256_of(saved / "SWITCH_bullish.pt")
    assert described["hyperparameters"] == {
        "window": 6,
        "stride": 4,
        "hidden_dim": 8,
        "num_layers": 1,
        "dropout": 0.0,
        "members": 2,
    }
    assert described["features"] == ["log_return", "volatility", "rsi", "macd", "boll_width"]
    assert len(described["scaler"]["mean"]) == len(described["scaler"]["scale"]) == 5
    assert [len(member["validation_losses"]) for member in described["training"]["members"]] == [2, 2]

    manifest = json.loads((saved / "model_set.json").read_text())
    assert manifest["provenance"]["n_bars"] == 1200
    assert manifest["provenance"]["split"]["test"]["first_bar"] > manifest["validation_end"]
    stored = torch.load(saved / "SWITCH_all.pt", weights_only=True)
    assert list(stored) == ["member_1", "member_2"]
    for state, network in zip(stored.values(), model_set.all_regimes.networks, strict=True):
        assert state.keys() == network.state_dict().keys()


def test_the_weights_of_a_single_member_are_a_plain_state_dict(model_set: ModelSet, tmp_path: Path) -> None:
    single = replace(
        model_set,
        experts={},
        all_regimes=replace(model_set.all_regimes, networks=model_set.all_regimes.networks[:1]),
    )
    state = torch.load(single.save(tmp_path) / "SWITCH_all.pt", weights_only=True)
    assert state.keys() == single.all_regimes.networks[0].state_dict().keys()


def test_a_loaded_set_gives_the_same_forecasts_as_the_trained_one(
    saved: Path, model_set: ModelSet, candles: pd.DataFrame
) -> None:
    expected = Forecaster(model_set).forecast(candles)
    for path in (saved, saved.parent):
        pd.testing.assert_frame_equal(Forecaster(ModelSet.load(path)).forecast(candles), expected, check_exact=True)


def test_the_newest_set_of_a_dataset_is_loaded(model_set: ModelSet, tmp_path: Path) -> None:
    first, second = model_set.save(tmp_path), model_set.save(tmp_path)
    assert first != second
    assert (tmp_path / "SWITCH" / "latest").read_text().strip() == max(first, second).name


def test_a_failed_write_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="disk full"), whole_folder(tmp_path / "SWITCH" / "run") as draft:  # noqa: PT012
        (draft / "half.pt").write_text("half")
        raise OSError("disk full")
    assert list((tmp_path / "SWITCH").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "SWITCH_bearish.pt").unlink(), r"SWITCH_bearish\.pt: is missing"),
        (lambda folder: (folder / "LSTM_SWITCH_all.json").unlink(), r"LSTM_SWITCH_all\.json: is missing"),
        (lambda folder: (folder / "detector.json").unlink(), r"detector\.json: is missing"),
        (lambda folder: truncate(folder / "SWITCH_all.pt"), r"SWITCH_all\.pt: has changed"),
        (lambda folder: swap(folder / "SWITCH_bearish.pt", folder / "SWITCH_bullish.pt"), "has changed since"),
        (lambda folder: edit(folder / "LSTM_SWITCH_bullish.json", "target_scale", 1.0), "has changed since"),
        (lambda folder: edit(folder / "detector.json", "detector", "trend"), r"detector\.json: has changed since"),
        (lambda folder: edit(folder / "model_set.json", "min_dwell", 9), r"model_set\.json: has changed since"),
        (lambda folder: edit(folder / "model_set.json", "format_version", 99), "has format 99, this version reads 2"),
        (lambda folder: edit(folder / "model_set.json", "sha256", {}), r"model_set\.json: has changed"),
        (lambda folder: (folder / "model_set.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "model_set.json").write_text("[" * 100_000), "is not JSON"),
        (lambda folder: (folder / "model_set.json").write_bytes(b"\xff\xfe"), "is not JSON"),
        (lambda folder: (folder / "model_set.json").write_text("[]"), "does not contain a JSON object"),
        (lambda folder: in_place_of(folder / "LSTM_SWITCH_all.json"), r"LSTM_SWITCH_all\.json: is missing"),
    ],
)
def test_a_damaged_set_is_refused_with_the_file(copied: Path, damage: object, message: str) -> None:
    damage(copied)  # type: ignore[operator]
    with pytest.raises(ModelSetError, match=message):
        ModelSet.load(copied)


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("model_set.json", "dataset", "../SWITCH", "model_set.json: dataset is '../SWITCH'"),
        ("model_set.json", "regimes", {"bearish": 2, "sideways": 1, "bullish": 0}, "regimes gives the name"),
        (
            "model_set.json",
            "min_dwell",
            0,
            r"min_dwell is 0 \(.*greater than or equal to 1\)\. Restore the file, or train again",
        ),
        ("model_set.json", "min_confidence", 2, "min_confidence is 2"),
        ("model_set.json", "interval_seconds", -14400, "interval_seconds is -14400"),
        ("model_set.json", "provenance", None, "provenance is None"),
        ("model_set.json", "validation_end", "2024", "validation_end is '2024'"),
        ("LSTM_SWITCH_all.json", "target_scale", 0, "LSTM_SWITCH_all.json: target_scale is 0"),
        ("LSTM_SWITCH_all.json", "features", ["log_return"], "scaler needs 1 values"),
        ("LSTM_SWITCH_all.json", "scaler", {"mean": [0] * 5, "scale": [1, 1, 1, 1, -1]}, "scaler.scale.4 is -1"),
        ("LSTM_SWITCH_all.json", "hyperparameters", {"window": 6}, "hyperparameters.stride is missing"),
        (
            "LSTM_SWITCH_all.json",
            "hyperparameters",
            {"window": 6, "stride": 4, "hidden_dim": 10**9, "num_layers": 1, "dropout": 0.0, "members": 2},
            "hyperparameters.hidden_dim is 1000000000",
        ),
        (
            "LSTM_SWITCH_all.json",
            "hyperparameters",
            {"window": 6, "stride": 4, "hidden_dim": 9999, "num_layers": 1, "dropout": 0.0, "members": 2},
            r"does not contain weights of this network .expected at least 3,\d+,\d+,\d+ bytes",
        ),
        ("model_set.json", "sha256", {}, r"sha256 has no hash of detector\.json"),
        ("LSTM_SWITCH_all.json", "training", "x", "training is 'x'"),
        ("LSTM_SWITCH_all.json", "training", {"fallback": 1, "validation_part": "train"}, "training.fallback is 1"),
        (
            "LSTM_SWITCH_all.json",
            "training",
            {"fallback": None, "validation_part": "train", "members": [{}]},
            "training.members needs 2 entries",
        ),
        ("detector.json", "parameters", {}, "KeyError"),
        ("detector.json", "parameters", {"threshold": "high"}, "KeyError"),
    ],
)
def test_invalid_values_are_refused_even_with_correct_hashes(
    copied: Path, file: str, key: str, value: object, message: str
) -> None:
    edit(copied / file, key, value)
    accept_changes(copied)
    with pytest.raises(ModelSetError, match=message):
        ModelSet.load(copied)


@pytest.mark.parametrize("dump", [pickle.dump, torch.save])
def test_a_pickle_in_place_of_weights_is_never_executed(copied: Path, tmp_path: Path, dump: object) -> None:
    with (copied / "SWITCH_all.pt").open("wb") as file:
        dump({"head.weight": Bomb(str(tmp_path / "exploded")), "rest": torch.zeros(1500)}, file)  # type: ignore[operator]
    accept_changes(copied)
    with pytest.raises(ModelSetError, match=r"SWITCH_all\.pt: does not contain weights of this network"):
        ModelSet.load(copied)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "state",
    [
        {"head.weight": torch.zeros(3)},
        {"head.weight": torch.zeros(1, 8)},
        {"head.weight": "text"},
        torch.zeros(3),
        [1, 2],
        None,
    ],
)
def test_weights_of_another_shape_are_refused(copied: Path, state: object) -> None:
    torch.save(state, copied / "SWITCH_all.pt")
    accept_changes(copied)
    with pytest.raises(ModelSetError, match="does not contain weights of this network"):
        ModelSet.load(copied)


def test_a_set_whose_name_lies_elsewhere_is_not_saved(model_set: ModelSet, tmp_path: Path) -> None:
    for name in ("..", "", "a/b", ".hidden"):
        with pytest.raises(DataError, match="cannot name a dataset"):
            replace(model_set, dataset=name).save(tmp_path / "trained")
    assert list(tmp_path.iterdir()) == []


def test_compressed_weights_are_refused_before_they_fill_the_memory(copied: Path) -> None:
    weights = copied / "SWITCH_all.pt"
    with zipfile.ZipFile(weights) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr("archive/data/99", bytes(10_000_000))
    accept_changes(copied)
    with pytest.raises(ModelSetError, match=r"SWITCH_all\.pt: does not contain weights .* \(it is compressed\)"):
        ModelSet.load(copied)


@pytest.mark.parametrize("name", ["SWITCH_all.pt", "LSTM_SWITCH_all.json", "detector.json", "model_set.json"])
@pytest.mark.parametrize("kind", ["device", "pipe", "huge"])
def test_only_regular_files_of_the_expected_size_are_read(copied: Path, name: str, kind: str) -> None:
    file = copied / name
    file.unlink()
    if kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.touch()
        os.truncate(file, 10**13)  # takes no room on the disk
    with pytest.raises(ModelSetError, match=r"there is no model set|is missing|more than the"):
        ModelSet.load(copied)


def test_weights_that_are_not_finite_are_refused(copied: Path) -> None:
    state = torch.load(copied / "SWITCH_all.pt", weights_only=True)
    state["member_2"]["head.bias"][0] = float("nan")
    torch.save(state, copied / "SWITCH_all.pt")
    accept_changes(copied)
    with pytest.raises(ModelSetError, match=r"SWITCH_all\.pt: does not contain weights .* \(a weight is not finite\)"):
        ModelSet.load(copied)


@given(some.data())
def test_a_set_with_changed_bytes_is_refused_or_gives_the_same_forecasts(
    saved: Path, model_set: ModelSet, candles: pd.DataFrame, data: some.DataObject
) -> None:
    with copy_of(saved) as folder:
        file = data.draw(some.sampled_from(sorted(folder.iterdir())))
        content = file.read_bytes()
        start = data.draw(some.integers(0, len(content)))
        end = min(len(content), start + data.draw(some.integers(0, 8)))
        file.write_bytes(content[:start] + data.draw(some.binary(max_size=8)) + content[end:])
        try:
            loaded = ModelSet.load(folder)
        except ModelSetError:
            return
    few = candles.iloc[:300]
    expected = Forecaster(model_set).forecast(few)
    pd.testing.assert_frame_equal(Forecaster(loaded).forecast(few), expected, check_exact=True)


VALUES = some.one_of(
    some.sampled_from([None, -1, 0, 1, 10**9, 1e308, 1e999, "", "x", "../x", [], {}, [[]], True, [1.0], {"a": 1}]),
    some.floats(),
)


@given(some.data())
def test_changed_values_with_correct_hashes_are_refused_or_harmless(
    saved: Path, candles: pd.DataFrame, data: some.DataObject
) -> None:
    with copy_of(saved) as folder:
        file = data.draw(some.sampled_from(sorted(folder.glob("*.json"))))
        content = json.loads(file.read_text())
        inside, key = content, data.draw(some.sampled_from(sorted(content)))
        while isinstance(inside[key], dict | list) and inside[key] and data.draw(some.booleans()):
            inside = inside[key]
            keys = sorted(inside) if isinstance(inside, dict) else range(len(inside))
            key = data.draw(some.sampled_from(keys))
        inside[key] = data.draw(VALUES)
        file.write_text(json.dumps(content))
        accept_changes(folder)
        try:
            Forecaster(ModelSet.load(folder)).forecast(candles.iloc[:300])
        except RegimesError:
            return


def test_a_folder_without_a_set_is_refused_with_the_command_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(ModelSetError, match=r"there is no model set\. Train one: regimes train"):
        ModelSet.load(tmp_path / "NOTHING")


def test_networks_compute_in_double_precision(model_set: ModelSet) -> None:
    assert all(
        weight.dtype == torch.float64 for network in model_set.all_regimes.networks for weight in network.parameters()
    )
    assert np.isfinite(model_set.all_regimes.target_scale)


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(self.path),)  # type: ignore[return-value]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def swap(one: Path, other: Path) -> None:
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def edit(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def in_place_of(file: Path) -> None:
    """A folder where a file should be."""
    file.unlink()
    file.mkdir()


@contextmanager
def copy_of(saved: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(saved, Path(folder) / "set"))


def accept_changes(folder: Path) -> None:
    """Make the hashes fit what was changed, as someone who knows the format could."""
    for weights in folder.glob("*.pt"):
        edit(folder / f"LSTM_{weights.stem}.json", "sha256", sha256_of(weights))
    manifest = json.loads((folder / "model_set.json").read_text())
    manifest.pop("content_sha256", None)
    if isinstance(manifest.get("sha256"), dict):
        manifest["sha256"] = {
            file.name: sha256_of(file) for file in folder.glob("*.json") if file.name in manifest["sha256"]
        }
    content = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "model_set.json").write_text(json.dumps({**manifest, "content_sha256": content}))
