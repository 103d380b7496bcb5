"""A registry of features or detectors by name, which knows the files of the user's own code that define them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict

from data.errors import SettingsError
from data.files import sha256_of

_BUILT_IN = ("data.", "models.")  # modules that define what is built in

Entry = TypeVar("Entry")


@dataclass(frozen=True, order=True)
class CodeFile:
    """A file of the user's own code, as it was when it was loaded."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    sha256: str


class Registry(dict[str, Entry]):
    """Entries by name.

    Attributes
    ----------
    code
        The file that defines an entry, by the entry's name; without entries that are built in or defined in a script or
        notebook.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.code: dict[str, CodeFile] = {}
        self._kind = kind
        self._defined_in: dict[str, str] = {}

    def register(self, name: str, entry: Entry, module: Mapping[str, Any]) -> None:
        """Add an entry that a module with these globals defines; a module may define an entry again.

        Raises a `SettingsError` if another module has defined the name.
        """
        module_name, file = str(module.get("__name__", "")), module.get("__file__")
        is_built_in = module_name.startswith(_BUILT_IN)
        where = "the package" if is_built_in else str(Path(file).resolve()) if file else module_name
        before = self._defined_in.get(name)
        if name in self and before != where:
            raise SettingsError(
                f"the {self._kind} {name!r} of {where} is already defined in {before}. Give it another name."
            )
        self[name], self._defined_in[name] = entry, where
        self.code.pop(name, None)
        if file and module_name != "__main__" and not is_built_in:
            self.code[name] = CodeFile(Path(file).name, sha256_of(Path(file)))

    def files(self) -> list[Path]:
        """The files of `code`, in the order of their entries."""
        return list(dict.fromkeys(Path(self._defined_in[name]) for name in self if name in self.code))
