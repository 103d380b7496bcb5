"""Networks, regime detectors, model sets, and forecasts by them."""

from typing import TYPE_CHECKING

from data.lazy_names import lazy_names

if TYPE_CHECKING:
    from models.forecaster import Forecast as Forecast
    from models.forecaster import Forecaster as Forecaster
    from models.model_set import ModelSet as ModelSet
    from models.recorded import RecordedForecasts as RecordedForecasts
    from models.settings import ForecastSettings as ForecastSettings

# Torch is imported only when one of these is used.
__getattr__ = lazy_names(
    __name__,
    {
        "Forecast": "models.forecaster",
        "ForecastSettings": "models.settings",
        "Forecaster": "models.forecaster",
        "ModelSet": "models.model_set",
        "RecordedForecasts": "models.recorded",
    },
)
