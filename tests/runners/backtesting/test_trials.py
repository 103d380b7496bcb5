"""Which results are trials on the same bars, and how many independent ones they count as."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from runners.backtesting.trial_records import (
    BACKTEST,
    EVALUATION,
    OVERFIT,
    SWEEP,
    Choice,
    TradedBars,
    TrialRecord,
    as_numbers,
)
from runners.backtesting.trials import Trials, TrialsRead
from strategies.rule_settings import RuleSettings
from training.independence import MeanCorrelation, few_points, return_hashes
from training.sharpe import sharpe_ratio

N_BARS = 500
FIRST = pd.Timestamp("2024-01-01", tz="UTC")
BARS = TradedBars("BTC", FIRST, FIRST + pd.Timedelta(days=N_BARS - 1), ("january", "february"))
OWN, BEST, OTHER = (RuleSettings(long_threshold=edge, short_threshold=-edge) for edge in (0.001, 0.002, 0.003))


def noise(n: int, correlation: float = 0.0, seed: int = 0) -> np.ndarray:
    """Returns ``(n_bars, n)`` without skill."""
    random = np.random.default_rng(seed)
    common, own = random.normal(0, 0.01, (N_BARS, 1)), random.normal(0, 0.01, (N_BARS, n))
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own


def backtest_of(returns: np.ndarray, bars: TradedBars = BARS, *, known: bool = True) -> TrialRecord:
    series = few_points(returns) if known else None
    return TrialRecord(BACKTEST, "20260103T", bars, "T", *_trials(returns[:, None]), series)


def grid_of(
    returns: np.ndarray, kind: str = SWEEP, made: str = "20260101T", choice: Choice | None = None
) -> TrialRecord:
    mean = MeanCorrelation(N_BARS)
    mean.add(returns)
    return TrialRecord(kind, made, BARS, "T", *_trials(returns), correlation=mean.value, choice=choice)


def _trials(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return as_numbers(return_hashes(returns)), sharpe_ratio(returns) * np.sqrt(len(returns))


def count(*records: TrialRecord) -> Trials:
    return TrialsRead(records).on(BARS, N_BARS)


def test_results_on_the_same_bars_are_found_under_another_name_or_at_an_overlapping_time() -> None:
    later = pd.Timedelta(days=N_BARS)
    renamed = BARS._replace(dataset="COPY", months=("february", "march"))
    moved = BARS._replace(months=(), first_bar=BARS.first_bar + later / 2, last_bar=BARS.last_bar + later)
    after = BARS._replace(months=("march",), first_bar=BARS.first_bar + later, last_bar=BARS.last_bar + later)
    assert BARS.shared_with(renamed)
    assert BARS.shared_with(moved)  # has no hashes, or only of partly filled months
    assert not BARS.shared_with(after)
    assert not BARS.shared_with(moved._replace(dataset="ETH"))
    one, *others = noise(4).T
    records = [backtest_of(returns, bars=bars) for returns, bars in zip(others, (renamed, moved, after), strict=True)]
    assert count(backtest_of(one), *records).count == 3


def test_one_result_and_its_repetitions_are_one_trial() -> None:
    one, other = noise(2).T
    assert count(backtest_of(one), backtest_of(one)) == Trials(1, 1.0, 0.0, ((BACKTEST, "20260103T", 1),))
    assert count(backtest_of(one), backtest_of(one), backtest_of(other)).count == 2


def test_a_thousand_settings_of_noise_count_as_about_a_thousand_and_equal_ones_as_few() -> None:
    many = count(grid_of(noise(1000)))
    assert many.count == 1000
    assert many.effective == pytest.approx(1000, rel=0.01)
    alike = count(grid_of(noise(1000, correlation=0.995)))
    assert alike.count == 1000
    assert alike.effective == pytest.approx(0.995 + 0.005 * 1000, rel=0.05)


def test_backtests_on_identical_bars_count_by_their_mean_correlation() -> None:
    returns = noise(5, correlation=0.8)
    correlation = np.corrcoef(returns.T)[np.triu_indices(5, 1)].mean()
    runs = [backtest_of(one) for one in returns.T]
    assert count(*runs).effective == pytest.approx(correlation + (1 - correlation) * 5, rel=1e-5)
    renamed = replace(runs[0], bars=BARS._replace(dataset="COPY"))
    assert count(renamed, *runs[1:]).effective == pytest.approx(count(*runs).effective)


def test_results_on_other_bars_or_without_returns_count_as_independent() -> None:
    """Such as runs that were removed."""
    one, other, third = noise(3, correlation=0.99).T
    longer = backtest_of(other, bars=BARS._replace(last_bar=BARS.last_bar + pd.Timedelta(days=1)))
    assert count(backtest_of(one), longer).effective == 2
    assert count(backtest_of(one), backtest_of(third, known=False)).effective == 2
    assert count(backtest_of(one), backtest_of(other), backtest_of(third, known=False)).effective < 2.1


def test_a_setting_of_a_sweep_that_is_traded_or_analysed_again_counts_once() -> None:
    settings = noise(50)
    swept, more = grid_of(settings), grid_of(np.hstack([settings, noise(20, seed=1)]), OVERFIT)
    trials = count(swept, backtest_of(settings[:, 7]), more)
    assert [source[::2] for source in trials.sources] == [(SWEEP, 50), (OVERFIT, 20)]
    assert trials.effective == pytest.approx(70, rel=0.1)


def test_an_evaluation_counts_unless_its_models_are_traded_and_does_not_change_the_variance() -> None:
    returns = noise(3)
    runs = [backtest_of(one) for one in returns.T]
    looks = [TrialRecord(EVALUATION, "20260102T", BARS, training) for training in ("T", "new", "new", "newer")]
    alone, looked = count(*runs), count(*runs, *looks)
    assert (looked.count, looked.effective) == (alone.count + 2, alone.effective + 2)
    assert looked.variance == alone.variance
    assert count(runs[0], looks[0]).count == 1
    assert count(runs[0], looks[1]).effective == 2
    without_training = TrialRecord(EVALUATION, "20260102T", BARS)  # of an earlier version
    assert count(runs[0], without_training).count == 1


def test_the_trials_of_a_study_count_once_each() -> None:
    searched = replace(
        backtest_of(noise(1)[:, 0]),
        hashes=np.arange(5, dtype=np.uint64),
        sharpes=np.array([0.1, 0.2, np.nan, -1.0, 2.0]),
        study="20260101T",
    )
    again = replace(searched, hashes=np.array([99, 1, 2, 3, 4], dtype=np.uint64), series=None)
    trials = count(searched, again)
    assert (trials.count, trials.effective) == (6, 6)
    assert trials.variance == pytest.approx(np.var([0.1, 0.1, 0.2, -1.0, 2.0], ddof=1) / N_BARS)


def test_the_variance_is_that_of_the_trials_scaled_to_the_length_of_the_result_and_at_least_that_of_luck() -> None:
    returns = noise(20)
    trials = count(*(backtest_of(one, known=False) for one in returns.T))
    assert trials.variance == pytest.approx(max(sharpe_ratio(returns).var(ddof=1), 1 / (N_BARS - 1)))
    good = returns + 0.01 * np.linspace(-1, 1, 20)
    wide = [backtest_of(one, known=False) for one in good.T]
    assert count(*wide).variance == pytest.approx(sharpe_ratio(good).var(ddof=1))
    assert TrialsRead(wide).on(BARS, 100).variance == pytest.approx(5 * sharpe_ratio(good).var(ddof=1))
    alike = grid_of(1e-7 * noise(1000) + returns[:, [0]])
    assert count(*wide, alike).variance == pytest.approx(count(*wide).variance, rel=0.1)


def test_the_sentence_says_where_the_trials_come_from() -> None:
    returns = noise(49, correlation=0.9)
    looks = [TrialRecord(EVALUATION, "20260102T", BARS, training) for training in ("new", "newer")]
    runs = [backtest_of(one) for one in returns[:, 45:].T]
    trials = count(grid_of(returns[:, :45], made="20261127T101112.123456Z"), *runs, *looks)
    effective = trials.effective_text
    assert trials.sentence() == (
        "51 trials on these bars: 45 from the sweep of 2026-11-27, 4 backtests, 2 evaluations; they count as "
        f"{effective} independent ones."
    )
    assert 8 < float(effective) < 12
    two = TrialsRead([grid_of(returns[:, :20]), grid_of(returns[:, 20:45])], ["damaged"]).on(BARS, N_BARS)
    assert two.sentence().startswith("At least 45 trials on these bars: 45 from 2 sweeps; they count as ")


def test_a_setting_that_a_sweep_listed_is_chosen_in_hindsight_and_one_it_began_from_is_not() -> None:
    swept = grid_of(noise(3), made="20260101T", choice=Choice(800, OWN, (OWN, BEST)))
    again = grid_of(noise(3), made="20260102T", choice=Choice(900, BEST, (OWN, BEST, OTHER)))
    read = TrialsRead([again, swept])
    assert read.chosen_from(BARS, BEST) == 800
    assert read.chosen_from(BARS, OTHER) == 900
    assert read.chosen_from(BARS, OWN) == 0
    assert read.chosen_from(BARS, RuleSettings(long_threshold=0.004)) == 0
    assert read.chosen_from(BARS, BEST.model_copy(update={"neutral": "flat"})) == 0
    as_printed = BEST.model_copy(update={"long_threshold": 0.0020004})
    assert read.chosen_from(BARS, as_printed) == 800
    assert read.chosen_from(BARS._replace(dataset="ETH", months=()), BEST) == 0
