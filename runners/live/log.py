"""Configures the services' log: one event per line, JSON outside a terminal, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog

from runners.formatting import visible
from runners.terminal import standard_error

_HIDDEN = "***"
_SIGNATURE = re.compile(r"(signature=)[0-9A-Za-z%]+")  # of a request, in an exchange's error


def start_logging(secrets: Iterable[str] = (), *, level: str = "info") -> None:
    """Log to standard error events of this ``level`` and above, with ``secrets`` replaced by ``***``."""
    hidden = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def hide(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        return {name: _without_secrets(value, hidden) for name, value in event.items()}

    terminal = standard_error.isatty()
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(),
            hide,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(standard_error),
        cache_logger_on_first_use=False,
    )


def _without_secrets(value: Any, hidden: list[str]) -> Any:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, list):
        return [_without_secrets(one, hidden) for one in value]
    if isinstance(value, dict):
        return {name: _without_secrets(one, hidden) for name, one in value.items()}
    text = visible(_SIGNATURE.sub(rf"\1{_HIDDEN}", str(value)))
    for secret in hidden:
        text = text.replace(secret, _HIDDEN)
    return text
