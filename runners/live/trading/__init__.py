"""Decisions, risk limits and brokers of the live trader."""
