"""The model server: forecasts over HTTP, and how all services are, for programs and for people."""

from runners.live.server.server import KEY_VARIABLE, Server

__all__ = ["KEY_VARIABLE", "Server"]
