"""Parses numbers as people and websites write them (``$1,234.50``, ``1.234,50``, ``3.4M``), and labels of regimes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.candles import REGIME_LABELS
from data.csv_table import Rows
from data.errors import SettingsError
from data.importers.options import ImportOptions, QuestionError

_SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_MISSING = ["", "-", ".", "--", "n/a", "na", "nan", "null", "none"]
_THOUSANDS = r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?"
_DECIMAL_COMMA = r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+"


def decimal_of(columns: list[pd.Series]) -> str | None:
    """``comma`` or ``point`` as the decimal sign of these columns; None if both are possible."""
    texts = [column.dropna().astype(str) for column in columns if not pd.api.types.is_numeric_dtype(column)]
    with_comma = [text[text.str.contains(",")] for text in texts]
    commas = pd.concat(with_comma).str.replace(r"[^\d.,+-]", "", regex=True) if with_comma else pd.Series(dtype=str)
    if commas.empty or not commas.str.fullmatch(_DECIMAL_COMMA).all():
        return "point"
    return None if commas.str.fullmatch(_THOUSANDS).all() else "comma"


def parse_number(column: pd.Series, decimal: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers ``(n_rows,)``, NaN where a cell is empty, and the mask of the cells that are no numbers."""
    if pd.api.types.is_numeric_dtype(column) and column.dtype.kind != "b":
        return column.to_numpy(dtype=float), np.zeros(len(column), dtype=bool)
    numbers = pd.to_numeric(column, errors="coerce") if decimal == "point" else pd.Series(np.nan, column.index)
    values = numbers.to_numpy(dtype=float, copy=True)
    odd = np.flatnonzero(np.isnan(values) & column.notna().to_numpy())
    texts = column.iloc[odd].astype(str).str.replace(r"[\s$€£¥']", "", regex=True)
    factor = texts.str[-1:].str.upper().map(_SUFFIXES)
    texts = texts.where(factor.isna(), texts.str[:-1])
    if decimal == "comma":
        texts = texts.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    else:
        texts = texts.where(~texts.str.fullmatch(_THOUSANDS), texts.str.replace(",", "", regex=False))
    parsed = pd.to_numeric(texts, errors="coerce")
    values[odd] = (parsed * factor.fillna(1.0)).to_numpy(dtype=float)
    wrong = np.zeros(len(column), dtype=bool)
    wrong[odd] = (parsed.isna() & ~texts.str.lower().isin(_MISSING)).to_numpy()
    return values, wrong


def parse_labels(rows: Rows, column: pd.Series, options: ImportOptions) -> np.ndarray:
    """The regimes of a column of labels."""
    texts = column.astype(str).str.strip().str.replace(r"\.0$", "", regex=True).fillna("")
    known: dict[str, float] = {name: float(number) for name, number in REGIME_LABELS.items()}
    if options.regime_labels:
        meanings = {label: known.get(name.lower(), name) for label, name in options.regime_labels.items()}
        if odd := [str(name) for name in meanings.values() if not str(name).removesuffix(".0").isdigit()]:
            raise SettingsError(f"--regime-labels: {odd[0]!r} is none of {', '.join(known)} and no number.")
        labels = texts.map({label: float(number) for label, number in meanings.items()})
    else:
        labels = texts.str.lower().map(known).fillna(pd.to_numeric(texts, errors="coerce"))
    unknown = labels.isna().to_numpy()
    starts_late = not options.regime_labels and bool(labels.min() > 0) and not texts.str.lower().isin(known).any()
    if unknown.any() or starts_late:
        found = ", ".join(sorted(texts.unique())[:10])
        raise QuestionError(
            f"{rows.source}: what do the regimes {found} mean? Answer with --regime-labels, such as --regime-labels "
            "1=bearish,2=sideways,3=bullish."
        )
    return labels.to_numpy(dtype=float)
