"""Networks, regime detectors, model sets, and forecasts by them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.forecaster import Forecast as Forecast
    from models.forecaster import Forecaster as Forecaster
    from models.model_set import ModelSet as ModelSet
    from models.recorded import RecordedForecasts as RecordedForecasts
    from models.settings import ForecastSettings as ForecastSettings

_MODULES = {
    "Forecast": "forecaster",
    "ForecastSettings": "settings",
    "Forecaster": "forecaster",
    "ModelSet": "model_set",
    "RecordedForecasts": "recorded",
}


def __getattr__(name: str) -> Any:
    """Import torch only when one of the names is used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"models.{_MODULES[name]}"), name)
