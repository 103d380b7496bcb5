"""Commands that need no network do not use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import tomli_w

from tests.conftest import ROOT, SMALL, to_csv

# Python runs this at the start of every process, also of workers. It logs each attempt, because a library may ignore
# the error.
NO_NETWORK = """
import os
import socket

LOOPBACK = ("127.0.0.1", "::1", "localhost", None, "")


def refuse(where):
    with open(os.environ["NETWORK_LOG"], "a") as file:
        file.write(f"{where}\\n")
    raise OSError(f"the network is blocked: {where}")


def guarded(method):
    real = getattr(socket.socket, method)

    def call(self, address, *rest):
        if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
            refuse(address)
        return real(self, address, *rest)

    setattr(socket.socket, method, call)


for method in ("connect", "connect_ex"):
    guarded(method)

real_getaddrinfo = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: (
    real_getaddrinfo(host, *rest, **more) if host in LOOPBACK else refuse(host)
)
"""
LOOP = """
import sys

from typer.testing import CliRunner

from runners.cli import app

if __name__ == "__main__":
    for arguments in (
        ["train", "--jobs", "2"],
        ["evaluate"],
        ["backtest"],
        ["backtest", "--exposure", "0.5"],
        ["compare"],
    ):
        ran = CliRunner().invoke(app, arguments)
        print(arguments, ran.exit_code, ran.output, ran.exception)
        assert ran.exit_code == 0
"""


def run_blocked(folder: Path, script: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The finished script, and its attempts to use the network."""
    (folder / "blocked").mkdir()
    (folder / "blocked" / "sitecustomize.py").write_text(NO_NETWORK)
    (folder / "script.py").write_text(script)
    attempts = folder / "attempts.txt"
    path = os.pathsep.join([str(folder / "blocked"), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(folder / "script.py")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "NETWORK_LOG": str(attempts)},
    )
    return ran, attempts.read_text().splitlines() if attempts.exists() else []


def test_training_scoring_trading_comparing_and_reporting_need_no_network(
    tmp_path: Path, candles: pd.DataFrame
) -> None:
    (tmp_path / "data" / "csv").mkdir(parents=True)
    to_csv(candles, tmp_path / "data" / "csv" / "SWITCH.csv")
    (tmp_path / "regimes.toml").write_text(tomli_w.dumps({"train": SMALL}))
    ran, attempts = run_blocked(tmp_path, LOOP)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert attempts == []
    assert len(list((tmp_path / "results" / "SWITCH").glob("*/report.html"))) == 2


def test_the_block_notices_network_access(tmp_path: Path) -> None:
    for number, call in enumerate(
        ("socket.create_connection(('192.0.2.1', 80))", "socket.getaddrinfo('example.com', 80)")
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        ran, attempts = run_blocked(folder, f"import socket\n{call}\n")
        assert ran.returncode == 1
        assert len(attempts) == 1
