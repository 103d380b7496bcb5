"""Where a setting's value comes from: default, TOML file, flag."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from data.errors import SettingsError, did_you_mean

CONFIG_NAME = "regimes.toml"

# What a file of settings may hold, and as what: tables of settings, the workplace and own code, and what a run's
# config.toml repeats.
_ENTRIES: dict[str, type] = {
    **dict.fromkeys(["train", "optimize", "backtest", "walk_forward", "live", "exchange"], dict),
    **dict.fromkeys(["home", "file", "models", "forecasts", "fingerprint"], str),
    "code": list,
    "chosen_from": int,
}
_CALLED = {dict: "a table", str: "a text", list: "a list of texts", int: "a number"}


Settings = TypeVar("Settings", bound=BaseModel)


def read_config(path: Path) -> dict[str, Any]:
    """A TOML file's content; `make_settings` reads its tables.

    Raises
    ------
    SettingsError
        If it is not there, no TOML, or has an entry that is unknown or of another kind.
    """
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: is no TOML ({error}).") from error
    require_known(config, list(_ENTRIES), str(path), "entry")
    for name, value in config.items():
        texts = value if isinstance(value, list) else []
        if not isinstance(value, _ENTRIES[name]) or not all(isinstance(text, str) for text in texts):
            raise SettingsError(f"{path}: {name} is {value!r}, but must be {_CALLED[_ENTRIES[name]]}.")
    return config


@dataclass(frozen=True)
class GivenSettings:
    """What a file of settings holds, and its name for errors."""

    content: dict[str, Any]
    source: str

    def make(self, kind: type[Settings], table: str, flags: dict[str, Any] | None = None) -> Settings:
        """`make_settings` of one of its tables."""
        return make_settings(kind, self.content.get(table, {}), self.source, flags)


def flat_settings(table: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as text, each by its table and name; those of a table within it by its name, too."""
    told: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            told |= flat_settings(f"{table}: {name}", value)
        else:
            told[f"{table}: {name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return told


def require_known(names: Iterable[str], known: Sequence[str], source: str, what: str) -> None:
    """Refuse the first name that is not known, with the nearest one.

    Raises
    ------
    SettingsError
        Naming it, and ``what`` it was to be.
    """
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
            raise SettingsError(f"{source}: there is no {what} {name!r}.{hint}")


def make_settings(kind: type[Settings], table: Any, source: str, flags: dict[str, Any] | None = None) -> Settings:
    """Defaults, overridden by a file's table, overridden by flags (those that are None were not given).

    Raises
    ------
    SettingsError
        Naming the setting, what was given, what is allowed, and the nearest name for an unknown one.
    """
    if not isinstance(table, dict):
        raise SettingsError(f"{source}: {table!r} stands where a table of settings belongs, such as [backtest].")
    require_known(table, list(kind.model_fields), source, "setting")
    given = {name: value for name, value in (flags or {}).items() if value is not None and name in kind.model_fields}
    try:
        return kind(**{**table, **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        flag = name.split(".")[0]
        origin = f"--{flag.replace('_', '-')}" if flag in given else f"{source}, {name}"
        found = first["msg"].removeprefix("Value error, ")
        if not name:  # at odds with each other, whatever they came from
            raise SettingsError(f"{source}: {found}.") from None
        raise SettingsError(f"{origin}: {found}, but {first['input']!r} was given.") from None
