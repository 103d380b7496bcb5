"""Does anything look ahead? One check a file; each gives an `Outcome`."""
