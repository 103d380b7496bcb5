"""Lists the modules of ours that run from `regimes backtest` to the first order: ``python -m tests.call_path``.

Code that runs while a module is imported does not count. A call from a lower floor to a higher one counts as a return
to a higher floor.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import backtrader as bt
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
# The floors, from the highest down; a module belongs to the first whose name begins its own.
FLOORS = [
    *(f"runners.{name}" for name in ("cli", "commands", "live", "report", "search", "lookahead", "tracking")),
    *(f"runners.{name}" for name in ("backtesting", "terminal", "formatting", "workspace")),
    *("strategies", "training", "models", "data"),
]
_OURS = {floor.split(".")[0] for floor in FLOORS}
_IMPORT = "import"


@dataclass
class CallPath:
    """The modules in the order of their first call, and the calls from a lower floor to a higher one."""

    modules: list[str] = field(default_factory=list)
    upwards: list[str] = field(default_factory=list)
    done: bool = False

    def __post_init__(self) -> None:
        self._stacks = threading.local()

    def profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        module = _module_of(frame)
        if module is None or self.done or event not in ("call", "return"):
            return
        stack: list[str] = self._stacks.__dict__.setdefault("stack", [])
        if event == "return":
            if stack:
                stack.pop()
            return
        caller = stack[-1] if stack else None
        if frame.f_code.co_name == "<module>" or caller == _IMPORT:
            stack.append(_IMPORT)
            return
        stack.append(module)
        if module not in self.modules:
            self.modules.append(module)
        if caller and _floor(caller) > _floor(module):
            self.upwards.append(f"{caller} -> {module}")


def _module_of(frame: FrameType) -> str | None:
    file = Path(frame.f_code.co_filename)
    if not file.is_relative_to(ROOT) or file.relative_to(ROOT).parts[0] not in _OURS:
        return None
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def _floor(module: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if f"{module}.".startswith(f"{floor}."))


def _profile(function: Callable[[FrameType, str, Any], None] | None) -> None:
    """Call the function at each call and return in this thread and in new ones; None for none."""
    sys.setprofile(function)
    threading.setprofile(function)


def call_path(workspace: Path, dataset: str) -> CallPath:
    """What runs from ``regimes backtest DATASET`` to the first order that Backtrader's broker gets."""
    from runners.cli import app

    path = CallPath()
    submit = bt.brokers.BackBroker.submit

    def submit_and_stop(self: Any, *arguments: Any, **options: Any) -> Any:
        path.done = True
        _profile(None)  # the rest of the run would take minutes under it
        return submit(self, *arguments, **options)

    bt.brokers.BackBroker.submit = submit_and_stop
    _profile(path.profile)
    try:
        ran = CliRunner().invoke(app, ["backtest", dataset, "--workspace", str(workspace)])
    finally:
        _profile(None)
        bt.brokers.BackBroker.submit = submit
    assert ran.exit_code == 0, ran.output
    assert path.done, "nothing was ordered"
    return path


def main() -> None:
    from data.samples import SP500, sp500_candles
    from models import ModelSet
    from training import TrainSettings, train

    with tempfile.TemporaryDirectory() as folder:
        workspace, candles = Path(folder), sp500_candles()
        (workspace / "data" / "csv").mkdir(parents=True)
        candles.to_csv(workspace / "data" / "csv" / f"{SP500}.csv", date_format="%Y-%m-%dT%H:%M:%SZ")
        model_set: ModelSet = train(candles, SP500, TrainSettings(hidden_dim=8, num_layers=1, epochs=5, lr=0.02))
        model_set.save(workspace / "models" / "trained")
        path = call_path(workspace, SP500)
    print("\n".join(path.modules))
    print(f"{len(path.modules)} modules; {len(path.upwards)} calls from a lower floor to a higher one")
    print("\n".join(path.upwards))


if __name__ == "__main__":
    main()
