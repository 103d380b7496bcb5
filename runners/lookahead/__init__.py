"""Checks for look-ahead bias, one per file; each returns an `Outcome`."""
