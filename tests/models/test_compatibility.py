from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from data.errors import DataError
from models import Forecaster, ForecastSettings, ModelSet
from models.forecaster import require_compatible, require_interval


@pytest.fixture
def forecaster(model_set: ModelSet) -> Forecaster:
    return Forecaster(model_set)


def test_candles_like_those_trained_on_are_compatible(forecaster: Forecaster, candles: pd.DataFrame) -> None:
    require_compatible(candles, forecaster, source="candles")
    assert forecaster.warnings(candles, "SWITCH") == []


def test_incompatible_candles_are_refused_with_the_reason(forecaster: Forecaster, candles: pd.DataFrame) -> None:
    for changed, reason in (
        (candles.drop(columns="volume"), "has no column volume, which the models of SWITCH read"),
        (candles.iloc[:9], "has 9 bars, but at least 10 are needed"),
        (candles.iloc[::6], "bars are 1 d apart, but the models of SWITCH were trained on bars 4 h apart"),
    ):
        with pytest.raises(DataError, match=rf"F\.csv: {reason}"):
            require_compatible(changed, forecaster, source="F.csv", least_bars=10)


def test_one_per_cent_of_the_interval_is_tolerated(forecaster: Forecaster) -> None:
    for minutes, compatible in ((238, True), (242, True), (237, False)):
        index = pd.date_range("2024-01-01", periods=9, freq=f"{minutes}min", tz="UTC")
        if compatible:
            require_interval(index, forecaster, "feed")
        else:
            with pytest.raises(DataError, match="feed: bars are"):
                require_interval(index, forecaster, "feed")


def test_another_dataset_and_labels_without_an_expert_give_warnings(
    model_set: ModelSet, labelled: pd.DataFrame
) -> None:
    lacking = replace(model_set, experts={regime: model_set.experts[regime] for regime in (0, 1)})
    forecaster = Forecaster(lacking, ForecastSettings(regime_source="column"))
    unknown, other = forecaster.warnings(labelled, "OTHER")
    assert f"{(labelled['regime'] == 2).sum()} bars, the first at " in unknown
    assert "have the regime 2, which is not in the training part" in unknown
    assert "trained on SWITCH, not on OTHER" in other
