"""Settings of one backtest."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from strategies.settings import TradingSettings


class BacktestSettings(TradingSettings):
    """Settings of one backtest; the flags and the TOML file's ``[backtest]`` table are made of it."""

    start: dt.datetime | None = Field(None, description="First bar that trades (UTC); default: the test part's first.")
    end: dt.datetime | None = Field(None, description="Last bar (UTC); default: the last one.")
    in_sample: bool = Field(False, description="Allow a start among the bars that training has seen.")
