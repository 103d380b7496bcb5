"""Trades a dataset's models as candles close: the services of `regimes live`."""
