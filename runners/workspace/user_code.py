"""A user's own features, detectors and strategies, out of Python files of theirs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from data.errors import SettingsError


def load_code(file: Path) -> ModuleType:
    """Run a Python file, so that what it registers is known.

    Raises
    ------
    SettingsError
        If it is not there or fails, naming the line.
    """
    if not file.is_file():
        raise SettingsError(f"{file}: there is no such Python file.")
    name = f"own_code_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{file}: is no Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Backtrader and pickle look a class's module up by its name
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        raise SettingsError(f"{file}{where}: {error.msg}.") from error
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f", line {lines[-1]}" if lines else ""
        raise SettingsError(f"{file}{where}: {type(error).__name__}: {error}") from error
    _send_along(module)
    return module


def _send_along(module: ModuleType) -> None:
    """Let what the module defines travel to worker processes, which cannot import it, with its code."""
    for pickler in ("joblib.externals.cloudpickle", "cloudpickle"):  # joblib's processes, and a Dask cluster's
        if importlib.util.find_spec(pickler):
            importlib.import_module(pickler).register_pickle_by_value(module)
