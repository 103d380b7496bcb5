"""Folders that appear whole or not at all, and run ids that sort by time."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import StorageError

LATEST = "latest"


def new_run_id() -> str:
    """UTC time to the microsecond, such as ``20240131T040000.123456Z``."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}"


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``final`` when the block ends and removed when it fails.

    Its name until then begins with a dot, so nobody takes it for a finished one after a crash.

    Raises
    ------
    StorageError
        If something cannot be written.
    """
    draft = _draft(final)
    with _said(final):
        draft.mkdir(parents=True)
        try:
            yield draft
            draft.rename(final)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step; what cannot be written is a `StorageError`, and leaves the earlier text."""
    draft = _draft(path)
    with _said(path):
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def require_writable(folder: Path) -> None:
    """Refuse a folder that nothing can be written into, before the work whose results it is to hold.

    Raises
    ------
    StorageError
        If it, or the nearest one above it that is there, takes no file.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    with _said(folder), tempfile.TemporaryFile(dir=there, buffering=0) as probe:
        probe.write(b"0")


def _draft(final: Path) -> Path:
    """A name beside it that no other process uses: process ids repeat, in containers soon."""
    return final.with_name(f".{final.name}.{secrets.token_hex(4)}")


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({os.strerror(error.errno) if error.errno else error}). What was there before "
            "is whole. Make room, or name a place that you may write into."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON that keeps floats to the last bit; a number that is not finite is an error."""
    text = json.dumps(content, indent=1, allow_nan=False)
    write_text(path, text + "\n")


def mark_latest(folder: Path) -> None:
    """Name a finished run in the file ``latest`` beside it, unless a newer one is named there."""
    marker = folder.parent / LATEST
    if not marker.exists() or marker.read_text(encoding="utf-8").strip() < folder.name:
        write_text(marker, folder.name + "\n")


def latest_run(parent: Path) -> Path | None:
    """The newest finished run in a folder of runs, or None."""
    marker = parent / LATEST
    if marker.exists():
        named = parent / marker.read_text(encoding="utf-8").strip()
        if named.is_dir():
            return named
    runs = sorted(path for path in parent.glob("[0-9]*") if path.is_dir())
    return runs[-1] if runs else None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
