"""README and docs: their commands and code run, their settings, links and messages exist."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w

from data.features import FEATURES
from models.regimes import DETECTORS
from runners.commands.config import TABLES
from runners.workspace.workspace import read_config
from tests.conftest import ROOT, SMALL, invoke, switching_candles, to_csv
from tests.exchange import Exchange

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
LINKING = [*DOCS, *ROOT.glob("*.md"), *(ROOT / "runners").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.M
)
LINK = re.compile(r"(?:\]\(|src=\"|\]: )([^)\"\s]+)|<(https?://[^>]+)>")


def blocks(page: Path, *languages: str) -> list[tuple[str, str, str | None]]:
    """Language, text and the reason not to run it, of each code block in one of these languages."""
    matches = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(it["language"], it["text"], it["reason"]) for it in matches if it["language"] in languages]


def links(page: Path) -> list[str]:
    without_code = re.sub(r"```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    return [first or second for first, second in LINK.findall(without_code)]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with candles, a model set and a run; its settings are small and name an exchange on loopback."""
    workspace = tmp_path_factory.mktemp("docs")
    candles = switching_candles(3700).drop(columns="regime").round(2)
    exchange = Exchange(candles, page_limit=1000)
    exchange.now = candles.index[-1] + pd.Timedelta(minutes=1)
    search = {"trials": 1, "hidden_dim": [4, 8], "num_layers": 1, "window": [4, 8], "stride": [2, 8]}
    with exchange:
        options = {"binance": exchange.client_options()}
        settings = {"train": SMALL | {"epochs": 1}, "optimize": search, "exchange": options}
        (workspace / "regimes.toml").write_text(tomli_w.dumps(settings))
        (workspace / "data" / "csv").mkdir(parents=True)
        to_csv(candles, workspace / "data" / "csv" / "BTCUSDT_4h.csv")
        for command in ("train", "backtest"):
            assert invoke(workspace, command).returncode == 0
        yield workspace


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.stem)
def test_the_commands_and_the_code_of_a_page_run_in_their_order(
    prepared: Path, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = shutil.copytree(prepared, tmp_path / "workspace")
    monkeypatch.chdir(workspace)
    names: dict[str, object] = {}
    for language, text, _ in blocks(page, "sh", "python"):
        if language == "python":
            exec(compile(text, str(page), "exec"), names)
            continue
        for line in filter(None, (line.split(" #")[0].strip() for line in text.splitlines())):
            program, *arguments = shlex.split(line)
            assert program == "regimes", line
            ran = invoke(workspace, *arguments)
            assert ran.returncode == 0, f"{line}: {ran.stderr}"


def test_the_readmes_own_cerebro_has_the_final_value_of_its_backtest(prepared: Path) -> None:
    code = "".join(text for language, text, _ in blocks(README, "python") if language == "python")
    code = code.replace("TrainSettings(window=40)", f"TrainSettings(**{SMALL | {'epochs': 1}})")
    code = code.replace('neutral="flat"', 'neutral="flat", long_threshold=-0.0004, short_threshold=-0.0012')  # trades
    names: dict[str, Any] = {}
    with contextlib.chdir(prepared):
        exec(compile(code, "README.md", "exec"), names)
    result = names["backtest"](
        names["candles"],
        names["models"],
        names["BacktestSettings"](neutral="flat", long_threshold=-0.0004, short_threshold=-0.0012),
    )
    assert names["cerebro"].broker.getvalue() == result.metrics.final_value
    assert result.metrics.trades > 5


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.stem)
def test_a_block_that_does_not_run_says_why(page: Path) -> None:
    assert [text for _, text, reason in blocks(page, "console") if not reason] == []
    assert [text for _, text, reason in blocks(page, "sh", "python", "toml") if reason] == []


def test_the_demo_ends_with_a_report(tmp_path: Path) -> None:
    """What `make demo` runs after the installation."""
    assert invoke(tmp_path, "demo").returncode == 0
    assert len(list((tmp_path / "results").glob("SP500*/*/report.html"))) == 1


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.stem)
def test_the_settings_of_a_page_exist(page: Path, tmp_path: Path) -> None:
    kinds = {kind.table: kind for kind in TABLES}
    for _, text, _ in blocks(page, "toml"):
        (tmp_path / "regimes.toml").write_text(text)
        for table, values in read_config(tmp_path / "regimes.toml").items():
            if table in kinds:
                kinds[table].from_table(values, page.name)
        assert tomllib.loads(text)


def test_the_links_between_files_lead_somewhere() -> None:
    broken = []
    for page in LINKING:
        for link in (link for link in links(page) if "://" not in link):
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_the_external_links_are_those_of_the_list() -> None:
    """The list is there to be checked now and then by hand; no test uses the network."""
    listed = (ROOT / "docs" / "external_links.txt").read_text(encoding="utf-8").split()
    external = {link for page in LINKING for link in links(page) if "://" in link and "127.0.0.1" not in link}
    assert listed == sorted(external)


def test_the_readme_stays_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_in_the_index_and_linked_from_the_readme() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS)
    listed = re.findall(r"^(\w+)$", "".join(re.findall(r"```{toctree}(.*?)```", text, re.DOTALL)), re.M)
    assert sorted(listed) == [page.stem for page in DOCS if page.stem != "index"]
    linked = {Path(link).stem for link in links(README) if link.startswith("docs/")}
    assert set(listed) - linked == {"api", "commands", "guide", "reference", "changes", "papers"}


def test_every_feature_and_detector_has_a_line() -> None:
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("regimes_and_features.md", "features.md")]
    table = pages[0] + pages[1].split("## Built-in features")[1]
    named = set(re.findall(r"^\| `(\w+)(?:\([\d,]+\))?`", table, flags=re.M))
    own = {"close_to_mean", "mean_reversion"}  # of the example, which other tests register
    assert named - {"auto"} == (set(FEATURES) | set(DETECTORS)) - own


def test_the_live_messages_that_are_explained_exist() -> None:
    page = (ROOT / "docs" / "live.md").read_text(encoding="utf-8").split("## What to do when")[1].split("\n**")[0]
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "runners" / "live").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a message may stand in several lines
    cells = " ".join(re.findall(r"^\| (`.+?) \|", page, flags=re.M))
    messages = {part.strip(" ,") for message in re.findall(r"`(.+?)`", cells) for part in message.split("...")}
    theirs = {"redis.log", "Bad file format", "reason", ""}  # of Redis, or a field of the message
    assert [message for message in messages - theirs if message not in code] == []
