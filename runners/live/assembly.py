"""Builds the live services of one dataset from settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from data.candles import OHLCV
from data.errors import SettingsError
from data.intervals import bars_per_year
from runners.backtesting.engine import trading_range
from runners.backtesting.settings import BacktestSettings
from runners.live.bus.connection import BusLocation
from runners.live.bus.exchange_gate import ExchangeGate
from runners.live.messages import MESSAGES_VARIABLE, Messages
from runners.live.replay import Replay
from runners.live.server import KEY_VARIABLE, Server
from runners.live.services.engine import Engine
from runners.live.services.ingest import Ingest, Market, timeframe_of
from runners.live.services.messenger import Messenger
from runners.live.services.model_reloader import ModelReloader
from runners.live.services.trader import Trader
from runners.live.settings import LiveSettings
from runners.live.trading.broker import Broker, PaperBroker
from runners.live.trading.decider import PositionDecider
from runners.live.trading.exchange_account import ExchangeAccount
from runners.live.trading.exchange_broker import ExchangeBroker
from runners.live.trading.exchange_client import trading_client
from strategies.rule_settings import DISTANCES
from strategies.signals import require_densities


@dataclass(frozen=True)
class ServiceFactory:
    """Builds each service from the settings.

    Attributes
    ----------
    models
        The dataset's folder of model sets, or the folder of one set.
    options
        Options of the exchange's client, as in `data.exchange.exchange_client`.
    """

    location: BusLocation
    models: Path
    trading: BacktestSettings
    live: LiveSettings
    options: dict[str, Any] = field(default_factory=dict)

    def model_reloader(self) -> ModelReloader:
        return ModelReloader(self.models, self.trading)

    def market(self, models: ModelReloader) -> Market:
        """The market to trade; raises SettingsError if the symbol is missing or does not fit the models."""
        name, interval = self.location.name, models.forecaster.interval
        if not self.live.symbol:
            raise SettingsError("--symbol is missing. Use ccxt's notation, such as BTC/USDT.")
        missing = [column for column in models.forecaster.columns() if column not in OHLCV]
        if missing:
            raise SettingsError(
                f"the models of {name} read {', '.join(missing)}, which an exchange's candles do not have. "
                "Train models without it, or use --regime-source detector."
            )
        timeframe = self.live.timeframe or timeframe_of(interval)
        market = Market(self.live.exchange, self.live.symbol, timeframe, self.live.retry_seconds, self.options)
        if market.interval != interval:
            raise SettingsError(
                f"the timeframe is {timeframe}, but the models of {name} were trained on {timeframe_of(interval)} bars."
            )
        return market

    def ingest(self, models: ModelReloader) -> Ingest:
        return Ingest(self.location.connect, self.market(models), models.history)

    def replay(self, models: ModelReloader, candles: pd.DataFrame, speed: float | None) -> Replay:
        """Replays the history of the first forecast and the bars that a backtest would trade."""
        forecaster = models.forecaster
        traded, _ = trading_range(pd.DatetimeIndex(candles.index), forecaster.model_set, self.trading)
        replayed = candles.iloc[max(0, traded.start - models.history) : traded.stop]
        first_live = pd.Timestamp(candles.index[traded.start])
        return Replay(self.location.connect, replayed[forecaster.columns()], first_live, forecaster.interval, speed)

    def engine(self, models: ModelReloader) -> Engine:
        return Engine(self.location.connect, models)

    def server(self, models: ModelReloader, host: str, port: int) -> Server:
        return Server(models, self.location.connect, host, port, key=os.environ.get(KEY_VARIABLE))

    def message_urls(self) -> list[str]:
        """URLs from the environment, or else from the settings."""
        given = os.environ.get(MESSAGES_VARIABLE, "").split()
        return given or [url.get_secret_value() for url in self.live.messages]

    def messages(self) -> Messages:
        """The receivers of messages; raises SettingsError if there is none."""
        urls = self.message_urls()
        if not urls:
            raise SettingsError(f"there is nobody to send messages to. Set {MESSAGES_VARIABLE}, or messages in [live].")
        return Messages(urls, f"regimes {self.location.name}")

    def messenger(self) -> Messenger:
        return Messenger(self.location.connect, self.messages())

    def trader(self, models: ModelReloader, *, real: bool, sandbox: bool) -> Trader:
        """A paper trader, or one with real orders."""
        if real:
            return self.real_trader(models, sandbox=sandbox)
        if sandbox:
            raise SettingsError("--sandbox needs --real. Paper trading sends no orders to an exchange.")
        return self.paper_trader(models, self.live.symbol or self.location.name)

    def paper_trader(self, models: ModelReloader, symbol: str, replayed: pd.DataFrame | None = None) -> Trader:
        """A trader without real orders; ``replayed`` are the candles that it trades, if they are known."""
        facts = {"timeframe": timeframe_of(models.forecaster.interval), "mode": "paper"}
        return self._trader(models, symbol, facts, lambda: PaperBroker(self.trading), replayed)

    def real_trader(self, models: ModelReloader, *, sandbox: bool) -> Trader:
        """A trader that sends orders to the exchange; raises SettingsError without credentials or limits."""
        market = self.market(models)
        trading = self.live.applied_to(self.trading)
        unset = [name for name in ("max_position", "max_daily_loss") if not getattr(trading, name)]
        if unset:
            raise SettingsError(f"--real needs limits. Set {' and '.join(unset)} in [live] or by flags.")
        stops = [name for name in DISTANCES if getattr(trading, name)]
        if stops:
            raise SettingsError(
                f"{' and '.join(stops)} cannot be traded with --real: no stop order rests at the exchange yet, so the "
                "position would be unprotected. Remove them, or trade on paper."
            )
        gate = ExchangeGate(self.location.connect, market.exchange, waits=False)
        client = trading_client(market.exchange, market.symbol, market.options, sandbox=sandbox, gate=gate)
        facts = {**market.facts(), "mode": "sandbox" if sandbox else "real"}
        return self._trader(
            models, market.symbol, facts, lambda: ExchangeBroker(ExchangeAccount(client, market.symbol))
        )

    def _trader(
        self,
        models: ModelReloader,
        symbol: str,
        facts: dict[str, str],
        new_broker: Callable[[], Broker],
        replayed: pd.DataFrame | None = None,
    ) -> Trader:
        forecaster = models.forecaster
        require_densities(self.trading.min_probability, has_density=forecaster.has_density)
        per_year = forecaster.bars_per_year
        if replayed is not None:
            traded, _ = trading_range(pd.DatetimeIndex(replayed.index), forecaster.model_set, self.trading)
            per_year = bars_per_year(pd.DatetimeIndex(replayed.index[traded]))

        def new_decider() -> PositionDecider:
            broker, interval = new_broker(), models.forecaster.interval
            return PositionDecider(self.trading, self.live, broker, symbol, facts["timeframe"], interval, per_year)

        return Trader(self.location.connect, new_decider, facts, self.location.kill_file)
