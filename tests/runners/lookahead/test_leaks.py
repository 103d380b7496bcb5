"""The checks find each leak of docs/leaks.md, name it as the page says, and find nothing in legitimate code.

One round here; ``ROUNDS=10`` tries other candles as well (`make soak`).
"""

from __future__ import annotations

import os
import pickle
import re
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from data.synthetic import martingale_like
from runners.lookahead.inputs import inputs
from runners.lookahead.orders import Cuts, orders
from runners.lookahead.recompute import recompute
from runners.lookahead.refit import refit
from runners.lookahead.tasks import Pace
from runners.lookahead.under_test import code_under_test
from tests.conftest import ROOT, switching_candles, to_csv

ROUNDS = range(int(os.environ.get("ROUNDS", "1")))
_IMPORTS = """
import array, functools, pathlib, pickle, random, sqlite3, subprocess
import backtrader as bt, numpy as np, pandas as pd
from data.features import feature
from models.detectors.trend import TrendDetector
from models.regimes import register_detector
"""
_EXAMPLE = re.compile(r"^\*\*(?P<name>[^\n]+)\.\*\* (?P<verdict>[^\n]+)\n\n```py\n(?P<code>.*?)^```", re.DOTALL | re.M)
_FEW, _CUTS = Pace(least=100, seconds=0.0), Cuts(least=4, seconds=0.0)


class Example(NamedTuple):
    name: str
    verdict: str
    code: str


EXAMPLES = [Example(**it.groupdict()) for it in _EXAMPLE.finditer((ROOT / "docs" / "leaks.md").read_text())]


def walk(seed: int) -> pd.DataFrame:
    """500 candles of a martingale with a gap, so that nothing has an edge."""
    candles = switching_candles(506, seed).drop(columns="regime")
    candles = martingale_like(candles, seed)
    return candles.drop(candles.index[200:206])


def found(example: Example, candles: pd.DataFrame, folder: Path) -> list[str]:
    """Findings, and inputs that cannot be checked."""
    made = [line for line in example.code.splitlines() if line.startswith("candles[")]
    names: dict[str, Any] = {"candles": candles, "np": np, "pd": pd}
    exec("\n".join(made), names)
    code = "\n".join(line for line in example.code.splitlines() if line not in made)
    needed = "import sklearn.ensemble\n" if "sklearn" in code else ""
    file, csv = folder / "mine.py", to_csv(candles, folder / "candles.csv")
    file.write_text(_IMPORTS + needed + code + "\n")
    candles[["close"]].resample("1D").last().to_csv(folder / "daily.csv")
    np.save(folder / "signal.npy", candles["close"].to_numpy())
    (folder / "model.pkl").write_bytes(pickle.dumps({"mean": float(candles["close"].mean())}))
    sqlite3.connect(folder / "notes.sqlite").close()
    under_test = code_under_test(file, candles, None, csv)
    own_detectors = [one for one in under_test.trainings if one.detector != "auto"]
    outcomes = [
        *([recompute(under_test, _FEW)] if under_test.features or own_detectors else []),
        *([refit(under_test)] if own_detectors else []),
        *([orders(under_test, _CUTS)] if under_test.traders else []),
        inputs(under_test),
    ]
    return [
        sentence for outcome in outcomes for sentence in [*outcome.findings, *(one.reason for one in outcome.unchecked)]
    ]


@pytest.mark.parametrize("seed", ROUNDS)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_an_example_is_found_and_named_as_the_page_says(
    example: Example, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sentences = found(example, walk(seed), tmp_path)
    if example.verdict == "clean":
        assert sentences == []
    else:
        words = example.verdict.strip(chr(34))
        assert any(words in sentence for sentence in sentences), sentences


def test_the_page_has_leaks_and_legitimate_code_in_plenty() -> None:
    clean = [one for one in EXAMPLES if one.verdict == "clean"]
    assert len(EXAMPLES) - len(clean) >= 25
    assert len(clean) >= 15
