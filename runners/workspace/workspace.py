"""A workspace: where candles, models and results lie, and the settings that its files give."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data.errors import DataError, SettingsError
from data.settings import RENAMED, Settings, require_known, with_new_names
from runners.workspace.user_code import load_code

CONFIG_NAME = "regimes.toml"

# What a settings file may hold, by type: tables of settings, the workspace and user code, and what a run's config.toml
# adds to repeat the run.
_ENTRIES: dict[str, type] = {
    **dict.fromkeys(["train", "optimize", "backtest", "walk_forward", "live", "exchange"], dict),
    **dict.fromkeys(["workspace", "file", "models", "forecasts", "fingerprint"], str),
    "code": list,
    "chosen_from": int,
}
_TYPE_NAMES = {dict: "a table", str: "a text", list: "a list of texts", int: "a number"}

AnySettings = TypeVar("AnySettings", bound=Settings)


def read_config(path: Path) -> dict[str, Any]:
    """The content of a settings file; `Settings.from_table` checks its tables.

    Raises
    ------
    SettingsError
        If the file is missing or not TOML, or has an entry that is unknown or of another type.
    """
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: is no TOML ({error}).") from error
    require_known(config, list(_ENTRIES), str(path), "entry", RENAMED[CONFIG_NAME])
    if "fingerprint" in config:  # a run's config.toml, maybe of an earlier version
        config = {
            name: with_new_names(name, value) if isinstance(value, dict) else value for name, value in config.items()
        }
    for name, value in config.items():
        texts = value if isinstance(value, list) else []
        if not isinstance(value, _ENTRIES[name]) or not all(isinstance(text, str) for text in texts):
            raise SettingsError(f"{path}: {name} is {value!r}, but must be {_TYPE_NAMES[_ENTRIES[name]]}.")
    return config


@dataclass(frozen=True)
class GivenSettings:
    """The content of a settings file, and its name for errors."""

    content: dict[str, Any]
    source: str

    def make(self, kind: type[AnySettings], flags: dict[str, Any] | None = None) -> AnySettings:
        """The settings of one kind: defaults, overridden by the file's table, overridden by flags."""
        return kind.from_table(self.content.get(kind.table, {}), self.source, flags)


@dataclass(frozen=True)
class Workspace:
    """A folder with ``data/csv``, ``models/trained`` and ``results``, and the settings of its ``regimes.toml``.

    Attributes
    ----------
    config
        Content of ``regimes.toml``; empty where there is no such file.
    code
        The Python files that it lists as ``code``. They are run, so that every command knows the user's features and
        detectors.
    """

    path: Path
    config: dict[str, Any]
    code: tuple[Path, ...] = ()

    @classmethod
    def open(cls, folder: Path | None) -> Workspace:
        """The given folder; without one, the workspace that ``regimes.toml`` here names, or the working directory."""
        here = Path(folder or ".")
        config = read_config(here / CONFIG_NAME) if (here / CONFIG_NAME).is_file() else {}
        code = tuple(here / file for file in config.get("code", []))
        for file in code:
            load_code(file)
        if folder is None and "workspace" in config:
            return cls(Path(config["workspace"]), config, code)
        return cls(here, config, code)

    def settings(self, config: Path | None) -> GivenSettings:
        """The settings of that file; without one, those of ``regimes.toml``."""
        return GivenSettings(read_config(config) if config else self.config, str(config or CONFIG_NAME))

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

    def model_sets(self, dataset: str, models: Path | None = None) -> Path:
        """The folder of a dataset's model sets; ``models`` instead where it is given."""
        return models or self.trained / dataset

    def candle_files(self) -> list[Path]:
        """Every CSV in ``data/csv``.

        Raises
        ------
        DataError
            If there is none.
        """
        files = sorted(self.csv.glob("*.csv"))
        if not files:
            raise DataError(f"{self.csv}: holds no CSV. Put candles there, or name a file.")
        return files

    def candle_file(self, dataset: str | None) -> Path:
        """A dataset's CSV: by its path, its name in ``data/csv`` with or without ``.csv``; None for the only one."""
        if dataset is None:
            files = self.candle_files()
            if len(files) > 1:
                raise DataError(f"{self.csv}: holds {len(files)} CSVs. Name one: {', '.join(f.stem for f in files)}.")
            return files[0]
        path, inside = Path(dataset), self.csv / (dataset if dataset.endswith(".csv") else f"{dataset}.csv")
        return path if path.exists() or (len(path.parts) > 1 and path.suffix) else inside
