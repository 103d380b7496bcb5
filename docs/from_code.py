"""What the manual takes from the code: commands, settings, and links from docstrings to documented names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from typer.core import TyperCommand, TyperGroup

from data.settings import Settings
from runners.cli import COMMANDS, load_command
from runners.commands.config import TABLES

PACKAGES = {"data", "models", "training", "strategies", "runners"}


class CommandsDirective(SphinxDirective):
    """A section for each command of `regimes`: its help, its usage and its options."""

    def run(self) -> list[nodes.Node]:
        text = "\n".join(line for name, command in _commands() for line in _section(name, command))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class SettingsDirective(SphinxDirective):
    """The settings of one table of ``regimes.toml``, with default and meaning."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (kind,) = (kind for kind in TABLES if kind.table == self.arguments[0])
        rows = [(f"`{name}`", _default(field.default), field.description) for name, field in kind.model_fields.items()]
        return self.parse_text_to_nodes("\n".join(_table(("setting", "default", "meaning"), rows)))


def _commands() -> Iterator[tuple[str, TyperCommand]]:
    """Each command by its full name; those of a group follow it, if it has options of its own, and one another."""
    for name in sorted(COMMANDS):
        command = load_command(name)
        if isinstance(command, TyperGroup):
            if getattr(command, "shared", ()):
                yield name, command
            yield from ((f"{name} {part}", below) for part, below in sorted(command.commands.items()))
        else:
            yield name, command


def _section(name: str, command: TyperCommand) -> Iterator[str]:
    context = typer.Context(command, info_name=f"regimes {name}")
    yield from (f"## regimes {name}", "", command.help or "", "")
    yield from ("```text", command.get_usage(context).removeprefix("Usage: "), "```", "", command.epilog or "", "")
    records = [parameter.get_help_record(context) for parameter in getattr(command, "shared", command.params)]
    yield from _table(("option", "meaning"), [(f"`{record[0]}`", record[1]) for record in records if record])
    yield ""


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Iterator[str]:
    for cells in (header, ("---",) * len(header), *rows):
        yield "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def _default(value: Any) -> str:
    if value is None or value in ({}, ()):
        return "not set"
    if isinstance(value, tuple):
        return ", ".join(f"`{part}`" for part in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def is_settings(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Settings)


def settings_signature(app: Sphinx, what: str, name: str, thing: object, *_: object) -> tuple[str, str] | None:
    """A short signature; pydantic's has the bounds of every field."""
    return ("(**settings)", "") if is_settings(thing) else None


def settings_parameters(app: Sphinx, what: str, name: str, thing: Any, options: object, lines: list[str]) -> None:
    """Document the fields of a settings class as its parameters."""
    if is_settings(thing):
        lines += ["", "Parameters", "----------"]
        for field, info in thing.model_fields.items():
            lines += [f"{field} : default {_default(info.default)}".replace("`", "``")]
            lines += [f"    {info.description}".replace("`", "``")]


def skip_pydantic(app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object) -> bool | None:
    return True if name == "model_config" else None


def link_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element) -> nodes.Node | None:
    """Link a name in a docstring to its page, by its last part or, for an attribute, to the page of its class.

    A name without a page stays as it is if our code has it; a name that nothing has is a warning.
    """
    target = node.get("reftarget", "")
    if " " in target:  # a command in single backticks
        return shown
    if node.get("refdomain") != "py":
        return None
    python, parts = env.get_domain("py"), target.split(".")[-1:-3:-1]
    for part in parts:
        documented = [name for name, it in python.objects.items() if name.split(".")[-1] == part and not it.aliased]
        if len(documented) == 1:
            return python.resolve_xref(env, node["refdoc"], app.builder, "obj", documented[0], node, shown)
    owner = getattr(sys.modules.get(node.get("py:module") or ""), node.get("py:class") or "", None)
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] in PACKAGES]
    exists = target in (inspect.getdoc(owner) or "").split() if owner else False  # an attribute of the class itself
    return shown if exists or any(hasattr(module, part) for module in ours for part in parts) else None


def setup(sphinx: Sphinx) -> dict[str, bool]:
    sphinx.add_directive("commands", CommandsDirective)
    sphinx.add_directive("settings", SettingsDirective)
    sphinx.connect("autodoc-process-signature", settings_signature)
    sphinx.connect("autodoc-process-docstring", settings_parameters, priority=100)  # before numpydoc reads it
    sphinx.connect("autodoc-skip-member", skip_pydantic)
    sphinx.connect("missing-reference", link_name)
    return {"parallel_read_safe": True}
