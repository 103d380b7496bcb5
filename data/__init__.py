"""Candles, features, windows and splits; the ground floor, which imports no other package of this project."""
