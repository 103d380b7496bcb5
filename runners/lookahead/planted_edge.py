"""Planted edge: where there is something to be found, training must find it, and the regimes must help."""

from __future__ import annotations

from dataclasses import replace

from data.synthetic import HIDDEN, VISIBLE
from runners.lookahead.outcome import Outcome
from runners.lookahead.returns import unseen_returns
from training.evaluation import EXPERTS, ONE_LSTM, WHOLE, evaluate
from training.scores import SIGNIFICANCE, diebold_mariano, format_p
from training.settings import TrainSettings
from training.sharpe import sharpe_difference, sharpe_ratio
from training.trainer import train

_N_BARS = 4000
_SEED = 0
_SETTINGS = TrainSettings(features=("log_return", "volatility"), window=10, hidden_dim=16, num_layers=1, lr=3e-3)
_SHARE = 0.6


def planted_edge() -> Outcome:
    """Train on two series with a known edge; see `data.synthetic`."""
    visible, hidden = _visible(), _hidden()
    return Outcome("planted edge", f"{visible.looked_at}; {hidden.looked_at}", [*visible.findings, *hidden.findings])


def _visible() -> Outcome:
    """Regimes that the detector can see: the experts reach `_SHARE` of the best R2 on unseen bars."""
    candles = VISIBLE.candles(_N_BARS, _SEED)
    found = evaluate(train(candles, "visible", _SETTINGS), candles)
    experts, one = (found.scores[WHOLE][name].r2_zero or 0.0 for name in (EXPERTS, ONE_LSTM))
    best = VISIBLE.best_r2()
    outcome = (found.forecasts[name].to_numpy() for name in (EXPERTS, ONE_LSTM, "outcome"))
    _, p_value = diebold_mariano(*outcome)
    findings = []
    if experts < _SHARE * best:
        findings.append(
            f"experts reach {100 * experts / best:.0f} % of the planted edge's best R2 of {best:.3f} on unseen bars; "
            f"{100 * _SHARE:.0f} % are expected of a training that works."
        )
    told = "not to be told apart" if p_value is None or p_value >= SIGNIFICANCE else "a real difference"
    shares = f"experts reach {100 * experts / best:.0f} %, one LSTM {100 * one / best:.0f} % of the best R2"
    p_shown = "" if p_value is None else f", {format_p(p_value)}"
    return Outcome("visible", f"regimes that a detector sees: {shares} ({told}{p_shown})", findings)


def _hidden() -> Outcome:
    """Regimes that only the label tells: the experts, given the label, beat one LSTM for all of them."""
    candles = HIDDEN.candles(_N_BARS, _SEED)
    experts = train(candles, "hidden", _SETTINGS)
    always = {"long_threshold": 0.0, "short_threshold": 0.0}
    by_label = unseen_returns(experts, candles, **always, regime_source="column")
    by_one = unseen_returns(replace(experts, experts={}), candles, **always)
    difference = sharpe_difference(by_label, by_one, bars_per_year=1)
    mine, other = (float(sharpe_ratio(returns)) for returns in (by_label, by_one))
    sharpes = f"experts' Sharpe ratio a bar {mine:.2f}, one LSTM's {other:.2f}"
    p_shown = "" if difference is None else f", {format_p(difference.p_value)}"
    findings = []
    if difference is None or difference.difference <= 0 or difference.p_value >= SIGNIFICANCE:
        findings.append(
            f"on regimes that only the label tells, {sharpes}{p_shown}: experts that trade on the label must win."
        )
    return Outcome("hidden", f"regimes that only the label tells: {sharpes}{p_shown}", findings)
