from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import structlog

from data.files import sha256_of
from models import Forecaster, ModelSet
from models.forecaster import member_forecasts
from models.model_set import _content_hash
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.replay import Replay
from runners.live.services.engine import Engine
from runners.live.services.model_reloader import ModelReloader
from tests.runners.live.conftest import run_until


@pytest.fixture
def expected(candles: pd.DataFrame, model_set: ModelSet) -> pd.DataFrame:
    return Forecaster(model_set).forecast(candles)


def feed(bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, n_bars: int) -> None:
    """Write the candles up to the ``n_bars``-th unseen one; earlier ones only fill the lookback."""
    model_set = ModelSet.load(factory.models)
    first = candles.index.searchsorted(model_set.validation_end, side="right")
    lookback = Forecaster(model_set).lookback
    part = candles.iloc[first - lookback : first + n_bars]
    Replay(lambda: bus, part, candles.index[first], model_set.interval, None).work(bus, threading.Event())


def feed_new_engine(bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, n_bars: int) -> None:
    """Write the candles up to the ``n_bars``-th unseen one, then run an engine until each has a forecast."""
    feed(bus, factory, candles, n_bars)
    run_until([factory.engine(factory.model_reloader())], lambda: bus.forecasts.count_after(None) >= n_bars)


def require_equal(bus: Bus, expected: pd.DataFrame, n_forecasts: int) -> None:
    entries = bus.forecasts.after(None, 10_000)
    assert len(entries) == n_forecasts
    batch = expected.loc[[entry.time for entry in entries]]
    assert [entry.values["regime"] for entry in entries] == batch["regime"].tolist()
    np.testing.assert_allclose([entry.values["log_return"] for entry in entries], batch["forecast"], rtol=1e-6)
    np.testing.assert_allclose([entry.values["members"] for entry in entries], member_forecasts(batch), rtol=1e-6)


def test_forecasts_equal_those_of_a_batch(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, expected: pd.DataFrame
) -> None:
    feed_new_engine(bus, factory, candles, 100)
    require_equal(bus, expected, 100)
    first = bus.forecasts.after(None, 1)[0]
    bar = candles.loc[first.time]
    assert (first.values["open"], first.values["close"]) == (bar["open"], bar["close"])
    assert sum(first.values["probabilities"].values()) == pytest.approx(1.0)


def test_a_restarted_engine_continues_after_the_last_forecast(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, expected: pd.DataFrame
) -> None:
    for n_bars in (1, 2, 30, 31, 57):
        feed_new_engine(bus, factory, candles, n_bars)
    require_equal(bus, expected, 57)


def test_two_engines_write_each_forecast_once(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, expected: pd.DataFrame
) -> None:
    feed(bus, factory, candles, 80)
    engines = [factory.engine(factory.model_reloader()) for _ in range(2)]
    run_until(list(engines), lambda: bus.forecasts.count_after(None) == 80)
    require_equal(bus, expected, 80)


def test_it_trims_old_candles_and_can_start_from_the_rest(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, expected: pd.DataFrame
) -> None:
    feed_new_engine(bus, factory, candles, 100)
    bus.candles.trim(Forecaster(ModelSet.load(factory.models)).lookback + 1)
    feed_new_engine(bus, factory, candles, 120)
    require_equal(bus, expected, 120)


def test_removed_unread_candles_are_logged_and_forecasts_continue_after_the_lookback(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, expected: pd.DataFrame
) -> None:
    feed_new_engine(bus, factory, candles, 10)
    lookback = Forecaster(ModelSet.load(factory.models)).lookback
    feed(bus, factory, candles, lookback + 30)
    newest = bus.candles.newest(lookback + 15)
    bus.redis.xtrim(bus.candles.key, minid=newest[0].time.value // 1_000_000, approximate=False)
    engine = factory.engine(factory.model_reloader())
    last = newest[-1].time
    run_until([engine], lambda: (found := bus.forecasts.last()) is not None and found.time == last)
    assert engine.counted["candles_lost"] == 1
    known = [entry for entry in bus.forecasts.after(None, 1000)[10:] if entry.values["log_return"] is not None]
    assert len(known) == 15
    batch = expected.loc[[entry.time for entry in known]]
    np.testing.assert_allclose([entry.values["log_return"] for entry in known], batch["forecast"], rtol=1e-6)


@pytest.fixture
def trained(tmp_path: Path, saved: Path) -> Path:
    """A dataset's folder with one model set, to which tests add newer ones."""
    folder = tmp_path / "trained" / "SWITCH"
    shutil.copytree(saved, folder / "20240101T000000.000000Z")
    return folder


def newer(trained: Path, name: str) -> Path:
    folder = trained / name
    shutil.copytree(trained / "20240101T000000.000000Z", folder)
    return folder


def test_newer_models_are_loaded_between_two_candles(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, expected: pd.DataFrame, trained: Path
) -> None:
    feed(bus, factory, candles, 10)
    engine = Engine(lambda: bus, ModelReloader(trained))

    def train_and_go_on() -> bool:
        newer(trained, "20240202T000000.000000Z")
        feed(bus, factory, candles, 20)
        return True

    done = threading.Event()

    def twenty() -> bool:
        if bus.forecasts.count_after(None) >= 10 and not done.is_set():
            train_and_go_on()
            done.set()
        return bus.forecasts.count_after(None) >= 20

    run_until([engine], twenty)
    require_equal(bus, expected, 20)
    runs = [entry.values["models"] for entry in bus.forecasts.after(None, 100)]
    assert runs[9] == "20240101T000000.000000Z"
    assert runs[-1] == "20240202T000000.000000Z"
    assert engine.counted["models_taken"] == 1


def test_damaged_newer_models_are_not_loaded_until_they_are_repaired(trained: Path) -> None:
    models = ModelReloader(trained)
    folder = newer(trained, "20240202T000000.000000Z")
    weights = folder / "SWITCH_all.pt"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert not models.refresh(Counter(), structlog.get_logger())
    assert "has changed since it was written" in str(models.rejection)
    assert models.run == "20240101T000000.000000Z"
    assert not models.refresh(Counter(), structlog.get_logger())
    weights.write_bytes(whole)
    assert models.refresh(Counter(), structlog.get_logger())
    assert (models.run, models.rejection) == ("20240202T000000.000000Z", None)


def test_newer_models_of_another_interval_are_refused(trained: Path, sp500: pd.DataFrame, tmp_path: Path) -> None:
    from tests.conftest import SMALL
    from training import TrainSettings, train

    models = ModelReloader(trained)
    train(sp500.iloc[:1500], "SWITCH", TrainSettings(**SMALL)).save(trained.parent)
    assert not models.refresh(Counter(), structlog.get_logger())
    assert "trained on bars 1 d apart, the previous models on 4 h" in str(models.rejection)


def test_newer_models_that_read_a_column_of_their_own_are_refused_and_forecasts_go_on(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, expected: pd.DataFrame, trained: Path
) -> None:
    from tests.conftest import SMALL
    from training import TrainSettings, train

    feed(bus, factory, candles, 10)
    models = ModelReloader(trained)
    settings = TrainSettings(**{**SMALL, "features": ["log_return", "sentiment"]})
    train(candles.assign(sentiment=np.linspace(-1, 1, len(candles))), "SWITCH", settings).save(trained.parent)
    engine = Engine(lambda: bus, models)
    run_until([engine], lambda: engine.state == "waiting for a candle; newer models refused")
    require_equal(bus, expected, 10)
    assert "reads sentiment, which the candles of the running services do not have" in str(models.rejection)
    assert engine.counted["models_refused"] == 1


@pytest.mark.parametrize("damage", ["latest is no text", "a link to nowhere", "a detector that is not installed"])
def test_no_file_in_the_folder_of_models_ends_a_service(trained: Path, damage: str) -> None:
    models = ModelReloader(trained)
    folder = newer(trained, "20240202T000000.000000Z")
    if damage == "latest is no text":
        (trained / "latest").write_bytes(b"\xff\xfe")
    elif damage == "a link to nowhere":
        (folder / "more").symlink_to("nowhere")
    else:
        edit_hashed(folder, "detector", "of_a_colleague")
    models.refresh(Counter(), structlog.get_logger())
    assert models.run == "20240101T000000.000000Z" or damage == "a link to nowhere"


def edit_hashed(folder: Path, key: str, value: str) -> None:
    """Change a value of ``detector.json``, with hashes that match."""
    detector, manifest = folder / "detector.json", folder / "model_set.json"
    detector.write_text(json.dumps({**json.loads(detector.read_text()), key: value}))
    content = json.loads(manifest.read_text())
    content["sha256"]["detector.json"] = sha256_of(detector)
    del content["content_sha256"]
    manifest.write_text(json.dumps({**content, "content_sha256": _content_hash(content)}))


def test_a_removed_folder_changes_nothing(trained: Path) -> None:
    models = ModelReloader(trained)
    shutil.rmtree(trained)
    assert not models.refresh(Counter(), structlog.get_logger())
    assert models.rejection is None


def test_engines_with_other_models_say_so_and_still_give_one_forecast_a_bar(
    bus: Bus, factory: ServiceFactory, candles: pd.DataFrame, trained: Path
) -> None:
    feed(bus, factory, candles, 10)
    engines = [factory.engine(factory.model_reloader()), Engine(lambda: bus, ModelReloader(newer(trained, "2025")))]
    bars = bus.candles.after(None, 10_000)
    for engine in engines:
        stream = engine._stream_after(bus, None)
        for entry in bars:
            engine._forecast(bus, stream, entry)
    assert [engine.counted["other_models"] for engine in engines] == [0, 10]
    assert [entry.values["models"] for entry in bus.forecasts.after(None, 100)] == [factory.models.name] * 10
