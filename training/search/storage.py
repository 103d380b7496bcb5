"""Opens the storage of a study: a file, Redis or a database, which processes and machines can share."""

from __future__ import annotations

import fcntl
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalRedisBackend
from sqlalchemy.exc import SQLAlchemyError

from data.errors import SettingsError

_REDIS = ("redis://", "rediss://", "unix://")
_KEYS_BEGIN_WITH = "regimes"


def open_storage(address: str) -> BaseStorage:
    """The storage at an address: Redis, a database supported by SQLAlchemy, or else a file, created if missing.

    Raises a `SettingsError` if it cannot be reached, or needs a package that is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Optuna logs every trial; progress bars show them already
    with storage_errors_explained(address):
        try:
            if address.startswith(_REDIS):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    return JournalStorage(JournalRedisBackend(address, prefix=_KEYS_BEGIN_WITH))
            if "://" in address:
                return RDBStorage(address)
            return JournalStorage(JournalFileBackend(address, _SystemLock(address)))
        except (ImportError, ValueError) as error:
            raise SettingsError(f"--storage {without_password(address)}: {_first_line(error)}") from None


@contextmanager
def storage_errors_explained(address: str) -> Iterator[None]:
    """Convert errors of the storage to a `SettingsError` with its address."""
    try:
        yield
    except _storage_errors() as error:
        reason = _first_line(error.__cause__ or error)
        raise SettingsError(f"--storage {without_password(address)}: cannot be used ({reason}).") from None


def without_password(address: str) -> str:
    return re.sub(r"(?<=//)([^@/]*:)[^@/]*(?=@)", r"\1***", address)


class _SystemLock(JournalFileOpenLock):
    """A file lock that the system releases when its holder dies; with Optuna's, other processes wait 30 s."""

    def __init__(self, path: str) -> None:
        self._path = path

    def acquire(self) -> bool:
        self._held = open(self._path, "ab")  # noqa: SIM115
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._held.close()


def _storage_errors() -> tuple[type[Exception], ...]:
    try:
        from redis.exceptions import RedisError
    except ImportError:
        return StorageInternalError, SQLAlchemyError
    return StorageInternalError, SQLAlchemyError, RedisError


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
