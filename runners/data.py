"""`regimes data`: the candles of a workplace."""

from pathlib import Path

from runners.command import HomeOption, JsonOption, run_alone
from runners.home import Home


def data(
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List the CSVs in data/csv: rows, range, interval, missing bars and regime labels."""
    from json import dumps

    from data.errors import DataError
    from runners.console import notice, print_table

    files = Home.find(home).candle_files()
    known, broken = [], []
    for file in files:
        try:
            known.append(_told(file))
        except DataError as error:
            broken.append(str(error))
    if json:
        print(dumps({"datasets": known, "errors": broken}))
    elif known:
        print_table("", list(known[0]), [[str(value) for value in one.values()] for one in known], wide=True)
    for sentence in broken:
        notice(sentence)


def _told(file: Path) -> dict[str, object]:
    import pandas as pd

    from data.candles import REGIME, interval_of, interval_text, missing_bars, read_candles, time_text

    candles = read_candles(file)
    index = pd.DatetimeIndex(candles.index)
    labels = sorted(candles[REGIME].astype(int).unique().tolist()) if REGIME in candles else []
    return {
        "dataset": file.stem,
        "bars": len(candles),
        "first": time_text(index[0]),
        "last": time_text(index[-1]),
        "interval": interval_text(interval_of(index)) if len(index) > 1 else "-",
        "missing": missing_bars(index) if len(index) > 1 else 0,
        "regimes": " ".join(map(str, labels)) or "-",
    }


if __name__ == "__main__":
    run_alone(data)
