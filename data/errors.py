"""What can go wrong for a user, each with the remedy in its message; the command line prints these plainly."""


class RegimesError(Exception):
    """Base of every error that is the input's or the settings' fault, not the program's."""


class DataError(RegimesError):
    """Candles, features or labels that cannot be used as they are."""


class ModelSetError(RegimesError):
    """A model set that is missing, damaged, of another format or does not fit the candles."""


class SettingsError(RegimesError):
    """A setting that is unknown, out of its range or at odds with another."""
