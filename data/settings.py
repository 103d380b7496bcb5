"""The base of all settings: checked values, clear errors, and one table of renamed settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from data.errors import SettingsError, did_you_mean

# What was renamed, by table: old name to new name. Files under results/ and models/ are read through it
# (`with_new_names`); in regimes.toml, as a flag and in Python an old name is an error that gives the new one.
RENAMED: dict[str, dict[str, str]] = {
    "regimes.toml": {"home": "workspace"},
    "backtest": {"between": "neutral"},
    "live": {"patience": "retry_seconds"},
    "metrics": {"exposure": "time_in_market"},
}


def with_new_names(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with each renamed setting under its new name; for files that an earlier version wrote."""
    renamed = RENAMED.get(table, {})
    return {renamed.get(name, name): value for name, value in values.items()}


class Settings(BaseModel):
    """Base of all settings: frozen, without unknown names and without infinite numbers.

    Attributes
    ----------
    table
        Name of the table in ``regimes.toml`` that holds these settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    table: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, values: Any) -> Any:
        for old, new in RENAMED.get(cls.table, {}).items():
            if isinstance(values, dict) and old in values and old not in cls.model_fields:
                raise ValueError(f"{old} is called {new} now")
        return values

    @classmethod
    def from_table(cls, values: Any, source: str, flags: Mapping[str, Any] | None = None) -> Self:
        """Defaults, overridden by a file's table, overridden by flags.

        Parameters
        ----------
        values
            A table of settings.
        source
            Where the table comes from, for errors.
        flags
            Values from the command line by name; those that are None were not given, and names that are no setting of
            this class are ignored.

        Raises
        ------
        SettingsError
            Naming the setting, the value, what is allowed, and the nearest or new name for an unknown one.
        """
        if not isinstance(values, dict):
            raise SettingsError(
                f"{source}: {values!r} stands where a table of settings belongs, such as [{cls.table}]."
            )
        require_known(values, list(cls.model_fields), source, "setting", RENAMED.get(cls.table, {}))
        given = {name: value for name, value in (flags or {}).items() if value is not None and name in cls.model_fields}
        try:
            return cls(**{**values, **given})
        except ValidationError as error:
            raise SettingsError(_first_error(error, given, source)) from None


def _first_error(error: ValidationError, flags: Mapping[str, Any], source: str) -> str:
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if not name:  # two settings contradict each other, wherever they come from
        return f"{source}: {message}."
    flag = name.split(".")[0]
    origin = f"--{flag.replace('_', '-')}" if flag in flags else f"{source}, {name}"
    return f"{origin}: {message}, but {first['input']!r} was given."


def require_known(
    names: Iterable[str], known: Sequence[str], source: str, kind: str, renamed: Mapping[str, str] | None = None
) -> None:
    """Refuse the first unknown name, with its new or the nearest name.

    Raises
    ------
    SettingsError
        Naming it, and the ``kind`` of thing it should be.
    """
    for name in names:
        if name in known:
            continue
        if renamed and name in renamed:
            raise SettingsError(f"{source}: {name} is called {renamed[name]} now. Rename it.")
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        raise SettingsError(f"{source}: there is no {kind} {name!r}.{hint}")


def flat_settings(table: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as text by ``table: name``; those of a nested table by ``table: nested: name``."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flat_settings(f"{table}: {name}", value)
        else:
            flat[f"{table}: {name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
