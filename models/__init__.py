"""What is learnt, and how it is asked: networks, regime detectors, model sets and the forecaster."""

from models.forecaster import Forecast, Forecaster
from models.model_set import ModelSet
from models.recorded import RecordedForecasts

__all__ = ["Forecast", "Forecaster", "ModelSet", "RecordedForecasts"]
