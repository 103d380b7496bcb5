"""What comes from outside, such as a file's name, is printed as it is, and cannot control the terminal."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from runners import terminal
from runners.live.log import start_logging
from tests.conftest import command, switching_candles, to_csv

NAME = "[red]x[/b] :smile: \x1b[31m\x9b\u202e"
SHOWN = r"[red]x[/b] :smile: \x1b[31m\x9b\u202e"


def bar(name: str) -> None:
    with terminal.counting_progress("training", {name: 1}) as advance:
        advance(name)


def download(name: str) -> None:
    with terminal.download_bar(name) as progress:
        progress._progress.update(progress._task, visible=True)


@pytest.mark.parametrize(
    "show",
    [
        terminal.out.print,
        terminal.notice,
        terminal.print_error,
        terminal.say,
        lambda name: terminal.print_path("file", Path(name)),
        lambda name: terminal.print_table(name, [""], [["-" * 60]]),
        lambda name: terminal.print_table("", [name], [[""]]),
        lambda name: terminal.print_table("", [""], [[name]], wide=True),
        bar,
        download,
    ],
)
def test_a_name_is_printed_without_markup_and_with_control_characters_escaped(
    show: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for console in (terminal.out, terminal.err):
        monkeypatch.setattr(console, "_width", 120)
    show(NAME)
    printed = "".join(capsys.readouterr())
    assert SHOWN in printed
    assert not set(printed) & {"\x1b", "\x9b", "\u202e"}


def test_a_line_break_in_a_name_does_not_begin_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_path("file", Path("a\nb"))
    terminal.print_table("", [""], [["a\nb"]])
    terminal.notice("a\nb")
    terminal.print_error("a\nb")
    assert "".join(capsys.readouterr()).count(r"a\nb") == 4


def test_the_log_of_live_services_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging()
    structlog.get_logger().warning("refused", why=NAME)
    structlog.reset_defaults()
    assert not set(capsys.readouterr().err) & {"\x1b", "\x9b"}


def test_an_option_with_control_characters_is_escaped_in_its_error(tmp_path: Path) -> None:
    for arguments in (["--\x1b[31mx"], ["\x1b[31mx", "--verbose"]):
        ran = command(tmp_path, "train", *arguments)
        assert ran.returncode == 2
        assert r"\x1b[31mx" in ran.stderr
        assert "\x1b" not in ran.stderr


class _Full:
    """Standard error on a full disk."""

    encoding = "utf-8"

    def write(self, _text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flush = isatty = lambda self: False


@pytest.mark.parametrize("stream", [_Full(), None])
def test_standard_error_that_takes_nothing_ends_neither_a_service_nor_a_command(
    stream: _Full | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    start_logging()
    structlog.get_logger().info("decision")
    structlog.reset_defaults()
    terminal.notice("a warning")
    bar("bar")


def test_what_standard_output_cannot_show_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (tmp_path / "data" / "csv").mkdir(parents=True)
    to_csv(switching_candles(50), tmp_path / "data" / "csv" / "Größe.csv")
    ran = command(tmp_path, "data")
    assert (ran.returncode, "Gr??e" in ran.stdout) == (0, True)
