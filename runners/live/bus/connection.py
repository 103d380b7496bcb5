"""Where the services of one dataset's models meet: any Redis by its URL, or one of the workplace's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from data.errors import LiveError, SettingsError
from runners.live.bus.bus import Bus, Redis, redis_refuses
from runners.live.bus.embedded_redis import client_options, own_redis
from runners.live.services.service import Connect


@dataclass(frozen=True)
class MeetingPoint:
    """What services must have in common to find each other.

    Attributes
    ----------
    name
        The dataset whose models are asked; the streams are called by it.
    folder
        Where an own Redis keeps its data, and where the file of the kill switch is looked for.
    redis_url
        Of another Redis, such as ``redis://localhost:6379/0``, or None.
    durable
        Whether an own Redis writes all to the disk before it answers: what a replay need not wait for.
    """

    name: str
    folder: Path
    redis_url: str | None = None
    durable: bool = True

    @cached_property
    def connect(self) -> Connect:
        """Gives the bus; called again after a connection was lost.

        Raises
        ------
        SettingsError
            If the URL is none.
        """
        url = self.redis_url
        if url is None:
            return lambda: Bus(own_redis(self.folder, durable=self.durable), self.name)
        try:
            _redis_at(url).close()
        except ValueError as error:
            shown = url.replace(self.redis_password, "***") if self.redis_password else url
            raise SettingsError(f"--redis {shown}: {error}.") from None
        return lambda: Bus(_redis_at(url), self.name)

    @property
    def kill_file(self) -> Path:
        return self.folder / "KILL"

    @property
    def redis_password(self) -> str:
        return (urlsplit(self.redis_url).password if self.redis_url else None) or ""


@contextmanager
def reached(connect: Connect) -> Iterator[Bus]:
    """The bus, for commands that do not wait for a Redis that is away.

    Raises
    ------
    LiveError
        If it cannot be reached, or refuses what is asked of it, within the block, too.
    """
    import redis

    try:
        bus = connect()
        bus.redis.ping()
        yield bus
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise redis_refuses(error) from None
    except redis.RedisError as error:
        why = str(error).rstrip(".")
        raise LiveError(f"Redis cannot be reached: {why}. Start it, or name another with --redis.") from None


def tells_loss(connect: Connect) -> str | None:
    """What to say of a Redis that may forget what was decided when it is restarted; None also where it is away."""
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


def _redis_at(url: str) -> Redis:
    from redis import Redis as Client

    return Client.from_url(url, **client_options())
