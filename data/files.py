"""Folders that appear whole or not at all, and run ids that sort by time."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LATEST = "latest"


def new_run_id() -> str:
    """UTC time to the millisecond, such as ``20240131T040000.123Z``."""
    now = dt.datetime.now(dt.UTC)
    return f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z"


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``final`` when the block ends and removed when it fails.

    Its name until then begins with a dot, so nobody takes it for a finished one after a crash.
    """
    draft = final.with_name(f".{final.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


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
