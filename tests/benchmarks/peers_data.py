"""Reading, features and the detector's fit, against pandas, polars, TA-Lib and hmmlearn."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import polars
import talib
from hmmlearn.hmm import GaussianHMM

from data.candles import read_candles
from data.features import DEFAULT_FEATURES, compute_features
from models.detectors.hmm import HMMDetector
from tests.benchmarks.comparison import Comparison, Figure, Peer, at_most, cost_alone, cost_of
from tests.benchmarks.subject import Subject, many_candles, write_csv
from training.prepare import DetectorTask

_ROWS, _FIT_ROWS = 1_000_000, 750_000
_STARTS, _STEPS, _TOLERANCE = 5, 200, 1e-2  # of hmmlearn's fit, as the detector's
_MEGABYTE = 1e6
_EXPRESSIONS = (
    *("rsi(28)", "log_return[3]", "volatility(50)@1h", "macd(5,35)", "atr(28)", "momentum(60)"),
    *("CCI(20)", "ADX(14)", "BBANDS(20,2).upper", "EMA(50)"),
)


def figures(subject: Subject) -> list[Figure]:
    candles = many_candles(_ROWS)
    return [*_reading(candles), *_features(candles), *_detector(subject, candles.iloc[:_FIT_ROWS])]


def _reading(candles: pd.DataFrame) -> list[Figure]:
    with TemporaryDirectory() as folder:
        file = write_csv(candles, Path(folder) / "candles.csv")
        ours, pandas, with_polars = (partial(read, file) for read in (read_with_ours, read_with_pandas, read_polars))
        if not read_candles(file).equals(candles):
            raise AssertionError("the candles read differ from those written.")
        peers = {"pandas.read_csv": Peer(pandas), f"polars {polars.__version__}": Peer(with_polars)}
        compared = Comparison(f"read {_ROWS:,} rows", ours, peers, rounds=3, seconds=at_most(0.8))
        found = compared.figures()
        (cost, size), (of_pandas, frame) = (cost_alone(read, file) for read in (read_with_ours, read_with_pandas))
    beyond, of_pandas_beyond = (
        (one.peak - one.before - held) / _MEGABYTE for one, held in ((cost, size), (of_pandas, frame))
    )
    return [
        *found,
        Figure("the same, peak memory beyond the frame", beyond, "MB", at_most(100), f"pandas: {of_pandas_beyond:.0f}"),
    ]


def read_with_ours(file: Path) -> int:
    """Read candles; gives the size of the frame in bytes."""
    return int(read_candles(file).memory_usage().sum())


def read_with_pandas(file: Path) -> int:
    """The same with pandas, without any check."""
    return int(pd.read_csv(file, index_col="timestamp", parse_dates=["timestamp"]).memory_usage().sum())


def read_polars(file: Path) -> int:
    """The same with polars, on all cores, without any check."""
    return int(polars.read_csv(file, try_parse_dates=True).estimated_size())


def _features(candles: pd.DataFrame) -> list[Figure]:
    ours = compute_features(candles, DEFAULT_FEATURES)
    theirs = {"pandas": with_pandas(candles), "TA-Lib": with_talib(candles)}
    for name, table in theirs.items():
        for column in table:
            if not np.allclose(table[column], ours[column], rtol=1e-3, atol=1e-7, equal_nan=True):
                raise AssertionError(f"{column} of {name} differs from ours.")
    peers = {
        "pandas, MACD of exponential averages": Peer(lambda: with_pandas(candles).assign(macd=pandas_macd(candles))),
        "TA-Lib, Wilder's RSI": Peer(lambda: with_talib(candles).assign(rsi=talib.RSI(candles["close"].to_numpy()))),
    }
    what = f"the five default features of {_ROWS:,} bars"
    run = partial(compute_features, candles, DEFAULT_FEATURES)
    figures = Comparison(what, run, peers, rounds=3, seconds=at_most(0.2)).figures()
    cost = cost_of(partial(compute_features, candles, _EXPRESSIONS))
    return [*figures, Figure(f"ten expressions over {_ROWS:,} bars", cost.cpu, "s CPU", at_most(2))]


def with_pandas(candles: pd.DataFrame) -> pd.DataFrame:
    """The default features that are equal to ours, by rolling windows."""
    close = candles["close"]
    log_return, change, bars = np.log(close).diff(), close.diff(), close.rolling(20)
    gain, movement = change.clip(lower=0).rolling(14).mean(), change.abs().rolling(14).mean()
    return pd.DataFrame(
        {
            "log_return": log_return,
            "volatility": log_return.rolling(20).std(ddof=0),
            "rsi": 100 * gain / movement,
            "boll_width": 4 * bars.std(ddof=0) / bars.mean(),
        }
    )


def pandas_macd(candles: pd.DataFrame) -> pd.Series:
    """With exponential averages: linearly weighted ones, as ours, would take pandas minutes."""
    close = candles["close"]
    return (close.ewm(span=12).mean() - close.ewm(span=26).mean()) / close


def with_talib(candles: pd.DataFrame) -> pd.DataFrame:
    """The default features that are equal to ours, by TA-Lib's functions."""
    close = candles["close"].to_numpy()
    log_return = np.append(np.nan, np.diff(np.log(close)))
    upper, middle, lower = talib.BBANDS(close, 20)
    return pd.DataFrame(
        {
            "log_return": log_return,
            "volatility": talib.STDDEV(log_return, 20),
            "macd": (talib.WMA(close, 12) - talib.WMA(close, 26)) / close,
            "boll_width": (upper - lower) / middle,
        },
        index=candles.index,
    )


def _detector(subject: Subject, candles: pd.DataFrame) -> list[Figure]:
    rows = _observed(subject.candles)
    standardised = (rows - rows.mean(axis=0)) / rows.std(axis=0)

    def theirs() -> GaussianHMM:
        models = [
            GaussianHMM(3, "full", n_iter=_STEPS, tol=_TOLERANCE, random_state=seed).fit(standardised)
            for seed in range(_STARTS)
        ]
        return max(models, key=lambda model: model.score(standardised))

    task = DetectorTask(subject.name, HMMDetector(), rows, None, seed=0)
    peers = {f"hmmlearn, {_STARTS} starts": Peer(theirs, at_most(0.2))}
    compared = Comparison("fit of the detector", task.fit, peers, rounds=3, warm=False).figures()
    best, mine = theirs(), _as_hmmlearn(task.fit())
    best.startprob_ = mine.startprob_  # a detector has none
    loss = (best.score(standardised) - mine.score(standardised)) / len(rows)
    many = DetectorTask("LARGE", HMMDetector(), _observed(candles), None, seed=0)
    cost, _ = cost_alone(many.fit)
    return [
        *compared,
        Figure("the same, likelihood per bar below hmmlearn's", loss, "nats", at_most(1e-4)),
        Figure(
            f"fit of the detector on {len(candles):,} bars", cost.wall, "s wall", at_most(20), f"{cost.cpu:.0f} s CPU"
        ),
    ]


def _observed(candles: pd.DataFrame) -> np.ndarray:
    """The rows that a detector is fitted to."""
    return compute_features(candles, HMMDetector().features).dropna().to_numpy()


def _as_hmmlearn(detector: HMMDetector) -> GaussianHMM:
    """The fitted detector as hmmlearn's model, which scores it by the same code as its own."""
    learnt = detector.parameters()
    model = GaussianHMM(3, "full")
    model.means_, model.covars_ = np.array(learnt["state_means"]), np.array(learnt["state_covariances"])
    model.transmat_ = np.array(learnt["transitions"])
    model.startprob_, model.n_features = np.full(3, 1 / 3), 2
    return model
