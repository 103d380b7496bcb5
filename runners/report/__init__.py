"""What a person reads of a run: figures, plots and pages."""
