"""Backtests, the registry of runs, and comparisons, sweeps and walk-forwards."""
