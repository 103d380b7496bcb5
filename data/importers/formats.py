"""The description of a vendor's format, and how a table is recognised as one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data.candles import OHLCV, PRICES
from data.importers.tables import Table

_NUMBER = r"-?\d*\.?\d+(?:[eE][+-]?\d+)?"
TIME_COLUMNS = ("timestamp", "date", "time", "milliseconds")
CANDLE = ("timestamp", *OHLCV)
OHLC = dict(zip(PRICES, PRICES, strict=True))
DAY_IN_FILE_NAME = r"(?<!\d)((?:19|20)\d{6})(?!\d)"


@dataclass(frozen=True)
class Format:
    """A vendor's format of candles.

    Attributes
    ----------
    key, name
        Its name for the option ``--format``, and for people.
    columns
        With a header: our name by the name in the header without punctuation (``closelast``); all must be there. An
        empty name means that the column only serves to recognise the format. Without a header: our name of each column.
    optional
        Further names that the header may have.
    cells
        Without a header: the patterns of the first cells of a row; the other cells hold numbers.
    file_name
        Pattern that the file's name must contain.
    zone
        Zone of times without an offset; None: the file does not tell, and ISO 8601 is taken as UTC.
    zone_hint
        What is known about a zone that the file does not tell.
    scale
        Number that prices are multiplied by.
    stamps_close
        Times are those of the bars' ends.
    """

    key: str
    name: str
    columns: Mapping[str, str] | Sequence[str]
    optional: Mapping[str, str] = field(default_factory=dict)
    cells: Sequence[str] = ()
    file_name: str = ""
    zone: str | None = None
    zone_hint: str = "the file does not name its time zone"
    scale: float = 1.0
    stamps_close: bool = False

    @property
    def has_header(self) -> bool:
        return isinstance(self.columns, Mapping)

    def matches(self, table: Table) -> bool:
        """Whether the header, or else the cells of the first row, are those of the format."""
        if self.has_header != (table.names is not None):
            return False
        if table.names is not None:
            return set(self.columns) <= {plain(name) for name in table.names}
        row = table.first_row
        patterns = [*self.cells, *[_NUMBER] * (len(row) - len(self.cells))]
        return (
            len(row) == len(self.columns)
            and bool(re.search(self.file_name, table.source.rpartition("/")[2]))
            and all(re.fullmatch(pattern, cell) for pattern, cell in zip(patterns, row, strict=True))
        )

    def positions(self, table: Table) -> dict[str, int]:
        """The number of the column, from 0, of each of our names."""
        if not isinstance(self.columns, Mapping) or table.names is None:
            return {name: number for number, name in enumerate(self.columns) if name}
        found: dict[str, int] = {}
        for number, name in enumerate(map(plain, table.names)):
            ours = {**self.optional, **self.columns}.get(name)
            if ours:
                found.setdefault(ours, number)
        if "volume" not in found:  # Volume BTC, Volume USD: the first is that of the instrument
            volumes = [number for number, name in enumerate(table.names) if plain(name).startswith("vol")]
            found.update({"volume": volumes[0]} if volumes else {})
        return found


def plain(name: str) -> str:
    """A column's name in lower case without blanks and punctuation: ``closelast`` for ``Close/Last``."""
    return re.sub(r"[^0-9a-z]+", "", name.lower())
