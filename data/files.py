"""Writes files and folders atomically, reads and validates JSON files, and names runs by time."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
import re
import reprlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from data.errors import DamagedFileError, DataError, StorageError

LATEST = "latest"
_DRAFT, _DRAFT_SECONDS = re.compile(r"\..+\.[0-9a-f]{8}"), 86_400
_LONGEST = 220  # bytes of a dataset's name: those of its files and their drafts are longer, and may have 255
_LARGEST_JSON = 64 * 1024 * 1024  # bytes; the losses of a thousand members need less


def require_dataset_name(name: str, source: object) -> None:
    """Raise a `DataError` that begins with ``source`` if results cannot be kept in a folder of this name.

    A hidden folder would not be listed, ``..`` or a name with a slash would lie elsewhere, and of a very long name the
    files could not be written.
    """
    if not name or name.startswith(".") or "/" in name or not name.isprintable() or len(os.fsencode(name)) > _LONGEST:
        raise DataError(
            f"{source}: {name!r} cannot name a dataset. Use a name that does not begin with a dot, and without slashes "
            f"and control characters, of at most {_LONGEST} bytes."
        )


def new_run_id() -> str:
    """UTC time to the microsecond, such as ``20240131T040000.123456Z``."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}"


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A draft folder, renamed to ``final`` when the block ends and removed when it fails.

    The draft's name begins with a dot, so that after a crash no reader mistakes it for a finished folder.

    Raises
    ------
    StorageError
        If a file or the folder cannot be written.
    """
    draft = draft_beside(final)
    with _storage_errors(final):
        draft.mkdir(parents=True)
        try:
            yield draft
            draft.rename(final)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Replace a file's text atomically; on failure, keep the earlier text and raise a `StorageError`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content atomically; on failure, keep the earlier content and raise a `StorageError`."""
    draft = draft_beside(path)
    with _storage_errors(path):
        try:
            draft.write_bytes(content)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def require_writable(folder: Path) -> None:
    """Raise a `StorageError` if no file can be created in a folder, or in its nearest existing parent."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    with _storage_errors(folder), tempfile.TemporaryFile(dir=existing, buffering=0) as probe:
        probe.write(b"0")


def draft_beside(final: Path) -> Path:
    """The name of a draft of ``final``, random because process ids repeat in containers."""
    return final.with_name(f".{final.name}.{secrets.token_hex(4)}")


def old_drafts(folder: Path) -> list[Path]:
    """Drafts in a folder and its subfolders that no command writes any more: nothing in them changed for a day."""
    found = [path for path in folder.rglob(".*") if _DRAFT.fullmatch(path.name)]
    outer = [path for path in found if not any(parent in found for parent in path.parents)]
    before = time.time() - _DRAFT_SECONDS
    return [path for path in outer if all(one.lstat().st_mtime < before for one in (path, *path.rglob("*")))]


def remove_draft(draft: Path) -> None:
    """Remove a draft; raises a `StorageError` if that fails."""
    with _storage_errors(draft):
        if draft.is_dir() and not draft.is_symlink():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Raise errors of the operating system as `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({os.strerror(error.errno) if error.errno else error}). Earlier content is "
            "unchanged. Free some space, or choose a writable folder."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON with exact floats; raise a ValueError if a number is not finite."""
    text = json.dumps(content, indent=1, allow_nan=False)
    write_text(path, text + "\n")


def mark_latest(folder: Path) -> None:
    """Write a finished run's name to the file ``latest`` beside it, unless that names a newer run.

    A name that lies in the future is no newer run: a clock was wrong when it was made.
    """
    marker = folder.parent / LATEST
    named = regular(marker).read_text(encoding="utf-8").strip() if marker.exists() else ""
    if not folder.name < named <= new_run_id():
        write_text(marker, folder.name + "\n")


def latest_run(parent: Path) -> Path | None:
    """The newest finished run in a folder of runs, or None if there is none."""
    marker = parent / LATEST
    if marker.exists():
        named = parent / regular(marker).read_text(encoding="utf-8").strip()
        if named.is_dir():
            return named
    runs = sorted(path for path in parent.glob("[0-9]*") if path.is_dir())
    return runs[-1] if runs else None


def regular(path: Path, largest: int = _LARGEST_JSON) -> Path:
    """The path; raises an `OSError` if something else lies there than a regular file of at most ``largest`` bytes.

    A device, such as ``/dev/zero``, would be read until memory ends.
    """
    if path.exists() and not path.is_dir() and not (path.is_file() and path.stat().st_size <= largest):
        raise OSError(errno.EINVAL, f"is no regular file of at most {largest:,} bytes", str(path))
    return path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# For pydantic's validation of a dataclass that is part of a file.
EXACTLY = ConfigDict(extra="forbid", allow_inf_nan=False)


class JsonFile(BaseModel):
    """Content of a JSON file: exactly the declared types, and no other fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, from_attributes=True)

    @classmethod
    def checked(cls, content: object, path: Path) -> Self:
        """Validate the content of the file at ``path``; a `DamagedFileError` names the first invalid value."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            name, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            mistake = "missing" if first["type"] == "missing" else f"{reprlib.repr(first['input'])} ({reason})"
            raise DamagedFileError(f"{path}: {name} is {mistake}.") from error

    @classmethod
    def read(cls, path: Path, sha256: str) -> Self:
        """Read and validate a file that must have this hash."""
        require_size(path, _LARGEST_JSON)
        require_unchanged(path, sha256)
        return cls.checked(read_json(path), path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises a `DamagedFileError` if there is none or it cannot be read."""
    require_size(path, _LARGEST_JSON)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path}: is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path}: does not contain a JSON object.")
    return content


def require_size(path: Path, largest: int) -> None:
    """Raise a `DamagedFileError` unless there is a regular file (no pipe or device) of at most ``largest`` bytes."""
    if not path.is_file():
        raise DamagedFileError(f"{path}: is missing.")
    size = path.stat().st_size
    if size > largest:
        raise DamagedFileError(f"{path}: has {size:,} bytes, more than the {largest:,} that it may have.")


def require_unchanged(path: Path, sha256: str) -> None:
    """Raise a `DamagedFileError` if a file does not have this hash."""
    try:
        changed = sha256_of(path) != sha256
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror}).") from error
    if changed:
        raise DamagedFileError(f"{path}: has changed since it was written (its sha256 differs).")
