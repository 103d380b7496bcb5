"""Where a workplace keeps its candles, models and results."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import DataError, SettingsError
from runners.own_code import load_code
from runners.settings import CONFIG_NAME, read_config

# What a regimes.toml may hold: the workplace, own code, tables of settings, and what a run's config.toml repeats.
_KNOWN = ["home", "code", "train", "backtest", "file", "models", "fingerprint"]


@dataclass(frozen=True)
class Home:
    """A workplace's folder, and the settings of its ``regimes.toml`` (none where it has no such file).

    The Python files that the settings list as ``code`` are run, so that features and detectors of the user's own are
    known to every command.
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def find(cls, given: Path | None) -> Home:
        """The folder given, or the one that ``regimes.toml`` of the working directory names, or that directory."""
        here = Path(given or ".")
        config = read_config(here / CONFIG_NAME) if (here / CONFIG_NAME).is_file() else {}
        _require_known(here / CONFIG_NAME, config)
        for file in config.get("code", []):
            load_code(here / file)
        if given is None and "home" in config:
            return cls(Path(config["home"]), config)
        return cls(here, config)

    @property
    def csv(self) -> Path:
        return self.path / "data" / "csv"

    @property
    def trained(self) -> Path:
        return self.path / "models" / "trained"

    @property
    def results(self) -> Path:
        return self.path / "results"

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

    def candle_file(self, name: str | None) -> Path:
        """A CSV by its path or its dataset's name; without a name the only one in ``data/csv``."""
        if name is None:
            files = self.candle_files()
            if len(files) > 1:
                raise DataError(f"{self.csv}: holds {len(files)} CSVs. Name one: {', '.join(f.stem for f in files)}.")
            return files[0]
        path = Path(name)
        return path if path.suffix or path.exists() else self.csv / f"{name}.csv"


def _require_known(file: Path, config: dict[str, Any]) -> None:
    for name in config:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_KNOWN)}."
            raise SettingsError(f"{file}: there is no entry {name!r}. {hint}")
