"""What can go wrong for a user, each with the remedy in its message; the command line prints these plainly."""

import difflib
from collections.abc import Iterable


class RegimesError(Exception):
    """Base of every error that is the input's or the settings' fault, not the program's."""


class DataError(RegimesError):
    """Candles, features or labels that cannot be used as they are."""


class ModelSetError(RegimesError):
    """A model set that is missing, damaged, of another format or does not fit the candles."""


class SettingsError(RegimesError):
    """A setting that is unknown, out of its range or at odds with another."""


class StorageError(RegimesError):
    """A folder or a file that cannot be written."""


class LiveError(RegimesError):
    """A live service that must not start or go on."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one after a space, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
