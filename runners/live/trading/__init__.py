"""Decisions, limits and brokers of the live trader."""
