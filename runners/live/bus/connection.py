"""Connects to the Redis of a dataset's services, either by URL or embedded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import redis

from data.errors import LiveError, SettingsError
from runners.live.bus.bus import Bus, Connect, redis_refusal
from runners.live.bus.embedded_redis import client_options, embedded_redis
from runners.live.bus.stream import Redis


@dataclass(frozen=True)
class BusLocation:
    """Location of one dataset's bus.

    Attributes
    ----------
    name
        The dataset.
    folder
        Folder of the embedded Redis's data and of the kill switch's file.
    redis_url
        URL of another Redis, such as ``redis://localhost:6379/0``; None for the embedded one.
    durable
        Whether the embedded Redis writes to disk before it answers. A replay does not need that.
    """

    name: str
    folder: Path
    redis_url: str | None = None
    durable: bool = True

    @cached_property
    def connect(self) -> Connect:
        """Function that returns the bus; raises SettingsError if the URL is invalid."""
        url = self.redis_url
        if url is None:
            return lambda: Bus(embedded_redis(self.folder, durable=self.durable), self.name)
        try:
            _client(url).close()
        except ValueError as error:
            shown = url.replace(self.redis_password, "***") if self.redis_password else url
            raise SettingsError(f"--redis {shown}: {str(error).rstrip('.')}.") from None
        return lambda: Bus(_client(url), self.name)

    @property
    def kill_file(self) -> Path:
        return self.folder / "KILL"

    @property
    def redis_password(self) -> str:
        """The password in the URL; all of a URL that cannot be read."""
        url = self.redis_url or ""
        try:
            return urlsplit(url).password or ""
        except ValueError:
            return url


@contextmanager
def connected(connect: Connect) -> Iterator[Bus]:
    """The bus; raises LiveError, also within the block, if Redis cannot be reached or rejects a command."""
    try:
        bus = connect()
        bus.redis.ping()
        yield bus
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise redis_refusal(error) from None
    except redis.RedisError as error:
        reason = str(error).rstrip(".")
        raise LiveError(f"Redis cannot be reached: {reason}. Start it, or use another one with --redis.") from None


def durability_warning(connect: Connect) -> str | None:
    """A warning if Redis may lose decisions when it restarts; None also if it cannot be reached."""
    try:
        if connect().redis.config_get("appendonly").get("appendonly") != "no":
            return None
    except redis.RedisError:
        return None
    return (
        "When this Redis restarts, it loses everything since its last snapshot, including the paper account. Set "
        "appendonly yes in its configuration."
    )


def _client(url: str) -> Redis:
    return redis.Redis.from_url(url, **client_options())
