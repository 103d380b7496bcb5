"""Imports candles from the files of vendors."""

from data.importers.importing import Imported, import_candles, remedy
from data.importers.options import ImportOptions, QuestionError, parse_pairs
from data.importers.writing import write_imported

__all__ = ["ImportOptions", "Imported", "QuestionError", "import_candles", "parse_pairs", "remedy", "write_imported"]
