"""Where a workplace keeps its candles, models and results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import DataError
from runners.workspace.settings import CONFIG_NAME, GivenSettings, read_config
from runners.workspace.user_code import load_code


@dataclass(frozen=True)
class Home:
    """A workplace's folder, and the settings of its ``regimes.toml`` (none where it has no such file).

    The Python files that the settings list as ``code`` are run, so that features and detectors of the user's own are
    known to every command.
    """

    path: Path
    config: dict[str, Any]
    code: tuple[Path, ...] = ()

    @classmethod
    def find(cls, given: Path | None) -> Home:
        """The folder given, or the one that ``regimes.toml`` of the working directory names, or that directory."""
        here = Path(given or ".")
        config = read_config(here / CONFIG_NAME) if (here / CONFIG_NAME).is_file() else {}
        code = tuple(here / file for file in config.get("code", []))
        for file in code:
            load_code(file)
        if given is None and "home" in config:
            return cls(Path(config["home"]), config, code)
        return cls(here, config, code)

    def given(self, config: Path | None) -> GivenSettings:
        """The settings of that file; without one, the workplace's own."""
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

    def model_set(self, name: str | None, candles: Path | None) -> Path:
        """The folder of a model set or of a dataset's: named, of the dataset of ``candles``, or of the only CSV."""
        name = name or (candles or self.candle_file(None)).stem
        return Path(name) if Path(name).is_dir() else self.trained / name

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
        """A CSV by its path, its name in ``data/csv`` or its dataset's; without a name the only one there."""
        if name is None:
            files = self.candle_files()
            if len(files) > 1:
                raise DataError(f"{self.csv}: holds {len(files)} CSVs. Name one: {', '.join(f.stem for f in files)}.")
            return files[0]
        path, inside = Path(name), self.csv / (name if name.endswith(".csv") else f"{name}.csv")
        return path if path.exists() or (len(path.parts) > 1 and path.suffix) else inside
