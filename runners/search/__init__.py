"""Search for better settings of a dataset's networks."""
