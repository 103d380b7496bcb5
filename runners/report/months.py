"""Returns by month, with how strongly the page tints each one."""

from __future__ import annotations

import pandas as pd

MONTH_COLUMNS = ["year", *(f"{month:02d}" for month in range(1, 13)), "total"]
_STRONGEST = 60.0  # per cent of the colour, for the largest return


def monthly_returns(equity: pd.Series, cash: float) -> list[list[tuple[str, float | None]]]:
    """Rows of `MONTH_COLUMNS`: the return of each month and of the year in per cent, and its tint from -60 to 60."""
    closes = equity.tz_convert(None).resample("ME").last().ffill()
    monthly = closes / closes.shift(1, fill_value=cash)
    largest = float((monthly - 1).abs().max()) or 1.0
    rows: list[list[tuple[str, float | None]]] = []
    for year, months in monthly.groupby(pd.DatetimeIndex(monthly.index).year):
        by_month = dict(zip(pd.DatetimeIndex(months.index).month, months - 1, strict=True))
        row: list[tuple[str, float | None]] = [(str(year), None)]
        for month in range(1, 13):
            earned = by_month.get(month)
            row.append(("", None) if earned is None else (f"{100 * earned:+.1f}", _STRONGEST * earned / largest))
        rows.append([*row, (f"{100 * (float(months.to_numpy().prod()) - 1):+.1f}", None)])
    return rows
