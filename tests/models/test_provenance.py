from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from models import ModelSet
from models.provenance import Provenance, Study, Training

STUDY = Study("S1", pd.Timestamp("2024-01-31T04:00Z"), bars=9, trials={"all": 2}, sharpes={"all": [0.125, None]})


@pytest.mark.parametrize("study", [None, STUDY])
def test_provenance_is_read_back_from_json(model_set: ModelSet, study: Study | None) -> None:
    provenance = replace(model_set.provenance, study=study)
    content = json.loads(json.dumps(provenance.to_dict()))
    assert Provenance.from_dict(content) == provenance
    training = {name: content[name] for name in ("fingerprint", "last_bar", "settings", "study") if name in content}
    assert Training.from_dict(training).to_dict() == training == Training.to_dict(provenance)


def test_a_value_of_another_type_is_refused(model_set: ModelSet) -> None:
    content = Training.to_dict(model_set.provenance)
    for name, value in (("last_bar", "2024"), ("last_bar", 0), ("settings", None), ("study", {"id": "S1"})):
        with pytest.raises(ValueError, match=name):
            Training.from_dict({**content, name: value})
