"""Names the files, programs and addresses that user code opened while it was checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runners.lookahead.fresh import Ran
from runners.lookahead.outcome import Unchecked
from runners.lookahead.under_test import UnderTest


def opened_files(under_test: UnderTest, runs: Iterable[Ran[Any]]) -> tuple[list[str], list[Unchecked]]:
    """A finding if user code opened the file of the candles, and the others, which cannot be checked."""
    names = dict.fromkeys(name for run in runs for name in run.opened)
    code = " and ".join(file.name for file in under_test.code)
    findings, unchecked = [], []
    for name in names:
        if _is_file(name, under_test.candle_file):
            findings.append(f"{code} looks ahead: it reads {name}, the file of the candles, with all later bars.")
        else:
            unchecked.append(Unchecked(name, f"{code} opens {name}, which cannot be checked"))
    return findings, unchecked


def _is_file(name: str, file: Path | None) -> bool:
    return file is not None and Path(name).exists() and file.exists() and file.samefile(name)
