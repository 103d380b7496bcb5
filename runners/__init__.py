"""Commands that a person types: they parse, call, print and write files."""
