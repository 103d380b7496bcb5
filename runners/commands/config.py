"""`regimes init` and `regimes config`: every setting, what it means, and where its value comes from."""

from pathlib import Path

from pydantic import BaseModel

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import ConfigOption, HomeOption, JsonOption
from runners.live.settings import LiveSettings
from runners.workspace.settings import CONFIG_NAME, make_settings, read_config
from runners.workspace.workspace import Home
from training.search.settings import SearchSettings
from training.settings import TrainSettings, WalkForwardSettings

TABLES: dict[str, type[BaseModel]] = {
    "train": TrainSettings,
    "optimize": SearchSettings,
    "backtest": BacktestSettings,
    "walk_forward": WalkForwardSettings,
    "live": LiveSettings,
}

_HEAD = """# Settings of this workplace. A line without its # overrides the default; a flag overrides the line.

# The folder with data/csv, models/trained and results.
# home = "."

# Python files with features, detectors or strategies of your own, known to every command.
# code = ["my_features.py"]
"""

_NETWORK_EXAMPLE = """[train.networks.bullish]
window = 40"""


def init(home: HomeOption = None) -> None:
    """Write a commented regimes.toml with every setting and its default, and the folders of a workplace."""
    from data.errors import SettingsError
    from runners.terminal import print_path

    folder = Path(home or ".")
    file = folder / CONFIG_NAME
    if file.exists():
        raise SettingsError(f"{file}: is there already; move it away to have a new one written.")
    for part in Home(folder, {}).folders:
        part.mkdir(parents=True, exist_ok=True)
    file.write_text(commented_settings(), encoding="utf-8")
    print_path("settings", file)


def commented_settings() -> str:
    """TOML in which every setting stands commented out, with its meaning and default."""
    import tomli_w

    parts = [_HEAD]
    for table, kind in TABLES.items():
        lines = [f"[{table}]"]
        for name, field in kind.model_fields.items():
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            if isinstance(default, dict):
                shown = _NETWORK_EXAMPLE
            else:
                shown = f"{name} = " if default is None else tomli_w.dumps({name: default}, multiline_strings=False)
            lines += [f"# {field.description}", *(f"# {line}" for line in shown.strip().splitlines()), ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def config(
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show every setting's value, and whether it is the default or comes from a file."""
    from runners.terminal import print_json, print_table

    given = read_config(config) if config else Home.find(home).config
    source = str(config or CONFIG_NAME)
    rows = []
    for table, kind in TABLES.items():
        in_file = given.get(table, {})
        values = make_settings(kind, in_file, source).model_dump(mode="json")
        rows += [(table, name, value, source if name in in_file else "default") for name, value in values.items()]
    if json:
        print_json({f"{table}.{name}": {"value": value, "from": origin} for table, name, value, origin in rows})
        return
    shown = [[f"{table}.{name}", _shown(value), origin] for table, name, value, origin in rows]
    print_table("", ["setting", "value", "from"], shown)


def _shown(value: object) -> str:
    if value is None or value == {}:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
