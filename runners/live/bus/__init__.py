"""Connects the live services through Redis."""
