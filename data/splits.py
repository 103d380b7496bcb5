"""Splits a series in time: training bars before validation bars before test bars."""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import DataError, SettingsError


@dataclass(frozen=True)
class Split:
    """Training, validation and test part of a series: consecutive slices of bars."""

    train: slice
    validation: slice
    test: slice

    def for_search(self) -> Split:
        """The split of a search for settings: it leaves out the last quarter of the validation part.

        The training that follows learns its shrinkage weights there, since the search has used the rest.
        """
        end = self.validation.stop - (self.validation.stop - self.validation.start) // 4
        return Split(self.train, slice(self.validation.start, end), slice(end, self.test.stop))


def chronological_split(n_bars: int, train_fraction: float = 0.7, validation_fraction: float = 0.1) -> Split:
    """Split a series by fractions; the remaining bars are the test part.

    The parts touch. `data.windows.samples_of_regime` drops each part's last bar, whose target needs the next close.
    Windows may reach back into the previous part, since only their last bar has a target.
    """
    train_end = round(n_bars * train_fraction)
    validation_end = round(n_bars * (train_fraction + validation_fraction))
    return Split(slice(0, train_end), slice(train_end, validation_end), slice(validation_end, n_bars))


@dataclass(frozen=True)
class Fold:
    """One fold: the bars to fit on (training and validation), and the bars to forecast."""

    fit: slice
    test: slice


def walk_forward_folds(
    n_bars: int, train_bars: int, test_bars: int, *, expanding: bool = False, embargo: int = 0
) -> list[Fold]:
    """Folds whose test parts follow each other without gap or overlap, up to the last bar.

    Parameters
    ----------
    train_bars
        Bars to fit on, including validation. With ``expanding``, later folds fit on all earlier bars.
    test_bars
        Bars that each fold forecasts. The last fold may have fewer, but at least two.
    embargo
        Bars left out between fit and test, for the duration of a retraining or for dependence across the parts.

    Raises
    ------
    DataError
        If the series is too short for one fold.
    SettingsError
        If a number of bars is too small.
    """
    for name, value, least in (("train_bars", train_bars, 1), ("test_bars", test_bars, 2), ("embargo", embargo, 0)):
        if value < least:
            raise SettingsError(f"{name} is {value}; it must be at least {least}.")
    first_test = train_bars + embargo
    if n_bars < first_test + 2:
        raise DataError(
            f"there are {n_bars:,} bars; {train_bars:,} to train on{f', {embargo:,} of embargo' if embargo else ''} "
            f"and two to trade need {first_test + 2:,}. Lower train_bars, or bring more history."
        )
    folds = []
    for start in range(first_test, n_bars - 1, test_bars):
        fit_end = start - embargo
        end = min(start + test_bars, n_bars)
        folds.append(Fold(slice(0 if expanding else fit_end - train_bars, fit_end), slice(start, end)))
    last = folds[-1]
    folds[-1] = Fold(last.fit, slice(last.test.start, n_bars))  # a single last bar joins the last fold
    return folds
