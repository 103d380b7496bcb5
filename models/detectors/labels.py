"""Regimes from the candles' column ``regime``: predicted by a classifier, or used directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from data.candles import REGIME
from data.errors import DataError
from data.features import DEFAULT_FEATURES
from models.regimes import register_detector


@register_detector
class LabelsDetector:
    """Multinomial logistic regression, fitted to the column on the training part.

    A bar's label may not be known at its close, so trading uses the classifier instead of the column.
    """

    name: ClassVar[str] = "labels"

    def __init__(self) -> None:
        self.features: tuple[str, ...] = (*DEFAULT_FEATURES, "momentum", "trend_strength")
        self.regimes: tuple[int, ...] = ()
        self.memory = 1

    def fit(self, features: np.ndarray, labels: np.ndarray | None, seed: int) -> Self:
        from sklearn.linear_model import LogisticRegression

        if labels is None:
            raise DataError(f"detector 'labels' needs a column {REGIME!r}, which the candles do not have.")
        self.regimes = tuple(int(regime) for regime in np.unique(labels))
        if len(self.regimes) < 2:
            raise DataError(
                f"the training part's column {REGIME!r} holds only {self.regimes[0]}; a classifier needs two regimes. "
                "Train with detector 'hmm' instead, or label more history."
            )
        self.mean_ = features.mean(axis=0)
        self.scale_ = np.where(features.std(axis=0) > 0, features.std(axis=0), 1.0)
        classifier = LogisticRegression(max_iter=1000).fit((features - self.mean_) / self.scale_, labels)
        self.coefficients_, self.intercepts_ = classifier.coef_, classifier.intercept_
        if len(self.regimes) == 2:  # scikit-learn keeps one row then; the other class has score 0
            self.coefficients_ = np.vstack([np.zeros_like(self.coefficients_), self.coefficients_])
            self.intercepts_ = np.append(0.0, self.intercepts_)
        return self

    def filter(self, features: np.ndarray) -> np.ndarray:
        score = ((features - self.mean_) / self.scale_) @ self.coefficients_.T + self.intercepts_
        likelihood = np.exp(score - score.max(axis=1, keepdims=True))
        return likelihood / likelihood.sum(axis=1, keepdims=True)

    def parameters(self) -> dict[str, Any]:
        return {
            "regimes": list(self.regimes),
            "features": list(self.features),
            "mean": self.mean_.tolist(),
            "scale": self.scale_.tolist(),
            "coefficients": self.coefficients_.tolist(),
            "intercepts": self.intercepts_.tolist(),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        detector = cls()
        detector.regimes = tuple(parameters["regimes"])
        detector.features = tuple(parameters["features"])
        detector.mean_ = np.array(parameters["mean"])
        detector.scale_ = np.array(parameters["scale"])
        detector.coefficients_ = np.array(parameters["coefficients"])
        detector.intercepts_ = np.array(parameters["intercepts"])
        return detector


class ColumnDetector:
    """The column itself as the regime, for a column that does not depend on later bars."""

    name: ClassVar[str] = "column"

    def __init__(self, regimes: tuple[int, ...]) -> None:
        self.features: tuple[str, ...] = (REGIME,)
        self.regimes = regimes
        self.memory = 1

    def filter(self, features: np.ndarray) -> np.ndarray:
        certain = (features[:, :1] == np.array(self.regimes)).astype(float)
        return np.where(certain.any(axis=1, keepdims=True), certain, np.nan)
