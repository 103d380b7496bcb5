"""Formats results as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import pandas as pd


def result_html(title: str, table: pd.DataFrame, sentences: Iterable[str] = ()) -> str:
    """A title, a table (a dash for a missing value) and sentences, as HTML without scripts or styles."""
    shown = table.astype(object).where(table.notna(), "-")
    with pd.option_context("display.max_colwidth", None):
        rows = shown.to_html(index=False, border=0, float_format="{:.4f}".format, justify="left")
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f"<div><p><b>{escape(title)}</b></p>{rows}{paragraphs}</div>"
