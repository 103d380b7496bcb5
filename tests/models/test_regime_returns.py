from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from models import ModelSet
from models.regime_returns import NextReturn, RegimeReturns, regime_label

BY_REGIME = {
    "bearish": NextReturn(300, 0.0001, 0.02),
    "sideways": NextReturn(500, 0.0002, 0.005),
    "bullish": NextReturn(400, 0.0004, 0.01),
}
UNSURE = RegimeReturns(BY_REGIME, t_statistic=0.24, p_value=0.81)
SURE = replace(UNSURE, t_statistic=2.4, p_value=0.016)
REVERSED = replace(UNSURE, t_statistic=-2.4, p_value=0.016)
UNTESTED = RegimeReturns({"sideways": BY_REGIME["sideways"]})


@pytest.mark.parametrize("failing", [UNSURE, REVERSED])
def test_where_the_names_fail_the_extremes_of_volatility_are_named(failing: RegimeReturns) -> None:
    labels = [failing.label(name) for name in ("bearish", "sideways", "bullish", "regime3", "all", "all bars")]
    assert labels == ["bearish (volatile)", "sideways (calm)", "bullish", "regime3", "all", "all bars"]


@pytest.mark.parametrize("returns", [SURE, UNTESTED, RegimeReturns()])
def test_names_that_hold_or_cannot_be_tested_stand_alone(returns: RegimeReturns) -> None:
    assert [returns.label(name) for name in BY_REGIME] == list(BY_REGIME)


def test_the_note_gives_the_test_in_figures_and_words() -> None:
    (unsure,), (certain,), (wrong,) = UNSURE.notes(), SURE.notes(), REVERSED.notes()
    assert unsure.startswith(
        "In the training part, bullish and bearish differ in the next bar's mean by +3.0 bp (t = 0.2), in volatility "
        "by -100.0 bp (100.0 and 200.0 bp). The difference of the means is not significant, so the names do not hold"
    )
    assert certain.endswith("The difference of the means is significant, so the names hold.")
    assert "has the wrong sign, so the names do not hold" in wrong
    assert UNTESTED.notes() == []


def test_a_walk_forward_shows_the_label_of_most_folds() -> None:
    assert regime_label("bearish", [SURE, UNSURE, UNSURE]) == "bearish (volatile)"
    assert regime_label("bearish", [SURE, SURE, UNSURE]) == "bearish"
    assert regime_label("bearish", []) == "bearish"


def test_a_saved_model_set_keeps_the_returns_and_shows_them(model_set: ModelSet, tmp_path: Path) -> None:
    unsure = replace(model_set, regime_returns=UNSURE)
    assert ModelSet.load(unsure.save(tmp_path)).regime_returns == UNSURE
    assert unsure.notes()[0] == UNSURE.notes()[0]
    for shown in (repr(unsure), unsure._repr_html_()):
        assert "bearish (volatile)" in shown
        assert "so the names do not hold" in " ".join(shown.split())


def test_returns_as_json_are_read_again_and_damaged_ones_refused() -> None:
    content = json.loads(json.dumps(asdict(UNSURE)))
    assert RegimeReturns.from_dict(content) == UNSURE
    for damage in ({"by_regime": {}}, {"t_statistic": "high"}, {"p_value": float("nan")}, {"mean": 1.0}):
        with pytest.raises(ValueError, match="validation error"):
            RegimeReturns.from_dict({**content, **damage})
