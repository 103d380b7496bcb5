"""Compares forecasts, and single seeds with ensembles, on several series: ``python -m tests.benchmarks.panel``

Options: ``--csv FILE`` (again for each further CSV), ``--seeds N`` (default 10), ``--only NAME`` (again for each).
The forecasts of every training are kept in ``build/panel``, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from data.candles import fingerprint, read_candles
from data.intervals import bars_per_year, interval_of
from data.samples import sp500_candles
from data.synthetic import HIDDEN, VISIBLE
from models import Forecaster, ModelSet
from models.expert import member_names
from models.forecaster import member_forecasts
from models.recorded import RecordedForecasts
from runners.backtesting.engine import run_strategy
from runners.backtesting.metrics import simple_returns
from runners.backtesting.settings import BacktestSettings
from strategies import LSTMRegimeStrategy
from strategies.array_simulation import SettingsGrid, simulate
from training import TrainSettings, train
from training.evaluation import evaluate
from training.scores import relative_error, score
from training.sharpe import sharpe_ratio

KEPT = Path("build/panel")
ONE_SEED, ENSEMBLE, SHRUNK, ONE_LSTM = "one seed", "ensemble", "shrunk ensemble", "one LSTM"
BASELINES = ("ridge", "mean", "zero")
_LEVEL = 0.95


def series(csv: list[Path]) -> dict[str, pd.DataFrame]:
    """Candles by name: two indices from the package `arch`, three synthetic series, and the user's own files."""
    from arch.data import nasdaq

    composite = nasdaq.load().rename(columns=str.lower)[["open", "high", "low", "close", "volume"]].astype(float)
    composite.index = pd.DatetimeIndex(composite.index, name="timestamp").tz_localize("UTC").as_unit("us")
    return {
        "S&P 500": sp500_candles(),
        "NASDAQ": composite,
        **{path.stem: read_candles(path) for path in csv},
        "planted, no labels": VISIBLE.candles(4000, 1).drop(columns="regime"),
        "planted, labels": VISIBLE.candles(4000, 7),
        "hidden, labels": HIDDEN.candles(4000, 3),
    }


def forecasts(name: str, candles: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Each unseen bar's candle, outcome and forecasts of one training, from the file of an earlier run if there is one.

    Columns: open, high, low, close, volume, regime, outcome, the baselines, and of each member ``expert_1`` (also the
    forecast of a training with one member), ``shrunk_1``, ``one_lstm_1`` and so on; `seconds` of the training.
    """
    file = KEPT / f"{name}-{fingerprint(candles)[:12]}-{seed}.csv"
    if not file.exists():
        begin = time.perf_counter()
        models = train(candles, "PANEL", TrainSettings(seed=seed))
        seconds = time.perf_counter() - begin
        KEPT.mkdir(parents=True, exist_ok=True)
        _unseen(models, candles).assign(seconds=seconds).to_csv(file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)
    table = pd.read_csv(file, index_col="timestamp", parse_dates=True)
    return table.set_axis(pd.DatetimeIndex(table.index).as_unit("us"))


def _unseen(models: ModelSet, candles: pd.DataFrame) -> pd.DataFrame:
    weights = models.shrinkage
    assert weights is not None
    forecaster = Forecaster(models)
    seen = candles.iloc[candles.index.searchsorted(models.validation_end) - forecaster.lookback :]
    table = forecaster.forecast(seen)
    experts = member_forecasts(table)
    one_lstm = member_forecasts(forecaster.all_regimes().forecast(seen))
    shrunk = weights.combine(experts, one_lstm)
    columns = {
        f"{kind}_{number}": members[:, number - 1]
        for (kind, members), number in product(
            (("expert", experts), ("shrunk", shrunk), ("one_lstm", one_lstm)), range(1, models.n_members + 1)
        )
    }
    smallest = replace(models.all_regimes, networks=models.all_regimes.networks[:1])
    evaluation = evaluate(replace(models, experts={}, all_regimes=smallest), candles)  # for the baselines alone
    return seen.assign(regime=table["regime"], **columns).join(
        evaluation.forecasts[["outcome", *BASELINES]], how="inner"
    )


def members_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The members' forecasts ``(n_bars, n_members)`` of each contender."""
    expert, shrunk, one_lstm = (
        table[[name for name in table if name.startswith(f"{kind}_")]].to_numpy()
        for kind in ("expert", "shrunk", "one_lstm")
    )
    single = {name: table[[name]].to_numpy() for name in BASELINES}
    return {ONE_SEED: expert[:, :1], ENSEMBLE: expert, SHRUNK: shrunk, ONE_LSTM: one_lstm, **single}


def sharpe_in_backtrader(table: pd.DataFrame, members: np.ndarray) -> float:
    """Annual Sharpe ratio after the default costs, with the default rule; 0 if nothing is traded."""
    index, settings = pd.DatetimeIndex(table.index), BacktestSettings()
    columns = dict(zip(member_names(members.shape[1]), members.T, strict=True))
    recorded = pd.DataFrame({"regime": table["regime"], **columns}, index=index)
    models = RecordedForecasts("PANEL", interval_of(index), recorded)
    candles = table[["open", "high", "low", "close", "volume"]]
    run = run_strategy(candles, settings, LSTMRegimeStrategy, {"models": models})
    return _annual_sharpe(table, run.equity()[["equity"]].to_numpy())


def sharpe_simulated(table: pd.DataFrame, members: np.ndarray) -> float:
    """`sharpe_in_backtrader` by the array simulator, which is faster and gives the same."""
    settings = BacktestSettings()
    prices = table["open"].to_numpy(), table["close"].to_numpy()
    equity = simulate(*prices, members, SettingsGrid.of(settings), settings.cash).equity
    return _annual_sharpe(table, equity)


def _annual_sharpe(table: pd.DataFrame, equity: np.ndarray) -> float:
    per_bar = sharpe_ratio(simple_returns(equity, BacktestSettings().cash))
    return float(per_bar[0] * np.sqrt(bars_per_year(pd.DatetimeIndex(table.index))))


def figures(table: pd.DataFrame) -> pd.DataFrame:
    """Loss, hit rate, information coefficient and Sharpe ratio of each contender, one row each."""
    outcome = table["outcome"].to_numpy()
    rows = {}
    for name, members in members_of(table).items():
        forecast = members.mean(axis=1)
        scored = score(forecast, outcome, 0.0)
        rows[name] = {
            "loss": relative_error(forecast, outcome),
            "hit rate": scored.hit_rate,
            "IC": scored.information_coefficient,
            "Sharpe": (sharpe_in_backtrader if name in (ONE_SEED, ENSEMBLE) else sharpe_simulated)(table, members),
        }
    return pd.DataFrame(rows).T


def compare_seeds(sharpes: Mapping[str, pd.DataFrame], alone: Mapping[str, np.ndarray]) -> None:
    """Print the spread of the Sharpe ratio over seeds, of one seed and of ensembles, with F intervals.

    ``sharpes`` has one row per seed by series, ``alone`` the Sharpe ratios of all networks, each traded alone. Pooled:
    the mean over the series of the squared ratios.
    """
    squares = []
    print("\n| series | one seed: mean, s.d. | all networks alone | ensemble | ratio of s.d. | 95 % | to all alone |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, table in sharpes.items():
        single, ensemble = table[ONE_SEED], table[ENSEMBLE]
        spreads = np.array([single.std(ddof=1), alone[name].std(ddof=1)])
        ratio, to_all = ensemble.std(ddof=1) / spreads
        squares.append([ratio**2, to_all**2])
        low, high = f_interval(ratio, len(table) - 1)
        spread = f"{ensemble.mean():.2f}, {ensemble.std(ddof=1):.2f}"
        print(
            f"| {name} | {single.mean():.2f}, {spreads[0]:.2f} | {alone[name].mean():.2f}, {spreads[1]:.2f} "
            f"| {spread} | {ratio:.2f} | {low:.2f} to {high:.2f} | {to_all:.2f} |"
        )
    ratio, to_all = np.sqrt(np.mean(squares, axis=0))
    low, high = f_interval(ratio, sum(len(table) - 1 for table in sharpes.values()))
    print(f"| pooled | | | | {ratio:.2f} | {low:.2f} to {high:.2f} | {to_all:.2f} |")


def f_interval(ratio: float, degrees: int) -> tuple[float, float]:
    """Interval of a ratio of two standard deviations of normal samples with these degrees of freedom each."""
    low, high = stats.f.ppf([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], degrees, degrees)
    return ratio / float(np.sqrt(high)), ratio / float(np.sqrt(low))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, action="append", default=[])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", action="append", default=[])
    arguments = parser.parse_args()
    sharpes, alone = {}, {}
    for name, candles in series(arguments.csv).items():
        if arguments.only and name not in arguments.only:
            continue
        tables = [forecasts(name, candles, seed) for seed in range(arguments.seeds)]
        rows = [figures(table) for table in tables]
        mean, deviation = (
            getattr(pd.concat(rows).groupby(level=0, sort=False), statistic)() for statistic in ("mean", "std")
        )
        seconds = np.mean([table["seconds"].iloc[0] for table in tables])
        print(f"\n{name}: {len(tables[0]):,} unseen bars, {len(tables)} seeds, a training {seconds:.0f} s\n")
        print("| forecast | loss | hit rate | IC | Sharpe |\n| --- | --- | --- | --- | --- |")
        for contender in mean.index:
            cells = [
                f"{mean.loc[contender, column]:.{digits}f} ± {deviation.loc[contender, column]:.{digits}f}".replace(
                    "nan ± nan", "-"
                )
                for column, digits in (("loss", 4), ("hit rate", 3), ("IC", 3), ("Sharpe", 2))
            ]
            print(f"| {contender} | {' | '.join(cells)} |", flush=True)
        sharpes[name] = pd.DataFrame([row["Sharpe"] for row in rows])
        alone[name] = np.array(
            [sharpe_simulated(table, one[:, None]) for table in tables for one in members_of(table)[ENSEMBLE].T]
        )
    compare_seeds(sharpes, alone)


if __name__ == "__main__":
    main()
