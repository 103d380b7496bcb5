"""Report pages, plots and tables of runs."""
