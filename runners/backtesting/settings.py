"""Settings of one backtest."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from strategies.settings import TradingSettings


class BacktestSettings(TradingSettings):
    """Settings of one backtest, for the flags and the table ``[backtest]`` in TOML."""

    start: dt.datetime | None = Field(
        None, description="First bar to trade (UTC); default: the first of the test part."
    )
    end: dt.datetime | None = Field(None, description="Last bar to trade (UTC); default: the last one.")
    in_sample: bool = Field(False, description="Allow bars that training has seen.")
