"""What the services log: one event a line, with its figures; JSON where nobody reads along, and no secret ever."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog

_HIDDEN = "***"
_SIGNATURE = re.compile(r"(signature=)[0-9A-Za-z%]+")  # of a request, in an exchange's error


def start_logging(secrets: Iterable[str] = (), *, level: str = "info") -> None:
    """Send events to standard error, readable on a terminal, JSON lines elsewhere.

    Parameters
    ----------
    secrets
        Texts that must not appear in any event; each is shown as ``***``.
    level
        The least that is told: ``info``, or ``warning``.
    """
    hidden = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def hide(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        return {name: _without(value, hidden) for name, value in event.items()}

    terminal = sys.stderr.isatty()
    show = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(),
            hide,
            show,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _without(value: Any, hidden: list[str]) -> Any:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, list):
        return [_without(one, hidden) for one in value]
    if isinstance(value, dict):
        return {name: _without(one, hidden) for name, one in value.items()}
    text = _SIGNATURE.sub(rf"\1{_HIDDEN}", str(value))
    for secret in hidden:
        text = text.replace(secret, _HIDDEN)
    return text
