"""`regimes init` and `regimes config`: write and show all settings."""

from pathlib import Path

from data.settings import Settings
from runners.backtesting.settings import BacktestSettings
from runners.commands import options
from runners.live.settings import LiveSettings
from runners.workspace.workspace import CONFIG_NAME, Workspace
from training.search.settings import SearchSettings
from training.settings import TrainSettings, WalkForwardSettings

TABLES: list[type[Settings]] = [TrainSettings, SearchSettings, BacktestSettings, WalkForwardSettings, LiveSettings]

_HEAD = """# Settings of this workspace. Uncomment a line to override a default. A flag overrides the file.

# Folder with data/csv, models/trained and results.
# workspace = "."

# Your own Python files with features, detectors or strategies; every command loads them.
# code = ["my_features.py"]
"""


def init(workspace_folder: options.WorkspaceOption = None) -> None:
    """Create a workspace: its folders, and a commented regimes.toml with every setting and its default."""
    from data.errors import SettingsError
    from runners.terminal import print_path

    folder = Path(workspace_folder or ".")
    file = folder / CONFIG_NAME
    if file.exists():
        raise SettingsError(f"{file}: already exists. Move it away to write a new one.")
    for part in Workspace(folder).folders:
        part.mkdir(parents=True, exist_ok=True)
    file.write_text(commented_settings(), encoding="utf-8")
    print_path("settings", file)


def commented_settings() -> str:
    """TOML with every setting commented out, with its meaning and default."""
    import tomli_w

    parts = [_HEAD]
    for kind in TABLES:
        lines = [f"[{kind.table}]"]
        for name, field in kind.model_fields.items():
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            if isinstance(default, dict):
                shown = "[train.networks.bullish]\nwindow = 40"
            else:
                shown = f"{name} = " if default is None else tomli_w.dumps({name: default}, multiline_strings=False)
            lines += [f"# {field.description}", *(f"# {line}" for line in shown.strip().splitlines()), ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def config(
    workspace_folder: options.WorkspaceOption = None,
    config: options.ConfigOption = None,
    json: options.JsonOption = False,
) -> None:
    """Show the value of every setting, and whether it is the default or comes from a file."""
    from runners.terminal import print_json, print_table

    given = Workspace.open(workspace_folder, config).given
    rows = []
    for kind in TABLES:
        in_file = given.content.get(kind.table, {})
        values = given.make(kind).model_dump(mode="json")
        rows += [
            (kind.table, name, value, given.source if name in in_file else "default") for name, value in values.items()
        ]
    if json:
        print_json({f"{table}.{name}": {"value": value, "from": origin} for table, name, value, origin in rows})
        return
    shown = [[f"{table}.{name}", _shown(value), origin] for table, name, value, origin in rows]
    print_table("", ["setting", "value", "from"], shown)


def _shown(value: object) -> str:
    if value is None or value == {}:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
