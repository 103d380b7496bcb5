"""The page of one backtest: one file, which opens without a network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader

from data.candles import interval_text
from runners.report import tables
from runners.report.plots import overview_png

if TYPE_CHECKING:
    from runners.registry import Trials
    from runners.simulation import Backtest

_TRADE_COLUMNS = ["opened", "closed", "direction", "entry_price", "exit_price", "net_pnl", "bars", "regime", "forecast"]


def report_html(result: Backtest, trials: Trials) -> str:
    """The report as self-contained HTML."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    index, model_set = result.equity.index, result.model_set
    return environment.get_template("page.html").render(
        dataset=model_set.dataset,
        in_sample=result.in_sample,
        first=f"{index[0]:%Y-%m-%d %H:%M}",
        last=f"{index[-1]:%Y-%m-%d %H:%M} UTC",
        interval=interval_text(model_set.interval),
        metrics=result.metrics,
        verdict=tables.verdict(result),
        figures=tables.figures(result, trials),
        expert_columns=tables.EXPERT_COLUMNS,
        experts=tables.experts(model_set),
        notes=tables.expert_notes(model_set),
        overview=base64.b64encode(overview_png(result)).decode(),
        trade_columns=[name.replace("_", " ") for name in _TRADE_COLUMNS],
        trades=_trade_rows(result),
        provenance=_provenance(result),
    )


def _trade_rows(result: Backtest) -> list[list[str]]:
    formats = {"entry_price": "{:,.2f}", "exit_price": "{:,.2f}", "net_pnl": "{:,.2f}", "forecast": "{:.5f}"}
    formats |= {"regime": "{:.0f}", "opened": "{:%Y-%m-%d %H:%M}", "closed": "{:%Y-%m-%d %H:%M}"}
    return [
        [formats.get(name, "{}").format(value) for name, value in zip(_TRADE_COLUMNS, row, strict=True)]
        for row in result.trades[_TRADE_COLUMNS].itertuples(index=False)
    ]


def _provenance(result: Backtest) -> list[tuple[str, str]]:
    of_models = result.model_set.provenance
    rows = [(name.replace("_", " "), value) for name, value in result.settings.model_dump(mode="json").items()]
    rows += [(f"training: {name.replace('_', ' ')}", value) for name, value in of_models.get("settings", {}).items()]
    rows += [
        ("detector", result.model_set.detector.name),
        ("training seen up to", result.model_set.validation_end),
        ("candles sha256", result.fingerprint),
        ("training candles sha256", of_models.get("fingerprint", "")),
        ("commit", of_models.get("commit") or "unknown"),
        ("versions", ", ".join(f"{name} {number}" for name, number in of_models.get("versions", {}).items())),
    ]
    return [(name, "default" if value is None else str(value)) for name, value in rows]
