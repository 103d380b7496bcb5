"""The built-in regime detectors; importing this package registers them."""

from models.detectors import hmm, labels, trend

__all__ = ["hmm", "labels", "trend"]
