"""Downloads candles into the CSV files of a workspace and continues files that exist."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data.calendar import missing_bars
from data.candles import read_candles, time_text
from data.download import CandleSource, new_candles, require_nothing_earlier, step_of
from data.errors import DataError, SettingsError
from data.growing_csv import GrowingCsv
from runners.workspace.workspace import Workspace

_DAY = "%Y%m%d"


@dataclass(frozen=True)
class Place:
    """Where the candles of one download lie: the existing CSV, the part file and the final CSV."""

    workspace: Workspace
    stem: str  # of the file, without the end date that a ``dated`` one has
    dated: bool

    @classmethod
    def find(cls, workspace: Workspace, symbol: str, timeframe: str, since: dt.date | None, name: str | None) -> Place:
        """The place that the dataset's name gives; without a name, symbol, timeframe and first day give it."""
        workspace.csv.mkdir(parents=True, exist_ok=True)
        if name is not None:
            if Path(name).name != name or name.endswith(".csv"):
                raise SettingsError(f"--name: {name!r} is no dataset's name, which has no folder and no .csv.")
            return cls(workspace, name, dated=False)
        if since is None:
            raise SettingsError("--since YYYY-MM-DD, the first day, is needed; or --name, to append to a file.")
        plain = re.sub(r"[^A-Za-z0-9.-]", "", symbol.replace(":", "-"))
        return cls(workspace, f"{plain}_{timeframe}_{since.strftime(_DAY)}", dated=True)

    @property
    def part(self) -> Path:
        return self.workspace.csv / f"{self.stem}.part"

    def existing(self) -> Path | None:
        """The CSV to continue, if there is one; of several dated ones the one that ends last."""
        if not self.dated:
            file = self.workspace.csv / f"{self.stem}.csv"
            return file if file.exists() else None
        dated = re.compile(re.escape(self.stem) + r"_\d{8}")
        return max((file for file in self.workspace.csv.glob("*.csv") if dated.fullmatch(file.stem)), default=None)

    def final(self, last: pd.Timestamp) -> Path:
        """The CSV's path when ``last`` is its last candle.

        A dated file is renamed when candles are appended, unless models or results belong to its name.
        """
        existing = self.existing()
        if existing and (not self.dated or self._in_use(existing)):
            return existing
        return self.workspace.csv / (f"{self.stem}_{last.strftime(_DAY)}.csv" if self.dated else f"{self.stem}.csv")

    def _in_use(self, file: Path) -> bool:
        return (self.workspace.trained / file.stem).exists() or (self.workspace.results / file.stem).exists()


@dataclass(frozen=True)
class Downloaded:
    """The result of a download: the number of new bars, and what the file now holds."""

    path: Path
    new_bars: int
    bars: int
    first: pd.Timestamp
    last: pd.Timestamp
    missing_bars: int
    warnings: list[str]


class Download:
    """One download: `run` adds the new candles to the part file, `finish` gives the file its final name.

    Parameters
    ----------
    since
        First day (UTC); None for a file that exists, which is continued from its last candle.
    end
        Candles that open before it are wanted; None: all that have closed.

    Attributes
    ----------
    start
        Open time of the last candle known; ``since`` if none is.
    new_bars
        Bars added so far, all of them on the disk.
    resumed_bars
        Bars that an interrupted download left in the part file; 0 if there is none.
    """

    def __init__(self, place: Place, timeframe: str, since: pd.Timestamp | None, end: pd.Timestamp | None) -> None:
        self._place, self._timeframe, self._since, self._end = place, timeframe, since, end
        self._file = GrowingCsv(place.part, place.existing())
        self._known = self._file.known()
        start = since if self._known is None else self._known.index[-1]
        if start is None:
            raise SettingsError(f"{place.stem}.csv is not there; its first download needs --since YYYY-MM-DD.")
        self.start: pd.Timestamp = start
        self.new_bars = 0
        self.resumed_bars = len(self._known) if self._known is not None and self._file.source == place.part else 0

    def run(self, source: CandleSource, progress: Callable[[pd.Timestamp], None]) -> None:
        """Add the closed candles that are not known yet; ``progress`` gets each page's last open time.

        Raises
        ------
        DataError
            If the source cannot be reached, has no candles, or differs from the known ones.
        """
        source_path = str(self._file.source)
        if self._known is not None and self._since is not None and not self._place.dated:
            require_nothing_earlier(source, self._since, self._known, source_path)
        for page in new_candles(source, self.start, self._end, self._known, source_path):
            self._file.append(page)
            self.new_bars += len(page)
            progress(page.index[-1])
        if self._file.source is None:
            raise DataError(f"{source.name}: there is no closed candle in the time asked for.")

    def finish(self) -> Downloaded:
        """Give the file its final name, and report what it holds and lacks."""
        candles = read_candles(self._file.source or self._place.part)
        index = pd.DatetimeIndex(candles.index)
        existing = self._file.existing
        final = self._place.final(index[-1]) if existing is None or self._file.part.exists() else existing
        self._file.finish(final)
        missing = missing_bars(index)
        warnings = list(self._warnings(index[0], missing, existing, final))
        return Downloaded(final, self.new_bars, len(index), index[0], index[-1], missing, warnings)

    def _warnings(self, first: pd.Timestamp, missing: int, existing: Path | None, final: Path) -> Iterator[str]:
        since, timeframe = self._since, self._timeframe
        if since is not None and first > since + pd.Timedelta(days=1) + step_of(timeframe):
            yield f"there are no candles from {since:%Y-%m-%d} to {time_text(first)}."
        if missing:
            yield f"{missing:,} bars of {timeframe} are missing in between (closed days, or gaps); none is invented."
        if existing and existing != final:
            yield f"{existing.name} is now {final.name}; with --name it would keep its name."
        elif existing and self.new_bars and self._place.dated:
            yield f"{existing.name} keeps its name, for models or results belong to it."
