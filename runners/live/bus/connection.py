"""Connects to the Redis of a dataset's services, given by URL or embedded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from data.errors import LiveError, SettingsError
from runners.live.bus.bus import Bus, Connect, redis_refusal
from runners.live.bus.embedded_redis import client_options, embedded_redis
from runners.live.bus.stream import Redis


@dataclass(frozen=True)
class BusLocation:
    """Where the bus of one dataset is; services with the same location find each other.

    Attributes
    ----------
    name
        The dataset.
    folder
        Of the embedded Redis's data and of the kill switch's file.
    redis_url
        Of another Redis, such as ``redis://localhost:6379/0``; None for the embedded one.
    durable
        Whether the embedded Redis writes to the disk before it answers. A replay does not need that.
    """

    name: str
    folder: Path
    redis_url: str | None = None
    durable: bool = True

    @cached_property
    def connect(self) -> Connect:
        """Returns the bus.

        Raises
        ------
        SettingsError
            If the URL is invalid.
        """
        url = self.redis_url
        if url is None:
            return lambda: Bus(embedded_redis(self.folder, durable=self.durable), self.name)
        try:
            _client(url).close()
        except ValueError as error:
            shown = url.replace(self.redis_password, "***") if self.redis_password else url
            raise SettingsError(f"--redis {shown}: {error}.") from None
        return lambda: Bus(_client(url), self.name)

    @property
    def kill_file(self) -> Path:
        return self.folder / "KILL"

    @property
    def redis_password(self) -> str:
        return (urlsplit(self.redis_url).password if self.redis_url else None) or ""


@contextmanager
def connected(connect: Connect) -> Iterator[Bus]:
    """The bus, for commands that do not wait for Redis.

    Raises
    ------
    LiveError
        If Redis cannot be reached or refuses a command, also within the block.
    """
    import redis

    try:
        bus = connect()
        bus.redis.ping()
        yield bus
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise redis_refusal(error) from None
    except redis.RedisError as error:
        why = str(error).rstrip(".")
        raise LiveError(f"Redis cannot be reached: {why}. Start it, or name another with --redis.") from None


def durability_warning(connect: Connect) -> str | None:
    """A warning if Redis may lose decisions when it restarts; None also if Redis is away."""
    import redis

    try:
        if connect().redis.config_get("appendonly").get("appendonly") != "no":
            return None
    except redis.RedisError:
        return None
    return (
        "This Redis forgets what came after its last snapshot when it is restarted, the paper account with it. Set "
        "appendonly yes in its configuration."
    )


def _client(url: str) -> Redis:
    from redis import Redis as Client

    return Client.from_url(url, **client_options())
