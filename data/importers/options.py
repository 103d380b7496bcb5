"""What a user decides about an import, and the questions of an import that was not told enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from data.errors import DataError, SettingsError


class QuestionError(DataError):
    """A file can be read in several ways; the message names the option that chooses one."""


@dataclass(frozen=True)
class ImportOptions:
    """The decisions of a user; by default none.

    Attributes
    ----------
    format
        Key of the `data.importers.formats.Format` to use; None: the one that the content shows.
    columns
        Name of the file's column, or its number from 1, by our name. ``volume`` may be ``none``.
    no_header
        The first row holds a candle.
    date_format
        ``dmy``, ``mdy`` or ``ymd``, or a format of strptime.
    timezone
        Zone of times without an offset, such as ``Europe/Athens``; ``America/New_York+7`` is 7 h ahead of New York.
    symbol
        The instrument to take from a file with several.
    decimal
        ``comma`` or ``point``; None: what the numbers show.
    close_only
        The file has closes only: a bar opens at the previous close, and high and low are the larger and the smaller.
    adjust
        Multiply the prices by adjusted close / close.
    drop_zero_volume
        Leave out bars without volume, with which some vendors fill gaps.
    resample
        Length of the bars to make, such as ``4h``, at most ``1d``; None: as in the file.
    regime_labels
        Name or number of a regime by the label in the file.
    """

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    no_header: bool = False
    date_format: str | None = None
    timezone: str | None = None
    symbol: str | None = None
    decimal: str | None = None
    close_only: bool = False
    adjust: bool = False
    drop_zero_volume: bool = False
    resample: str | None = None
    regime_labels: Mapping[str, str] = field(default_factory=dict)


def parse_pairs(text: str | None, flag: str) -> dict[str, str]:
    """The pairs of an option such as ``close=Last,volume=Vol.``; raises a `SettingsError` that names the flag."""
    pairs = {}
    for pair in (text or "").split(","):
        left, equals, right = (part.strip() for part in pair.partition("="))
        if left and equals and right:
            pairs[left] = right
        elif text:
            raise SettingsError(f"{flag}: {pair!r} is not a pair such as close=Last. Separate pairs by commas.")
    return pairs
