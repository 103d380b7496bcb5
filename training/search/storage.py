"""Where a study is kept: a file, a Redis or a database, which several processes and machines may share."""

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
    """The storage at an address: Redis, a database that SQLAlchemy knows, or else a file, made where there is none.

    Raises
    ------
    SettingsError
        If it cannot be reached, or a package that it needs is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every trial; the progress bars do that
    with storage_trouble_told(address):
        try:
            if address.startswith(_REDIS):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    return JournalStorage(JournalRedisBackend(address, prefix=_KEYS_BEGIN_WITH))
            if "://" in address:
                return RDBStorage(address)
            return JournalStorage(JournalFileBackend(address, _LockOfTheSystem(address)))
        except (ImportError, ValueError) as error:
            raise SettingsError(f"--storage {without_password(address)}: {_first_line(error)}") from None


@contextmanager
def storage_trouble_told(address: str) -> Iterator[None]:
    """Within the block a storage that fails is a `SettingsError` that names it."""
    try:
        yield
    except _troubles() as error:
        reason = _first_line(error.__cause__ or error)
        raise SettingsError(f"--storage {without_password(address)}: cannot be used ({reason}).") from None


def without_password(address: str) -> str:
    return re.sub(r"(?<=//)([^@/]*:)[^@/]*(?=@)", r"\1***", address)


class _LockOfTheSystem(JournalFileOpenLock):
    """A lock on the file that the system lifts when its holder dies; for Optuna's own the others wait 30 s then."""

    def __init__(self, path: str) -> None:
        self._path = path

    def acquire(self) -> bool:
        self._held = open(self._path, "ab")  # noqa: SIM115
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._held.close()


def _troubles() -> tuple[type[Exception], ...]:
    try:
        from redis.exceptions import RedisError
    except ImportError:
        return StorageInternalError, SQLAlchemyError
    return StorageInternalError, SQLAlchemyError, RedisError


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
