"""Candles, features, windows and splits: the ground floor, which imports nothing of ours."""
