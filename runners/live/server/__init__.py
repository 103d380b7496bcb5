"""Serves forecasts and the services' status over HTTP."""

from runners.live.server.server import KEY_VARIABLE, Server

__all__ = ["KEY_VARIABLE", "Server"]
