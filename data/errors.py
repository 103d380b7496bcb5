"""Errors that the command line prints without a traceback."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class RegimesError(Exception):
    """Base of all errors caused by input or settings."""


class DataError(RegimesError):
    """Invalid candles, features or labels.

    Attributes
    ----------
    file
        The CSV of candles that was refused, which `regimes import` may be able to read; None for other errors.
    """

    file: Path | None = None


class ModelSetError(RegimesError):
    """A model set that is missing, damaged, of another format, or incompatible with the candles."""


class DamagedFileError(RegimesError):
    """A file of this package that is missing or has changed since it was written."""


class SettingsError(RegimesError):
    """A setting that is unknown, out of range or in conflict with another."""


class StorageError(RegimesError):
    """A folder or a file that cannot be written."""


class LiveError(RegimesError):
    """A live service that must not start or must stop."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an error message: `` Did you mean 'NAME'?``, or an empty string if no known name is similar."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names for an error message: the first ones, separated by commas, and the number of the others."""
    some = list(names)
    return ", ".join(some[:most]) + (f" and {len(some) - most:,} more" if len(some) > most else "")
