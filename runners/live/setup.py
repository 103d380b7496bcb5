"""How the live services of one dataset's models are put together out of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.candles import OHLCV
from data.errors import SettingsError
from runners.backtesting.settings import BacktestSettings
from runners.live.bus.connection import MeetingPoint
from runners.live.services.engine import Engine
from runners.live.services.ingest import Ingest, Market, timeframe_of
from runners.live.services.model_reloader import NewestModels
from runners.live.services.trader import Trader
from runners.live.settings import LiveSettings
from runners.live.trading.broker import Broker, PaperBroker
from runners.live.trading.decider import Desk
from runners.live.trading.exchange_account import ExchangeAccount, trading_client
from runners.live.trading.exchange_broker import ExchangeBroker


@dataclass(frozen=True)
class Setup:
    """Settings of the services, and the services made of them.

    Attributes
    ----------
    models
        The dataset's folder of model sets, or that of one.
    options
        Of the exchange, as in `data.exchange.exchange_client`.
    """

    point: MeetingPoint
    models: Path
    trading: BacktestSettings
    live: LiveSettings
    options: dict[str, Any] = field(default_factory=dict)

    def newest_models(self) -> NewestModels:
        return NewestModels(self.models, blend=self.trading.blend, regime_source=self.trading.regime_source)

    def market(self, models: NewestModels) -> Market:
        """What to trade where.

        Raises
        ------
        SettingsError
            If no symbol is named, or the models read what no exchange gives, or bars of another interval.
        """
        if not self.live.symbol:
            raise SettingsError("--symbol is needed, as ccxt writes it, such as BTC/USDT.")
        beyond = [name for name in models.forecaster.columns() if name not in OHLCV]
        if beyond:
            raise SettingsError(
                f"the models of {self.point.name} read {', '.join(beyond)}, which an exchange's candles do not have. "
                "Train without, or give --regime-source detector."
            )
        timeframe = self.live.timeframe or timeframe_of(models.forecaster.interval)
        market = Market(self.live.exchange, self.live.symbol, timeframe, self.live.patience, self.options)
        if market.interval != models.forecaster.interval:
            raise SettingsError(
                f"--timeframe: {timeframe} was given, but the models of {self.point.name} were trained on bars of "
                f"{timeframe_of(models.forecaster.interval)}."
            )
        return market

    def ingest(self, models: NewestModels) -> Ingest:
        return Ingest(self.point.connect, self.market(models), models.forecaster.lookback)

    def engine(self, models: NewestModels) -> Engine:
        return Engine(self.point.connect, models)

    def paper_trader(self, models: NewestModels, symbol: str) -> Trader:
        facts = {"timeframe": timeframe_of(models.forecaster.interval), "mode": "paper"}
        return self._trader(models, symbol, facts, lambda: PaperBroker(self.trading))

    def real_trader(self, models: NewestModels, *, sandbox: bool) -> Trader:
        """A trader that sends orders to the exchange.

        Raises
        ------
        SettingsError
            If credentials or the limits that must be set are missing, or as `market` does.
        """
        market = self.market(models)
        unset = [name for name in ("max_position", "max_daily_loss") if getattr(self.live, name) is None]
        if unset:
            raise SettingsError(f"--real needs limits: set {' and '.join(unset)} in [live], or by flags.")
        client = trading_client(market.exchange, market.symbol, market.options, sandbox=sandbox)
        facts = {**market.facts(), "mode": "sandbox" if sandbox else "real"}
        return self._trader(
            models, market.symbol, facts, lambda: ExchangeBroker(ExchangeAccount(client, market.symbol))
        )

    def _trader(
        self, models: NewestModels, symbol: str, facts: dict[str, str], new_broker: Callable[[], Broker]
    ) -> Trader:
        def new_desk() -> Desk:
            interval = models.forecaster.interval
            return Desk(self.trading, self.live, new_broker(), symbol, facts["timeframe"], interval)

        return Trader(self.point.connect, new_desk, facts, self.point.kill_file)
