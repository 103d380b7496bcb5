"""Errors that the command line prints without a traceback; each message names the remedy."""

import difflib
from collections.abc import Iterable


class RegimesError(Exception):
    """Base of all errors that the input or the settings cause, not the program."""


class DataError(RegimesError):
    """Candles, features or labels that cannot be used."""


class ModelSetError(RegimesError):
    """A model set that is missing, is damaged, has another format or does not fit the candles."""


class DamagedFileError(RegimesError):
    """A file of ours that is missing, or changed since it was written."""


class SettingsError(RegimesError):
    """A setting that is unknown, out of range or contradicts another."""


class StorageError(RegimesError):
    """A folder or a file that cannot be written."""


class LiveError(RegimesError):
    """A live service that must not start or must stop."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: a space and the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
