"""The Redis streams between the live services."""
