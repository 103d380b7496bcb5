"""Parses numbers as people and websites write them: ``$1,234.50``, ``1.234,50``, ``3.4M``."""

from __future__ import annotations

import numpy as np
import pandas as pd

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
