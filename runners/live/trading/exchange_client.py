"""Creates ccxt clients that may trade, with credentials from environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data.errors import SettingsError
from data.exchange import RequestGate, exchange_client

if TYPE_CHECKING:
    import ccxt

# Environment variable of each of ccxt's credentials.
CREDENTIALS = {
    "apiKey": "EXCHANGE_API_KEY",
    "secret": "EXCHANGE_API_SECRET",
    "password": "EXCHANGE_API_PASSWORD",
    "uid": "EXCHANGE_UID",
    "walletAddress": "EXCHANGE_WALLET_ADDRESS",
    "privateKey": "EXCHANGE_PRIVATE_KEY",
}
# Exchanges that were tested to find an order by its client id. Without this an order might be sent twice.
TESTED_EXCHANGES = ("binance",)
VALID_SECONDS = 5.0  # how long Binance accepts a signed request


def credentials() -> dict[str, str]:
    """Credentials from the environment, by ccxt's names."""
    return {name: os.environ[variable] for name, variable in CREDENTIALS.items() if os.environ.get(variable)}


def trading_client(
    exchange: str, symbol: str, options: Mapping[str, Any], *, sandbox: bool, gate: RequestGate | None = None
) -> ccxt.Exchange:
    """A client that may trade; ``gate`` as in `data.exchange.exchange_client`.

    Raises
    ------
    SettingsError
        If credentials are missing, or the exchange has no test network or is not tested for real money.
    """
    if exchange not in TESTED_EXCHANGES and not sandbox:
        raise SettingsError(
            f"--real trades with real money on {', '.join(TESTED_EXCHANGES)} only. Elsewhere it was not tested that "
            "an order is found by its client id, so it might be sent twice. Use --sandbox there."
        )
    client = exchange_client(exchange, {**options, **credentials()}, gate)
    missing = [CREDENTIALS.get(name, name) for name, needed in client.requiredCredentials.items() if needed]
    missing = [variable for variable in missing if not os.environ.get(variable)]
    if missing:
        raise SettingsError(f"--real needs {exchange}'s credentials in the environment: {', '.join(missing)}.")
    if any(letter.isspace() for letter in client.apiKey or ""):
        raise SettingsError(f"{CREDENTIALS['apiKey']} contains white space.")
    client.options["recvWindow"] = int(1000 * VALID_SECONDS)
    client.options["fetchCurrencies"] = False  # not needed for orders, and may fail
    client.enableLastJsonResponse = True
    if exchange in TESTED_EXCHANGES:
        client.options["fetchMarkets"] = {"types": ["linear" if ":" in symbol else "spot"]}
    if sandbox and ":" in symbol and "demo" in client.urls:
        client.enable_demo_trading(True)  # replaces Binance's test network of derivatives
    elif sandbox and client.urls.get("test"):
        client.set_sandbox_mode(True)
    elif sandbox:
        raise SettingsError(f"--sandbox: {exchange} has no test network.")
    return client
