"""Example scripts; tests run each of them."""
