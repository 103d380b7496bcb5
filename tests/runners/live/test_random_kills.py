"""Kills services and Redis at random times while bars close: no decision is lost, made twice or changed.

`make soak` sets KILLS to 200, and prints what was killed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from models import ModelSet
from tests.runners.live.services import SERVICES, ForkedHouse

KILLS = int(os.environ.get("KILLS", "10"))
_LONGEST_PAUSE = 0.2  # seconds from a bar's end to a kill


def test_random_kills_change_no_decision(tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet) -> None:
    seed, begin = random.randrange(2**32), time.monotonic()
    print(f"seed {seed}")
    chance, killed, pause = random.Random(seed), Counter[str](), threading.Event()
    with ForkedHouse(tmp_path, candles, model_set, len(candles) - KILLS - 2, embedded=True) as house:
        house.start(*SERVICES)
        house.ready()
        house.decide()
        for _ in range(KILLS):
            if chance.random() < 0.5:  # otherwise the last victim may not have started yet
                house.wait()
            house.close_bars()
            pause.wait(chance.uniform(0, _LONGEST_PAUSE))
            victim = chance.choice([*SERVICES, "redis"])
            killed[victim] += 1
            if victim == "redis":
                house.kill_embedded_redis()
            else:
                house.kill(victim)
                house.start(victim)
        house.close_bars()
        house.wait()
        assert house.difference() is None
        orders = sum(entry.values["order"] != 0 for entry in house.bus.decisions.newest(100_000))
        print(f"{dict(killed)}, {house.advanced - house.first} decisions, {orders} with an order,", end=" ")
    print(f"{time.monotonic() - begin:.0f} s")
