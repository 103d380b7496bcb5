"""The services that exchange candles, forecasts and decisions over the bus."""
