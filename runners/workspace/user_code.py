"""Loads Python files with the user's features, detectors and strategies."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from data.errors import SettingsError


def load_code(file: Path) -> ModuleType:
    """Run a Python file, which may register features and detectors; a `SettingsError` names the line that fails."""
    if not file.is_file():
        raise SettingsError(f"{file}: there is no such Python file.")
    name = f"own_code_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{file}: is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Backtrader and pickle look up a class's module by name
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        raise SettingsError(f"{file}{where}: {error.msg}.") from error
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f", line {lines[-1]}" if lines else ""
        raise SettingsError(f"{file}{where}: {type(error).__name__}: {error}") from error
    # Worker processes of joblib and Dask cannot import the module, so they get its code.
    for pickler in ("joblib.externals.cloudpickle", "cloudpickle"):
        if importlib.util.find_spec(pickler):
            importlib.import_module(pickler).register_pickle_by_value(module)
    return module
