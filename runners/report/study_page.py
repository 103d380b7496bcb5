"""Renders the page of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from data.candles import time_text
from data.settings import flat_settings
from runners.report import study_tables
from runners.report.rendering import render
from runners.report.study_plots import FEWEST_TO_RANK, complete_trials, history_svg, importances_svg, parallel_svg

if TYPE_CHECKING:
    from runners.search.folder import Search
    from training.search.result import StudyResult


def study_html(search: Search, results: Sequence[StudyResult], skipped: Mapping[str, str]) -> str:
    """The study of each network as self-contained HTML; ``skipped`` has the reason for each network not searched."""
    index, split = search.candles.index, search.split
    return render(
        "study.html",
        dataset=search.dataset,
        train_first=time_text(index[0]),
        train_last=time_text(index[split.train.stop - 1]),
        validation_first=time_text(index[split.validation.start]),
        validation_last=f"{time_text(index[split.validation.stop - 1])} UTC",
        verdict=study_tables.caution(results),
        objective=study_tables.objective_text(search.options),
        columns=study_tables.RESULT_COLUMNS,
        rows=study_tables.result_rows(results),
        skipped=skipped,
        trial_columns=study_tables.TRIAL_COLUMNS,
        fewest_to_rank=FEWEST_TO_RANK,
        studies=[_study(result) for result in results],
        provenance=_provenance(search),
    )


def _study(result: StudyResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "trials": study_tables.trial_rows(result),
        "complete_trials": len(complete_trials(result)),
        "history": history_svg(result),
        "importances": importances_svg(result),
        "parallel": parallel_svg(result),
    }


def _provenance(search: Search) -> list[tuple[str, str]]:
    tables = search.to_dict()
    rows = [("candles sha256, to the end of validation", tables["fingerprint"]), ("storage", tables["storage"])]
    for table in ("optimize", "train", "backtest"):
        rows += flat_settings(table, tables[table]).items()
    return rows
