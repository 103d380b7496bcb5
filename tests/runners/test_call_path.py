from __future__ import annotations

from pathlib import Path

import pandas as pd

from models import ModelSet
from tests.call_path import call_path
from tests.conftest import make_workspace


def test_a_backtest_reaches_its_first_order_in_few_modules_and_straight_down(
    candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path, candles, model_set)
    path = call_path(workspace, "SWITCH")
    assert len(path.modules) <= 38, "\n".join(path.modules)
    assert len(set(path.upwards)) <= 3, path.upwards  # pydantic calls the checks of classes above it
