from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.errors import ModelSetError
from data.files import sha256_of, whole_folder
from models import Forecaster, ModelSet


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "set"))


def test_a_set_on_disk_has_the_files_that_its_readers_expect(saved: Path, model_set: ModelSet) -> None:
    names = ["bearish", "sideways", "bullish", "all"]
    expected = {f"SWITCH_{name}.pt" for name in names} | {f"LSTM_SWITCH_{name}.json" for name in names}
    assert {path.name for path in saved.iterdir()} == expected | {"detector.json", "model_set.json"}
    assert saved.parent.name == "SWITCH"
    assert (saved.parent / "latest").read_text().strip() == saved.name

    described = json.loads((saved / "LSTM_SWITCH_bullish.json").read_text())
    assert described["sha256"] == sha256_of(saved / "SWITCH_bullish.pt")
    assert described["hyperparameters"] == {"window": 6, "hidden_dim": 8, "num_layers": 1, "dropout": 0.0}
    assert described["features"] == ["log_return", "volatility", "rsi", "macd", "boll_width"]
    assert len(described["scaler"]["mean"]) == len(described["scaler"]["scale"]) == 5
    assert len(described["training"]["validation_losses"]) == 2

    manifest = json.loads((saved / "model_set.json").read_text())
    assert manifest["provenance"]["n_bars"] == 1200
    assert manifest["provenance"]["split"]["test"]["first_bar"] > manifest["validation_end"]
    assert (
        torch.load(saved / "SWITCH_all.pt", weights_only=True).keys()
        == model_set.all_regimes.network.state_dict().keys()
    )


def test_a_loaded_set_forecasts_what_the_trained_one_did(
    saved: Path, model_set: ModelSet, candles: pd.DataFrame
) -> None:
    expected = Forecaster(model_set).forecast(candles)
    for path in (saved, saved.parent):
        pd.testing.assert_frame_equal(Forecaster(ModelSet.load(path)).forecast(candles), expected, check_exact=True)


def test_the_newest_set_of_a_dataset_is_loaded(model_set: ModelSet, tmp_path: Path) -> None:
    first, second = model_set.save(tmp_path), model_set.save(tmp_path)
    assert first != second
    assert (tmp_path / "SWITCH" / "latest").read_text().strip() == max(first, second).name


def test_a_set_that_failed_while_being_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"), whole_folder(tmp_path / "SWITCH" / "run") as draft:  # noqa: PT012
        (draft / "half.pt").write_text("half")
        raise OSError("disk full")
    assert list((tmp_path / "SWITCH").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "SWITCH_bearish.pt").unlink(), r"SWITCH_bearish\.pt: is missing"),
        (lambda folder: (folder / "LSTM_SWITCH_all.json").unlink(), r"LSTM_SWITCH_all\.json: is missing"),
        (lambda folder: truncate(folder / "SWITCH_all.pt"), r"SWITCH_all\.pt: has changed"),
        (lambda folder: swap(folder / "SWITCH_bearish.pt", folder / "SWITCH_bullish.pt"), "has changed since"),
        (lambda folder: edit(folder / "LSTM_SWITCH_bullish.json", "target_scale", 1.0), "has changed since"),
        (lambda folder: edit(folder / "model_set.json", "format_version", 99), "has format 99, this version reads 1"),
        (
            lambda folder: edit(folder / "model_set.json", "sha256", {"detector.json": "0"}),
            "detector.json: has changed",
        ),
        (lambda folder: (folder / "model_set.json").write_text("{"), "is no JSON"),
        (lambda folder: (folder / "model_set.json").write_text('{"format_version": 1}'), "do not describe a model set"),
    ],
)
def test_a_damaged_set_is_refused_and_the_file_named(copied: Path, damage: object, message: str) -> None:
    damage(copied)  # type: ignore[operator]
    with pytest.raises(ModelSetError, match=message):
        ModelSet.load(copied)


def test_a_pickle_in_place_of_weights_is_never_executed(copied: Path, tmp_path: Path) -> None:
    bomb = Bomb(str(tmp_path / "exploded"))
    (copied / "SWITCH_all.pt").write_bytes(pickle.dumps(bomb))
    accept_hash_of(copied, "all")
    with pytest.raises(ModelSetError, match=r"SWITCH_all\.pt: holds no weights of this network"):
        ModelSet.load(copied)
    assert not (tmp_path / "exploded").exists()


def test_weights_of_another_shape_are_refused(copied: Path) -> None:
    torch.save({"lstm.weight": torch.zeros(3)}, copied / "SWITCH_all.pt")
    accept_hash_of(copied, "all")
    with pytest.raises(ModelSetError, match="holds no weights of this network"):
        ModelSet.load(copied)


def test_a_folder_without_a_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelSetError, match=r"there is no model set\. Train one: regimes train"):
        ModelSet.load(tmp_path / "NOTHING")


def test_networks_answer_in_double_precision(model_set: ModelSet) -> None:
    assert all(weight.dtype == torch.float64 for weight in model_set.all_regimes.network.parameters())
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


def accept_hash_of(folder: Path, name: str) -> None:
    """Make the hashes fit the changed weights, as someone who knows the format could."""
    description = folder / f"LSTM_SWITCH_{name}.json"
    edit(description, "sha256", sha256_of(folder / f"SWITCH_{name}.pt"))
    manifest = json.loads((folder / "model_set.json").read_text())
    manifest["sha256"][description.name] = sha256_of(description)
    (folder / "model_set.json").write_text(json.dumps(manifest))
