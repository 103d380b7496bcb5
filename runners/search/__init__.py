"""A search's folder, what it searches, and what it has found."""
