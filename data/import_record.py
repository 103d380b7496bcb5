"""The record beside a CSV of how `regimes import` made it: ``NAME.import.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from data.errors import DamagedFileError
from data.files import read_json, sha256_of, write_json

_RECORD = ".import.json"


def write_record(file: Path, sources: Mapping[str, str], notes: Sequence[str]) -> Path:
    """Write the record of the CSV ``file``; ``sources`` are the paths and sha256 of the vendor's files."""
    record = file.with_suffix(_RECORD)
    write_json(record, {"sources": dict(sources), "sha256": sha256_of(file), "notes": list(notes)})
    return record


def import_notes(file: Path) -> list[str]:
    """What `regimes import` noted when it made this CSV; empty if something else made it."""
    record = file.with_suffix(_RECORD)
    if not record.exists():
        return []
    try:
        notes = read_json(record).get("notes")
    except DamagedFileError as error:
        return [str(error)]
    return [str(note) for note in notes] if isinstance(notes, list) else [f"{record}: has no notes."]
