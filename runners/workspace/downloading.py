"""Downloads candles into the CSV files of a workspace and appends to existing files."""

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
from data.files import require_dataset_name
from data.growing_csv import GrowingCsv
from runners.workspace.workspace import Workspace

_DAY = "%Y%m%d"


@dataclass(frozen=True)
class Place:
    """File paths of one download: the existing CSV, the part file and the final CSV."""

    workspace: Workspace
    stem: str  # of the file, without the last day of a ``dated`` file
    dated: bool

    @classmethod
    def find(cls, workspace: Workspace, symbol: str, timeframe: str, since: dt.date | None, name: str | None) -> Place:
        """The place of the dataset ``name``; without a name, symbol, timeframe and first day name the file."""
        workspace.csv.mkdir(parents=True, exist_ok=True)
        if name is not None:
            if name.endswith(".csv"):
                raise SettingsError(f"--name: {name!r} is not a dataset name. Leave out .csv.")
            require_dataset_name(name, "--name")
            return cls(workspace, name, dated=False)
        if since is None:
            raise SettingsError("Give the first day as --since YYYY-MM-DD, or --name to append to a file.")
        plain = re.sub(r"[^A-Za-z0-9.-]", "", symbol.replace(":", "-"))
        stem = f"{plain}_{timeframe}_{since.strftime(_DAY)}"
        require_dataset_name(stem, f"{symbol}, without --name")
        return cls(workspace, stem, dated=True)

    @property
    def part(self) -> Path:
        return self.workspace.csv / f"{self.stem}.part"

    def existing(self) -> Path | None:
        """The CSV to append to, or None; if several dated files match, the one with the latest last day."""
        if not self.dated:
            file = self.workspace.csv / f"{self.stem}.csv"
            return file if file.exists() else None
        dated = re.compile(re.escape(self.stem) + r"_\d{8}")
        return max((file for file in self.workspace.csv.glob("*.csv") if dated.fullmatch(file.stem)), default=None)

    def final(self, last: pd.Timestamp) -> Path:
        """The CSV's path if its last candle is ``last``; a dated file with models or results keeps its name."""
        existing, workspace = self.existing(), self.workspace
        if existing:
            in_use = any((parent / existing.stem).exists() for parent in (workspace.trained, workspace.results))
            if in_use or not self.dated:
                return existing
        return workspace.csv / (f"{self.stem}_{last.strftime(_DAY)}.csv" if self.dated else f"{self.stem}.csv")


class Download:
    """One download: `run` adds the new candles to the part file, `finish` renames it to its final name.

    Parameters
    ----------
    since
        First day (UTC); None to continue an existing file from its last candle.
    end
        Download only candles that open before it; None: all closed candles.

    Attributes
    ----------
    start
        Open time of the file's last candle; ``since`` for a new file.
    new_bars
        Bars added so far, all of them on disk.
    resumed_bars
        Bars that an interrupted download left in the part file.
    """

    def __init__(self, place: Place, timeframe: str, since: pd.Timestamp | None, end: pd.Timestamp | None) -> None:
        self._place, self._timeframe, self._since, self._end = place, timeframe, since, end
        self._file = GrowingCsv(place.part, place.existing())
        self._known = self._file.known()
        start = since if self._known is None else self._known.index[-1]
        if start is None:
            raise SettingsError(f"{place.stem}.csv does not exist. Its first download needs --since YYYY-MM-DD.")
        self.start: pd.Timestamp = start
        self.new_bars = 0
        self.resumed_bars = len(self._known) if self._known is not None and self._file.source == place.part else 0

    def run(self, source: CandleSource, progress: Callable[[pd.Timestamp], None]) -> None:
        """Add new closed candles; call ``progress`` with each page's last open time.

        Raises
        ------
        DataError
            If the source cannot be reached, has no candles, or differs from the file.
        """
        source_path = str(self._file.source)
        if self._known is not None and self._since is not None and not self._place.dated:
            require_nothing_earlier(source, self._since, self._known, source_path)
        for page in new_candles(source, self.start, self._end, self._known, source_path):
            self._file.append(page)
            self.new_bars += len(page)
            progress(page.index[-1])
        if self._file.source is None:
            raise DataError(f"{source.name}: there is no closed candle in this period.")

    def finish(self) -> tuple[Path, pd.DatetimeIndex, list[str]]:
        """Rename the file to its final name; return its path, the open times of all its candles, and warnings."""
        candles = read_candles(self._file.source or self._place.part)
        index = pd.DatetimeIndex(candles.index)
        existing = self._file.existing
        final = self._place.final(index[-1]) if existing is None or self._file.part.exists() else existing
        self._file.finish(final)
        return final, index, list(self._warnings(index, existing, final))

    def _warnings(self, index: pd.DatetimeIndex, existing: Path | None, final: Path) -> Iterator[str]:
        since, timeframe, missing = self._since, self._timeframe, missing_bars(index)
        if since is not None and index[0] > since + pd.Timedelta(days=1) + step_of(timeframe):
            yield f"there are no candles from {since:%Y-%m-%d} to {time_text(index[0])}."
        if missing:
            yield f"{missing:,} bars of {timeframe} are missing (market closed, or gaps); they are not filled."
        if existing and existing != final:
            yield f"{existing.name} was renamed to {final.name}. Use --name to keep a fixed name."
        elif existing and self.new_bars and self._place.dated:
            yield f"{existing.name} keeps its name because it has models or results."
