"""Records the files, programs and addresses that user code opens, by Python's audit events (PEP 578)."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import threading
from pathlib import Path
from types import FrameType
from typing import Any

_PACKAGE = Path(__file__).parents[2]
_LIBRARIES = tuple(
    f"{Path(str(path)).resolve()}{os.sep}"
    for path in (
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
        *(_PACKAGE / name for name in ("data", "models", "training", "strategies")),
        *(_PACKAGE / "runners" / name for name in ("backtesting", "commands", "lookahead", "workspace")),
    )
)
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")
_MODULES = (".py", ".pyc", ".so", ".pyd", ".dylib")
_METADATA = {"METADATA", "PKG-INFO", "RECORD", "entry_points.txt", "requires.txt", "top_level.txt"}  # of a package
_IMPORT = "<frozen importlib._bootstrap"
_WRITES = os.O_TRUNC | os.O_EXCL

# Which argument of an event names what is opened.
_EVENTS = {
    "sqlite3.connect": 0,
    "socket.connect": 1,
    "socket.getaddrinfo": 0,
    "subprocess.Popen": 1,
    "os.system": 0,
    "os.exec": 0,
    "os.posix_spawn": 0,
}


class Watch:
    """Records what user code opens in this process, from now on.

    It misses what a library opens without Python's knowledge, such as Arrow's own reader of Parquet files. Modules are
    not recorded, nor files that a library opens while it is imported, nor those that the process wrote itself.

    Attributes
    ----------
    opened
        Absolute paths of files, and programs and addresses as text, in the order of their first use.
    """

    def __init__(self) -> None:
        self.opened: dict[str, None] = {}
        self._written: set[str] = set()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            self._open(*arguments)
        elif event in _EVENTS and _by_user(sys._getframe(1)):
            self.opened[_shown(arguments[_EVENTS[event]])] = None

    def _open(self, path: Any, mode: str | None, flags: int) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor that is open already
        name = os.path.abspath(os.fsdecode(path))
        is_package = name.endswith(_MODULES) or name in sys.path or _is_metadata(Path(name))
        if is_package or name.startswith((*_LIBRARIES, *_SYSTEM)) or not _by_user(sys._getframe(2)):
            return
        if flags & _WRITES or flags & os.O_ACCMODE == os.O_WRONLY:
            self._written.add(name)
        elif name not in self._written:
            self.opened[name] = None


def _is_metadata(file: Path) -> bool:
    """Whether it describes an installed package, such as its entry points, which libraries look up when they begin."""
    return file.parent.name.endswith((".dist-info", ".egg-info")) and file.name in _METADATA


def _by_user(frame: FrameType | None) -> bool:
    """Whether user code, or a thread that it may have started, is the cause of an event in this frame."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_IMPORT):
            return False
        if not file.startswith((*_LIBRARIES, "<")):
            return True
        frame = frame.f_back
    return threading.current_thread() is not threading.main_thread()


def _shown(what: Any) -> str:
    if isinstance(what, list | tuple):
        return " ".join(map(_shown, what))
    return os.fsdecode(what) if isinstance(what, bytes) else str(what)
