"""Names that a package gives on first use, so that what does not need them starts without the heavy libraries."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def give_on_first_use(package: str, names: Mapping[str, str]) -> None:
    """Let a package give these names, each out of the module that it is defined in.

    A name may be that of a module in the package, too (``from training import train``): importing that module would
    bind it in the name's place, so such a binding is left out. ``from training.train import ...`` works as ever.
    """

    class Package(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name not in names:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
            return getattr(importlib.import_module(names[name]), name)

        def __setattr__(self, name: str, value: Any) -> None:
            if not (name in names and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    sys.modules[package].__class__ = Package
