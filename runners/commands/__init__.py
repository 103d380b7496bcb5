"""The commands of `regimes`, one file each; only these print."""
