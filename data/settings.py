"""The base class of all settings, their error messages, and the table of renamed settings."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from data.errors import SettingsError, did_you_mean

# Renamed settings by table: old name to new name. Files under results/ and models/ may have old names (`upgraded`); in
# regimes.toml, in Python and as a flag, an old name is an error that gives the new one.
RENAMED: dict[str, dict[str, str]] = {
    "regimes.toml": {"home": "workspace"},
    "backtest": {"between": "neutral"},
    "live": {"patience": "retry_seconds"},
    "metrics": {"exposure": "time_in_market"},
}


# Settings by table that earlier versions did not have, with the value that describes what they did.
_WITHOUT: dict[str, dict[str, Any]] = {"train": {"members": 1}}


_LARGEST_INTEGER = 2**32 - 1  # of numpy's seeds; no count needs to be larger
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 200


def shown(value: object) -> str:
    """A value from a file, for an error message: at most a few lines, however large or deep the value is."""
    try:
        return _repr.repr(value)
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return "a number of thousands of digits"


def split_names(text: str) -> list[str]:
    """Names that are separated by commas; those in parentheses, as in ``macd(12,26)``, separate nothing."""
    return [name.strip() for name in re.split(r",(?![^(]*\))", text)]


def _split(given: Any) -> Any:
    return tuple(split_names(given)) if isinstance(given, str) else given


# Names of features: a list, or a text with commas.
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


def upgraded(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a file that an earlier version may have written, as this version would have written them."""
    renamed = RENAMED.get(table, {})
    return {**_WITHOUT.get(table, {}), **{renamed.get(name, name): value for name, value in values.items()}}


class Settings(BaseModel):
    """Base of all settings: frozen, without unknown names or infinite numbers.

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

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_as_number(cls, value: Any, field: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(field.field_name)].annotation
        if isinstance(value, bool) and bool not in (get_args(annotation) or (annotation,)):
            raise ValueError("Input should not be true or false")
        return value

    @field_validator("*")
    @classmethod
    def _bound_integers(cls, value: Any) -> Any:
        if isinstance(value, int) and value > _LARGEST_INTEGER:
            raise ValueError(f"Input should be at most {_LARGEST_INTEGER}")
        return value

    @classmethod
    def from_table(cls, values: Any, source: str, flags: Mapping[str, Any] | None = None) -> Self:
        """Defaults, overridden by a file's table, overridden by flags.

        Parameters
        ----------
        values
            A table of settings.
        source
            Origin of the table, for errors.
        flags
            Values from the command line by name. None (not given) and names of other settings are ignored.

        Raises
        ------
        SettingsError
            For an invalid value or an unknown name.
        """
        if not isinstance(values, dict):
            raise SettingsError(
                f"{source}: expected a table of settings such as [{cls.table}], but found {shown(values)}."
            )
        require_known(values, list(cls.model_fields), source, "setting", RENAMED.get(cls.table, {}))
        given = {name: value for name, value in (flags or {}).items() if value is not None and name in cls.model_fields}
        try:
            return cls(**{**values, **given})
        except ValidationError as error:
            origins = dict.fromkeys(cls.model_fields, "the default")
            origins |= dict.fromkeys(values, source)
            origins |= {name: f"--{name.replace('_', '-')}" for name in given}
            secret = {name for name, field in cls.model_fields.items() if is_secret(field)}
            raise SettingsError(_first_error(error, origins, secret)) from None


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting must not be shown, nor be given on the command line, where other users see it."""
    return SecretStr in get_args(field.annotation)


def _first_error(error: ValidationError, origins: Mapping[str, str], secret: set[str]) -> str:
    """The first error; ``origins`` says for each setting where its value comes from."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if not name:  # two settings contradict each other
        named = [f"{one} comes from {origin}" for one, origin in origins.items() if re.search(rf"\b{one}\b", message)]
        return f"{message}. Change one of them: {', '.join(named)}."
    origin = origins[name.split(".")[0]]
    place = origin if origin.startswith("--") else f"{origin}, {name}"
    given = "something else" if name.split(".")[0] in secret else shown(first["input"])
    return f"{place}: {message}, but {given} was given."


def require_known(
    names: Iterable[str], known: Sequence[str], source: str, kind: str, renamed: Mapping[str, str] | None = None
) -> None:
    """Raise a `SettingsError` for the first unknown name of a ``kind``, with its new or the nearest known name."""
    for name in names:
        if name in known:
            continue
        if renamed and name in renamed:
            raise SettingsError(f"{source}: {name} is called {renamed[name]} now. Rename it.")
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        raise SettingsError(f"{source}: there is no {kind} {shown(name)}.{hint}")


def flat_settings(table: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as text by ``table: name``; those of a nested table by ``table: nested: name``."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flat_settings(f"{table}: {name}", value)
        else:
            flat[f"{table}: {name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
