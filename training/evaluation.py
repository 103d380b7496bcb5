"""Evaluates a model set's forecasts on unseen bars, against baselines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from data.candles import REGIME
from data.errors import DataError
from data.features import compute_features
from data.notebook import result_html
from data.windows import targets, windows
from models.conformal import adapted_levels
from models.forecaster import Forecaster, all_regimes_forecasts
from models.model_set import ModelSet
from models.network import Passes
from models.regime_returns import UNKNOWN_RETURNS, RegimeReturns
from models.regimes import regime_name
from models.shrinkage import Shrinkage
from models.student import StudentMixture
from training.density_baselines import garch_baselines, simple_baselines
from training.density_scores import DensityScore, score_densities
from training.importance import permutation_importance
from training.scores import SIGNIFICANCE, Score, diebold_mariano, format_p, score

WHOLE = "all bars"
BY_REGIME = "by regime"  # the density with the regimes' corrections
WITHOUT_REGIMES, LINEAR = "without regimes", "linear t"
EXPERTS, SHRUNK, ONE_LSTM, RIDGE, MEAN, ZERO = "experts", "shrunk", "one LSTM", "ridge", "mean", "zero"


@dataclass(frozen=True)
class RegimeQuality:
    """Frequency, duration and next returns of a regime in one part of the series.

    Attributes
    ----------
    occupancy
        Share of the part's bars.
    mean_duration
        Mean length in bars; None if it never occurs.
    transitions
        Share of its bars that each regime follows, by name.
    mean_return, volatility
        Of the next bar's log return.
    """

    occupancy: float
    mean_duration: float | None
    transitions: dict[str, float]
    mean_return: float | None
    volatility: float | None


@dataclass(frozen=True)
class Classifier:
    """The classifier's predictions of the CSV's labels on the test part.

    ``confusion`` counts bars by label (rows) and prediction (columns), both in the order of ``regimes``.
    """

    accuracy: float
    regimes: list[str]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes
    ----------
    scores
        By group of bars (all bars, or one regime's) and forecast.
    regimes
        By part (``train``, ``test``) and regime.
    forecasts
        ``(n_bars, 9)`` of the test bars: close, regime, outcome and each forecast.
    conclusion
        Which differences are significant, in words.
    shrinkage
        The weights of the forecast ``shrunk``; None for a set of an earlier version, which has no such forecast.
    regime_returns
        Of the model set, see `models.model_set.ModelSet`.
    densities
        By group of bars as in ``scores``, and density; without any for a set without densities.
    importance
        By expert and feature, see `training.importance.permutation_importance`.
    """

    dataset: str
    scores: dict[str, dict[str, Score]]
    regimes: dict[str, dict[str, RegimeQuality]]
    classifier: Classifier | None
    forecasts: pd.DataFrame
    conclusion: str
    shrinkage: Shrinkage | None = None
    regime_returns: RegimeReturns = UNKNOWN_RETURNS
    densities: dict[str, dict[str, DensityScore]] = field(default_factory=dict)
    importance: dict[str, dict[str, float]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        index = self.forecasts.index
        title = f"{self.dataset}, {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, unseen in training"
        rows = [
            {
                "on": self.regime_returns.label(group),
                "bars": one.bars,
                "forecast": name,
                "RMSE": 1e4 * one.rmse,
                "R2": one.r2_zero,
                "hits": one.hit_rate,
                "IC": one.information_coefficient,
                "DM": one.dm_statistic,
                "p": one.dm_p,
            }
            for group, scores in self.scores.items()
            for name, one in scores.items()
        ]
        units = "RMSE in basis points; R2 and Diebold-Mariano's test against the forecast 0: above 0 is better."
        return result_html(title, pd.DataFrame(rows), [units, *self.regime_returns.notes(), self.conclusion])

    def __repr__(self) -> str:
        index, experts = self.forecasts.index, self.scores[WHOLE][EXPERTS]
        lines = [
            f"{self.dataset}, {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {len(index)} bars unseen in training",
        ]
        if experts.r2_zero is not None:
            lines.append(f"experts: R2 {100 * experts.r2_zero:+.2f} % against the forecast 0")
        if density := self.densities.get(WHOLE, {}).get(BY_REGIME):
            inside = 100 * density.coverage["0.8"]
            lines.append(f"density: log score {density.log_score:.3f}, {inside:.1f} % in the 80 % interval")
        return "\n".join([*lines, fill(self.conclusion, 100)])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the forecasts, for JSON."""
        return {
            "dataset": self.dataset,
            "first_bar": self.forecasts.index[0].isoformat(),
            "last_bar": self.forecasts.index[-1].isoformat(),
            "scores": {group: {name: asdict(one) for name, one in row.items()} for group, row in self.scores.items()},
            "regimes": {part: {name: asdict(one) for name, one in row.items()} for part, row in self.regimes.items()},
            "classifier": asdict(self.classifier) if self.classifier else None,
            "conclusion": self.conclusion,
            "shrinkage": asdict(self.shrinkage) if self.shrinkage else None,
            "regime_returns": asdict(self.regime_returns),
            "densities": {
                group: {name: asdict(one) for name, one in row.items()} for group, row in self.densities.items()
            },
            "importance": self.importance,
        }


def evaluate(model_set: ModelSet, candles: pd.DataFrame, *, garch: bool = False) -> Evaluation:
    """Score the forecasts of all bars after the validation part, and baselines on the same bars.

    The experts' forecast is their members' mean; ``shrunk`` combines it with the one LSTM's (`models.shrinkage`). The
    baselines: the forecast 0; the mean return of the training part; ridge regression on the same windows, with its
    penalty chosen by leave-one-out on the training part; and the one LSTM trained on all regimes.

    Densities are scored against their parts, without the regimes' corrections, against those of a normal distribution
    and of the detector, and with ``garch`` of GARCH models, which take some seconds.

    Raises
    ------
    DataError
        If the candles do not contain the training part, or fewer than ten bars after validation can be scored.
    """
    train_end = _train_end(model_set, pd.DatetimeIndex(candles.index))
    forecasts = _forecasts(model_set, candles, train_end)
    training_mean = float(forecasts[MEAN].iloc[0])
    is_test = candles.index > model_set.validation_end
    unseen = forecasts[is_test & forecasts.notna().all(axis=1).to_numpy()]
    if len(unseen) < 10:
        raise DataError(
            f"only {len(unseen)} bars after {model_set.validation_end} can be forecast and scored; add newer candles."
        )
    names = [name for name in (EXPERTS, SHRUNK, ONE_LSTM, RIDGE, MEAN, ZERO) if name in unseen]
    groups = {WHOLE: unseen}
    for regime in sorted(unseen["regime"].unique()):
        groups[regime_name(int(regime))] = unseen[unseen["regime"] == regime]
    scores = {
        group: {name: score(bars[name].to_numpy(), bars["outcome"].to_numpy(), training_mean) for name in names}
        for group, bars in groups.items()
    }
    rows = {group: candles.index.get_indexer(bars.index) for group, bars in groups.items()}
    parts = {"train": forecasts["regime"].iloc[:train_end], "test": forecasts["regime"][is_test]}
    return Evaluation(
        dataset=model_set.dataset,
        scores=scores,
        regimes={part: _regime_quality(regimes, forecasts["outcome"]) for part, regimes in parts.items()},
        classifier=_classifier(model_set, candles, parts["test"]),
        forecasts=unseen,
        conclusion=_conclusion(unseen),
        shrinkage=model_set.shrinkage,
        regime_returns=model_set.regime_returns,
        densities=_density_scores(model_set, candles, forecasts["outcome"].to_numpy(), rows, garch=garch),
        importance=permutation_importance(model_set, candles),
    )


def _density_scores(
    model_set: ModelSet, candles: pd.DataFrame, outcome: np.ndarray, rows: dict[str, np.ndarray], *, garch: bool
) -> dict[str, dict[str, DensityScore]]:
    """Scores of the densities at the rows of each group."""
    forecasts = compared_densities(model_set, candles, outcome, garch=garch)
    if not forecasts:
        return {}
    known = np.all([np.isfinite(one.scale).all(axis=1) for one in forecasts.values()], axis=0)
    at = rows[WHOLE][known[rows[WHOLE]]]
    groups = {group: np.flatnonzero(np.isin(at, its_rows)) for group, its_rows in rows.items()}
    return score_densities(
        {name: one[at] for name, one in forecasts.items()},
        outcome[at],
        {group: its_rows for group, its_rows in groups.items() if len(its_rows)},
        BY_REGIME,
        adapted_levels(forecasts[BY_REGIME], np.append(np.nan, outcome[:-1]))[at],
    )


def compared_densities(
    model_set: ModelSet, candles: pd.DataFrame, outcome: np.ndarray, *, garch: bool
) -> dict[str, StudentMixture]:
    """The set's densities of all bars, those of parts of it, and those of baselines, by name; empty without any.

    ``outcome`` are the log returns to the next close ``(n_bars,)``; those up to the end of validation fit the
    baselines.
    """
    if model_set.density is None:
        return {}
    density, n_lstms = model_set.density, model_set.n_members
    parts = {
        BY_REGIME: density,
        WITHOUT_REGIMES: replace(density, corrections={}),
        ONE_LSTM: replace(density, networks=density.networks[:n_lstms], corrections={}),
        LINEAR: replace(density, networks=density.networks[n_lstms:], corrections={}),
    }
    learnt = {
        name: Forecaster(replace(model_set, density=part)).forecast_densities(candles) for name, part in parts.items()
    }
    forecasts = {name: one for name, one in learnt.items() if one is not None}
    n_fit = int(candles.index.searchsorted(model_set.validation_end, side="right"))
    forecasts |= simple_baselines(model_set, candles, outcome, n_fit)
    if garch:
        forecasts |= garch_baselines(outcome, n_fit)
    return forecasts


def _forecasts(model_set: ModelSet, candles: pd.DataFrame, train_end: int) -> pd.DataFrame:
    """``(n_bars, 9)``: close, regime, outcome and each forecast, of all bars."""
    table = Forecaster(model_set).forecast_with_all_regimes(candles)
    experts, one_lstm = table["forecast"], all_regimes_forecasts(table).mean(axis=1)
    weights, outcome = model_set.shrinkage, targets(candles["close"].to_numpy())
    return pd.DataFrame(
        {
            "close": candles["close"],
            "regime": table["regime"],
            "outcome": outcome,
            EXPERTS: experts,
            **({SHRUNK: weights.combine(experts, one_lstm)} if weights else {}),
            ONE_LSTM: one_lstm,
            RIDGE: _ridge(model_set, candles, outcome, train_end),
            MEAN: float(np.nanmean(outcome[: train_end - 1])),
            ZERO: 0.0,
        },
        index=candles.index,
    )


def _train_end(model_set: ModelSet, index: pd.DatetimeIndex) -> int:
    """Number of bars up to the end of the training part."""
    part = model_set.provenance.split["train"]
    first, last = part.first_bar, part.last_bar
    if first not in index or last not in index:
        raise DataError(
            f"the candles do not contain the training part ({first} to {last}), which the baselines are fitted to. "
            f"Use the series that {model_set.dataset} was trained on."
        )
    return int(index.searchsorted(last, side="right"))


def _ridge(model_set: ModelSet, candles: pd.DataFrame, outcome: np.ndarray, train_end: int) -> np.ndarray:
    """Ridge regression on the all-regimes network's scaled windows, flattened: forecasts ``(n_bars,)``."""
    from sklearn.linear_model import RidgeCV

    expert = model_set.all_regimes
    scaled = (compute_features(candles, expert.features).to_numpy() - expert.mean) / expert.scale
    sliding = Passes.over(np.arange(len(scaled)), expert.window, stride=1)
    bars = np.flatnonzero(sliding.complete(scaled))
    flat = windows(scaled, expert.window)[bars - expert.window + 1].reshape(len(bars), -1)
    trains = (bars < train_end - 1) & np.isfinite(outcome[bars])
    ridge = RidgeCV(alphas=np.logspace(0, 6, 13)).fit(flat[trains], outcome[bars[trains]])
    forecast = np.full(len(candles), np.nan)
    forecast[bars] = ridge.predict(flat)
    return forecast


def _regime_quality(regimes: pd.Series, outcome: pd.Series) -> dict[str, RegimeQuality]:
    known = regimes.dropna().astype(int)
    values, following = known.to_numpy(), outcome.loc[known.index].to_numpy()
    begins = np.append(True, values[1:] != values[:-1])
    qualities = {}
    for regime in np.unique(values):
        here = values == regime
        after = values[1:][here[:-1]]
        n_after = max(1, len(after))
        returns = following[here & np.isfinite(following)]
        qualities[regime_name(int(regime))] = RegimeQuality(
            occupancy=float(here.mean()),
            mean_duration=float(here.sum() / (begins & here).sum()),
            transitions={regime_name(int(to)): float((after == to).sum() / n_after) for to in np.unique(values)},
            mean_return=float(returns.mean()) if len(returns) else None,
            volatility=float(returns.std(ddof=1)) if len(returns) > 1 else None,
        )
    return qualities


def _classifier(model_set: ModelSet, candles: pd.DataFrame, predicted: pd.Series) -> Classifier | None:
    if model_set.detector.name != "labels" or REGIME not in candles:
        return None
    prediction = predicted.dropna()
    label = candles.loc[prediction.index, REGIME]
    regimes = sorted({*prediction.astype(int), *label.astype(int)})
    confusion = [[int(((label == row) & (prediction == column)).sum()) for column in regimes] for row in regimes]
    return Classifier(float((label == prediction).mean()), [regime_name(regime) for regime in regimes], confusion)


def _conclusion(unseen: pd.DataFrame) -> str:
    outcome = unseen["outcome"].to_numpy()
    verdicts = []
    for name in (ZERO, MEAN, RIDGE, ONE_LSTM):
        statistic, p_value = diebold_mariano(unseen[EXPERTS].to_numpy(), unseen[name].to_numpy(), outcome)
        if statistic is None or p_value is None:
            verdicts.append(f"the same as {name}")
        elif p_value >= SIGNIFICANCE:
            verdicts.append(f"not significantly different from {name} ({format_p(p_value)})")
        else:
            verdicts.append(f"significantly {'better' if statistic > 0 else 'worse'} than {name} ({format_p(p_value)})")
    return (
        f"On {len(unseen):,} unseen bars the experts' squared error is {'; '.join(verdicts)}. "
        "Diebold-Mariano tests at the 5 % level, without a correction for multiple tests."
    )
