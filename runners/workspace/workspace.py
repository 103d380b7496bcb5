"""A workspace: the folders of candles, models and results, and its settings files."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data.errors import DataError, SettingsError
from data.files import regular, require_dataset_name
from data.settings import RENAMED, Settings, require_known, shown, upgraded
from runners.workspace.user_code import load_code

CONFIG_NAME = "regimes.toml"

# Entries of a settings file and their types: tables of settings, the workspace, user code, and what a run's config.toml
# adds so that the run can be repeated.
_ENTRIES: dict[str, type] = {
    **dict.fromkeys(["train", "optimize", "backtest", "walk_forward", "live", "exchange"], dict),
    **dict.fromkeys(["workspace", "file", "models", "forecasts", "fingerprint"], str),
    "code": list,
    "chosen_from": int,
}
_LARGEST_CONFIG = 1 << 17  # bytes; the reader takes long for larger ones
_TYPE_NAMES = {dict: "a table", str: "a text", list: "a list of texts", int: "a number"}

AnySettings = TypeVar("AnySettings", bound=Settings)


def read_config(path: Path) -> dict[str, Any]:
    """The content of a settings file; `Settings.from_table` checks its tables.

    Raises
    ------
    SettingsError
        If the file is missing, larger than 128 KiB or not TOML, or an entry is unknown or has the wrong type.
    """
    try:
        config = tomllib.loads(regular(path, _LARGEST_CONFIG).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError, and a number of thousands of digits
        raise SettingsError(f"{path}: is not a TOML file ({error}).") from error
    require_known(config, list(_ENTRIES), str(path), "entry", RENAMED[CONFIG_NAME])
    if "fingerprint" in config:  # a run's config.toml, which an earlier version may have written
        config = {name: upgraded(name, value) if isinstance(value, dict) else value for name, value in config.items()}
    for name, value in config.items():
        texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        is_text = all(isinstance(text, str) and "\0" not in text for text in texts)
        if not isinstance(value, _ENTRIES[name]) or not is_text:
            raise SettingsError(f"{path}: {name} is {shown(value)}, but must be {_TYPE_NAMES[_ENTRIES[name]]}.")
    return config


@dataclass(frozen=True)
class GivenSettings:
    """The content of a settings file, and its name for error messages."""

    content: dict[str, Any]
    source: str

    def make(self, kind: type[AnySettings], flags: dict[str, Any] | None = None) -> AnySettings:
        """Settings of one class: defaults, overridden by the file's table, overridden by flags."""
        return kind.from_table(self.content.get(kind.table, {}), self.source, flags)


@dataclass(frozen=True)
class Workspace:
    """A folder with ``data/csv``, ``models/trained`` and ``results``, and the settings of its ``regimes.toml``.

    Attributes
    ----------
    given
        Content of ``regimes.toml``, or of the file that ``--config`` names.
    code
        Python files that one of the two lists as ``code``; they register the user's features and detectors.
    """

    path: Path
    given: GivenSettings = GivenSettings({}, CONFIG_NAME)
    code: tuple[Path, ...] = ()

    @classmethod
    def open(cls, folder: Path | None, config: Path | None = None) -> Workspace:
        """Open a folder, and run its user code and that of ``config``.

        Parameters
        ----------
        folder
            None: the ``workspace`` of ``config`` or else of ``./regimes.toml``, or the current folder.
        config
            Settings file to use instead of the folder's ``regimes.toml``. Its paths are relative to its own folder.
        """
        here = Path(folder or ".")
        standard = here / CONFIG_NAME
        files = [*([standard] if os.path.lexists(standard) else []), *([config] if config else [])]
        contents = {file: read_config(file) for file in files}
        code = [file.parent / name for file, content in contents.items() for name in content.get("code", [])]
        code = list({file.resolve(): file for file in code}.values())
        for file in code:
            load_code(file)
        named = [file.parent / content["workspace"] for file, content in contents.items() if "workspace" in content]
        path = named[-1] if named and folder is None else here
        if re.search(r"[\udc80-\udcff]", str(path.absolute())):  # bytes that pages and JSON cannot name
            raise SettingsError(f"{path.absolute()}: its name is not UTF-8. Use another folder.")
        given = GivenSettings(contents.get(config or standard, {}), str(config or CONFIG_NAME))
        return cls(path, given, tuple(code))

    @property
    def csv(self) -> Path:
        return self.path / "data" / "csv"

    @property
    def trained(self) -> Path:
        return self.path / "models" / "trained"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def folders(self) -> list[Path]:
        return [self.csv, self.trained, self.results]

    def csv_files(self) -> list[Path]:
        """All CSVs in ``data/csv`` that are not hidden; raise a `DataError` if there is none."""
        files = sorted(file for file in self.csv.glob("*.csv") if not file.name.startswith("."))
        if not files:
            raise DataError(f"{self.csv}: holds no CSV. Put candles there, or name a file.")
        return files

    def candle_files(self, datasets: Iterable[str] | None = None) -> list[Path]:
        """The CSV of each dataset (see `candle_file`); without datasets, all in ``data/csv``.

        Raises a `DataError` if two of them have the same name.
        """
        names = list(datasets or map(str, self.csv_files()))
        files = [self.candle_file(name) for name in names]
        if len({file.stem for file in files}) < len(files):
            raise DataError(f"two of {', '.join(names)} have the same name, which names the dataset. Rename a file.")
        return files

    def candle_file(self, dataset: str | None) -> Path:
        """A dataset's CSV, given by its path or its name in ``data/csv``; None: the only one there.

        Raises
        ------
        DataError
            If None is not enough, or the file's name cannot name a dataset (`data.files.require_dataset_name`).
        """
        if dataset is None:
            files = self.csv_files()
            if len(files) > 1:
                raise DataError(f"{self.csv}: holds {len(files)} CSVs. Name one: {', '.join(f.stem for f in files)}.")
            dataset = str(files[0])
        path, inside = Path(dataset), self.csv / (dataset if dataset.endswith(".csv") else f"{dataset}.csv")
        file = path if path.exists() or (len(path.parts) > 1 and path.suffix) else inside
        require_dataset_name(file.stem, file)
        return file
