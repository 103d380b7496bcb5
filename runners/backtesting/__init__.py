"""Backtests, their registry, and what is computed from several of them."""
