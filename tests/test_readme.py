"""What the README tells to type is typed, line by line and in its order."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tomli_w
from typer.testing import CliRunner

from runners.cli import app
from runners.commands.config import TABLES
from tests.conftest import ROOT, invoke, switching_candles
from tests.exchange import Exchange

README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"hidden_dim": 8, "num_layers": 1, "epochs": 1, "min_windows": 30}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [line.split(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("make ")]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, but for settings that make the commands quick and name an exchange on loopback."""
    candles = switching_candles(3700).drop(columns="regime").round(2)
    exchange = Exchange(candles, page_limit=1000)
    exchange.now = candles.index[-1] + pd.Timedelta(minutes=1)
    search = {"trials": 1, "hidden_dim": [4, 8], "num_layers": 1, "window": [4, 8], "stride": [2, 8]}
    with exchange:
        options = {"binance": exchange.client_options()}
        settings = {"train": SMALL, "optimize": search, "exchange": options}
        (tmp_path / "regimes.toml").write_text(tomli_w.dumps(settings))
        monkeypatch.chdir(tmp_path)
        yield tmp_path


def test_every_command_of_the_readme_works_in_its_order(workspace: Path) -> None:
    told = commands()
    assert len(told) > 10
    for line in told:
        program, *arguments = shlex.split(line)
        assert program == "regimes", line
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, f"{line}: {ran.output}"
    assert [path.name for path in (workspace / "data" / "csv").iterdir()] == ["BTCUSDT_4h.csv"]
    (script,) = (block for block in blocks("python") if "from runners import" in block)
    exec(compile(script, "README.md", "exec"), {})


def test_the_demo_ends_with_a_report(tmp_path: Path) -> None:
    """What `make demo` runs once it has installed everything; `make test` is what runs this."""
    assert invoke(tmp_path, "demo").returncode == 0
    assert len(list((tmp_path / "results").glob("SP500*/*/report.html"))) == 1


def test_the_settings_that_it_shows_exist() -> None:
    for block in blocks("toml"):
        for table, values in tomllib.loads(block).items():
            for kind in TABLES:
                if kind.table == table:
                    kind.from_table(values, "README.md")


def test_every_file_that_it_links_to_is_there() -> None:
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert linked
    assert [target for target in linked if not (ROOT / target).exists()] == []
