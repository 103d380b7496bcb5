"""Planted edge: training must learn a known edge, and the regimes must help."""

from __future__ import annotations

from dataclasses import replace

from data.synthetic import HIDDEN, VISIBLE
from runners.lookahead.outcome import Outcome
from runners.lookahead.returns import unseen_returns
from training.evaluation import EXPERTS, ONE_LSTM, WHOLE, evaluate
from training.resampling import Returns, resample
from training.scores import SIGNIFICANCE, diebold_mariano, format_p
from training.settings import TrainSettings
from training.sharpe import sharpe_ratio
from training.trainer import train

_N_BARS = 4000
_SEED = 0
_SETTINGS = TrainSettings(
    members=1, features=("log_return", "volatility"), window=10, hidden_dim=16, num_layers=1, lr=3e-3
)
_REQUIRED_SHARE = 0.6


def planted_edge() -> Outcome:
    """Train on two series with a known edge; see `data.synthetic`."""
    visible, hidden = _visible(), _hidden()
    return Outcome("planted edge", f"{visible.scope}; {hidden.scope}", [*visible.findings, *hidden.findings])


def _visible() -> Outcome:
    """Regimes that the detector can see: the experts must reach `_REQUIRED_SHARE` of the best R2 on unseen bars."""
    candles = VISIBLE.candles(_N_BARS, _SEED)
    evaluation = evaluate(train(candles, "visible", _SETTINGS), candles)
    experts, one = (evaluation.scores[WHOLE][name].r2_zero or 0.0 for name in (EXPERTS, ONE_LSTM))
    best = VISIBLE.best_r2()
    _, p_value = diebold_mariano(*(evaluation.forecasts[name].to_numpy() for name in (EXPERTS, ONE_LSTM, "outcome")))
    findings = []
    if experts < _REQUIRED_SHARE * best:
        findings.append(
            f"experts reach {100 * experts / best:.0f} % of the planted edge's best R2 of {best:.3f} on unseen bars; "
            f"a working training reaches {100 * _REQUIRED_SHARE:.0f} %."
        )
    significant = "not significant" if p_value is None or p_value >= SIGNIFICANCE else "significant"
    shares = f"experts reach {100 * experts / best:.0f} %, one LSTM {100 * one / best:.0f} % of the best R2"
    p_shown = "" if p_value is None else f", {format_p(p_value)}"
    return Outcome("visible", f"regimes in the candles: {shares} (difference {significant}{p_shown})", findings)


def _hidden() -> Outcome:
    """Regimes that only the label gives: the experts, which get the label, must beat one LSTM for all regimes."""
    candles = HIDDEN.candles(_N_BARS, _SEED)
    experts = train(candles, "hidden", _SETTINGS)
    always = {"long_threshold": 0.0, "short_threshold": 0.0}
    by_label = unseen_returns(experts, candles, **always, regime_source="column")
    by_one = unseen_returns(replace(experts, experts={}), candles, **always)
    difference = resample([Returns(by_label), Returns(by_one)], bars_per_year=1).sharpe_difference(0, 1)
    mine, other = (float(sharpe_ratio(returns)) for returns in (by_label, by_one))
    scope = f"regimes only in the label: Sharpe ratio per bar of the experts {mine:.2f}, of one LSTM {other:.2f}"
    scope += "" if difference is None else f", {format_p(difference.p_value)}"
    worse = difference is None or difference.difference <= 0 or difference.p_value >= SIGNIFICANCE
    return Outcome("hidden", scope, [f"{scope}: the experts must be significantly better."] if worse else [])
