"""`regimes live status`, `kill` and `resume`: how the services are, and the kill switch."""

from __future__ import annotations

from runners.console import out, print_table, say
from runners.live.connection import MeetingPoint, reach
from runners.live.status import Status, read_status

_LATE = 15.0  # seconds without a word, after which a service is taken for dead


def tell_status(point: MeetingPoint, *, json: bool) -> None:
    """Print how all services are."""
    status = read_status(reach(point.connect))
    if json:
        print(status.model_dump_json())
        return
    print_table(f"{status.name}: {status.mode or 'no trader yet'}", ["what", "is"], _rows(status))
    services = [
        [name, "silent" if one.seconds_ago > _LATE else one.state, f"{one.seconds_ago:.0f} s ago", _count(one.behind)]
        for name, one in status.services.items()
    ]
    print_table("", ["service", "state", "last word", "bars behind"], services)
    if status.stopped:
        say(f"STOPPED: {status.stopped}. It goes on after: regimes live resume --dataset {status.name}")


def ask_to_stop(point: MeetingPoint) -> None:
    """Throw the kill switch: the trader closes the position and ends, now or, if none runs, when it starts."""
    bus = reach(point.connect)
    bus.ask_to_stop(True)
    out.print(f"The trader of {point.name} closes its position and stops; see: regimes live status", soft_wrap=True)


def let_resume(point: MeetingPoint) -> None:
    """Take the kill switch back, in Redis and as a file."""
    bus = reach(point.connect)
    point.kill_file.unlink(missing_ok=True)
    if bus.resume():
        out.print(f"The trader of {point.name} may start again; it begins with the next candle.", soft_wrap=True)
    else:
        out.print(f"The trader of {point.name} was not stopped.")


def _rows(status: Status) -> list[list[str]]:
    forecast, decision = status.forecast, status.decision
    rows = [["symbol", f"{status.symbol or '-'} {status.timeframe or ''}".strip()]]
    rows.append(["last candle opened", f"{status.last_candle:%Y-%m-%d %H:%M}" if status.last_candle else "-"])
    if forecast:
        known = forecast.log_return is not None
        rows += [
            ["regime", forecast.regime_name or "not known yet"],
            ["forecast", f"{forecast.log_return:+.4%}" if known else "not known yet"],
            ["models", forecast.models or "-"],
        ]
    if decision:
        rows += [
            ["position", f"{decision.position:g}"],
            ["order", f"{decision.order:+g}" if decision.order else "none"],
            ["limited by", decision.reason or "-"],
            ["equity", f"{decision.equity:,.2f}"],
        ]
    return [*rows, ["dead letters", str(status.dead_letters)]]


def _count(bars: int | None) -> str:
    return "-" if bars is None else str(bars)
