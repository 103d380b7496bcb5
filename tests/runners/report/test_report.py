"""Texts and tables of a report: p values, line breaks, verdicts, trades, fold notes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models import ModelSet
from models.forecaster import member_forecasts
from models.regime_returns import RegimeReturns
from runners import terminal
from runners.backtesting.engine import backtest
from runners.backtesting.metrics import metrics_of
from runners.backtesting.result import Backtest, TradedFold
from runners.backtesting.runs import find_run
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import ALONE, Trials
from runners.report import backtest_tables, fold_tables
from runners.report.trades import trade_table, trades_json
from runners.report.verdict import headline, verdict
from runners.report.write_run import write_backtest, write_tearsheet
from training.scores import format_p
from training.sharpe import FEWEST_TRADES

EAGER = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002)
NEVER = BacktestSettings(long_threshold=1.0, short_threshold=-1.0)


@pytest.fixture(scope="module")
def whole(candles: pd.DataFrame, model_set: ModelSet) -> Backtest:
    return backtest(candles, model_set, EAGER)


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < 0.001"),
        (0.0009, "p < 0.001"),
        (0.004, "p = 0.004"),
        (0.0496, "p = 0.0496"),
        (0.04996, "p = 0.04996"),
        (0.0504, "p = 0.050"),
        (0.3712, "p = 0.37"),
    ],
)
def test_a_p_value_is_never_rounded_across_the_level_of_significance(p: float, text: str) -> None:
    assert format_p(p) == text


def shown_answers(result: Backtest) -> set[bool]:
    """Whether the Sharpe ratio is significantly above 0: the answers of the verdict and of each row, as they read."""
    rows = {name: value for name, value, _ in backtest_tables.figures(result, ALONE)}
    low = float(rows[backtest_tables.SHARPE_INTERVAL].split(" to ")[0])
    probability, deflated = (
        float(rows[name].rstrip(" %")) for name in ("true Sharpe above 0 (needs 97.5 %)", "... as 1 trial")
    )
    needed, has = re.fullmatch(r"(.+) \(has (.+)\)", rows["years until significant"]).groups()
    told = "not significantly different from 0" not in verdict(result, ALONE)
    return {told, low > 0, probability > 97.5, deflated > 97.5, float(needed) < float(has)}


def test_verdict_interval_probability_and_years_never_contradict_each_other(whole: Backtest) -> None:
    random = np.random.default_rng(0)
    answers = []
    for _ in range(40):
        noise = np.convolve(random.standard_t(4, len(whole.equity) + 2), [1, 0.5, 0.2], mode="valid")
        returns = 0.01 * (noise - noise.mean() + random.uniform(0.02, 0.25))
        recorded = whole.equity.assign(equity=100 * np.cumprod(1 + returns))
        metrics = replace(metrics_of(recorded, whole.trades, 100.0), trades=FEWEST_TRADES)
        answers.append(shown_answers(replace(whole, metrics=metrics)))
    assert {True} in answers
    assert {False} in answers
    assert all(len(given) == 1 for given in answers)


@pytest.mark.parametrize("low", [-1e-2, -1e-4, -1e-7, 1e-7, 1e-4, 1e-2])
def test_no_figure_is_rounded_across_the_level_of_significance(whole: Backtest, low: float) -> None:
    close = replace(whole.metrics, sharpe=1.0, sharpe_low=low, sharpe_high=2.0, seed_error=0.1, trades=FEWEST_TRADES)
    assert shown_answers(replace(whole, metrics=close)) == {low > 0}


@pytest.mark.parametrize("width", range(24, 50))
def test_no_line_breaks_before_a_unit_or_within_a_p_value(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal.out, "_width", width)
    sentence = "it returned 4.3 %, less than 12.1 %, not different (difference -1.02, p = 0.61) by +1.7 bp (t = -0.2)."
    terminal.say(sentence)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(lines) == sentence
    assert [line for line in lines if line.startswith(("%", "=", "-", "bp", "0.61"))] == []


def test_the_open_trade_equals_the_trade_that_a_longer_run_closes(
    whole: Backtest, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    for _, closed in whole.trades[whole.trades["bars"] > 2].head(4).iterrows():
        end = closed["closed"] - model_set.interval  # the bar before it closes
        cut = backtest(candles, model_set, EAGER.model_copy(update={"end": end.to_pydatetime()}))
        (still,) = cut.open_trade.to_dict("records")
        for name in ("opened", "direction", "regime"):
            assert still[name] == closed[name]
        for name in ("size", "entry_price", "forecast"):
            assert still[name] == pytest.approx(closed[name])  # a forecast depends on the batch in its last digit
        assert still["bars"] == closed["bars"] - 1
        assert still["orders"] == closed["orders"] - 1
        earned = cut.equity["equity"].iloc[-1] - EAGER.cash - cut.trades["net_pnl"].sum()
        assert still["net_pnl"] == pytest.approx(earned)


def test_the_open_trade_is_listed_last_and_marked_open(whole: Backtest) -> None:
    assert len(whole.open_trade) == 1
    table = trade_table(whole)
    assert len(table) == len(whole.trades) + 1
    assert table["open"].tolist() == [False] * len(whole.trades) + [True]
    assert table["cumulative"].iloc[-1] == pytest.approx(whole.equity["equity"].iloc[-1] - EAGER.cash)


def test_excursions_of_a_trade_are_the_extremes_of_its_bars_relative_to_its_entry(whole: Backtest) -> None:
    at = int(whole.trades["bars"].argmax())
    trade, row = whole.trades.iloc[at], trade_table(whole).iloc[at]
    opened, closed = (trade[name].tz_localize("UTC") for name in ("opened", "closed"))
    held = whole.candles[(whole.candles.index >= opened) & (whole.candles.index < closed)]
    rise, fall = (max(held["high"].max(), trade["exit_price"]), min(held["low"].min(), trade["exit_price"]))
    up, down = rise / trade["entry_price"] - 1, fall / trade["entry_price"] - 1
    expected = (down, up) if trade["direction"] == "long" else (-up, -down)
    assert (row["mae"], row["mfe"]) == pytest.approx(expected)
    assert row["mae"] <= 0 <= row["mfe"]
    assert row["return"] == pytest.approx(trade["net_pnl"] / (trade["size"] * trade["entry_price"]))


def test_a_further_column_of_the_trades_is_shown_as_it_is(whole: Backtest) -> None:
    table = trade_table(replace(whole, trades=whole.trades.assign(closed_by="stop_loss", tag="mine")))
    content = json.loads(trades_json(table))
    assert content["columns"][-2:] == [{"label": "closed by", "kind": "text"}, {"label": "tag", "kind": "text"}]
    assert content["rows"][0][-2:] == ["stop loss", "mine"]


def test_fold_notes_name_their_fold(whole: Backtest) -> None:
    index = whole.equity.index
    fold = TradedFold(index[0], index[99], index[100], index[-1], notes=("bullish: too few windows.",))
    folds = replace(whole, source=replace(whole.source, folds=(fold, replace(fold, notes=()), fold)))
    expected = ["Fold 1: bullish: too few windows.", "Fold 3: bullish: too few windows."]
    short, *notes = fold_tables.fold_notes(folds)
    assert notes == expected
    assert short.startswith("Sharpe ratios in parentheses are of folds shorter than a quarter of a year")


def test_the_sharpe_ratio_of_a_short_fold_is_in_parentheses(whole: Backtest) -> None:
    index = whole.equity.index  # 40 days
    fold = TradedFold(index[0], index[99], index[100], index[-1])
    *_, total = rows = fold_tables.folds(replace(whole, source=replace(whole.source, folds=(fold,))))
    sharpe = fold_tables.FOLD_COLUMNS.index("Sharpe")
    assert re.fullmatch(r"\(-?\d+\.\d\d\)", rows[0][sharpe])
    assert total[sharpe] == f"({whole.metrics.sharpe:.2f})"


def test_regimes_whose_names_fail_are_shown_with_their_volatility(whole: Backtest, tmp_path: Path) -> None:
    failing = replace(whole.source.regime_returns[0], t_statistic=0.5, p_value=0.6)

    def of(*returns: RegimeReturns) -> Backtest:
        return replace(whole, source=replace(whole.source, regime_returns=returns))

    assert backtest_tables.name_notes(whole) == []
    assert backtest_tables.name_notes(of(failing)) == failing.notes()
    (folds,) = backtest_tables.name_notes(of(failing, *whole.source.regime_returns, failing))
    assert folds.startswith("In 2 of 3 folds the names of the regimes do not hold")
    regimes = {row[0] for row in backtest_tables.regime_earnings(of(failing))}
    assert "bearish (volatile)" in regimes
    traded = set(trade_table(of(failing))["regime"])
    assert "bearish (volatile)" in traded <= regimes
    write_backtest(of(failing), ALONE, tmp_path, candle_file=tmp_path / "X.csv", origin={"models": "X"})
    run = find_run(tmp_path, "SWITCH")
    page = (run.folder / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert page.count("so the names do not hold") == 1
    assert page.count("bearish (volatile)") > 4  # the table of regimes, the trades, and the legend of the price
    assert run.regime_returns == (failing,)


def test_an_account_without_a_position_has_no_open_trade(candles: pd.DataFrame, model_set: ModelSet) -> None:
    never = backtest(candles, model_set, NEVER)
    assert never.open_trade.empty
    assert trade_table(never).empty


def test_a_position_that_was_never_closed_and_few_trades_are_named(whole: Backtest) -> None:
    once = replace(whole.metrics, trades=0, open_trades=1)
    for direction, orders, words in (
        ("long", 1, "It bought once and never sold, so its Sharpe ratio"),
        ("short", 1, "It sold short once and never bought back, so its"),
        ("long", 3, "It opened one position and never closed it, so its"),
    ):
        only = whole.trades.head(1).assign(direction=direction, orders=orders)
        assert words in verdict(replace(whole, metrics=once, open_trade=only), ALONE)
    few = replace(whole, metrics=replace(whole.metrics, trades=FEWEST_TRADES - 1, time_in_market=0.1))
    assert f"{FEWEST_TRADES - 1} closed trades are too few to judge its Sharpe ratio" in verdict(few, ALONE)
    often = replace(whole, metrics=replace(whole.metrics, trades=FEWEST_TRADES - 1, time_in_market=0.5))
    assert "too few" not in verdict(often, ALONE)
    assert "significantly different from 0" not in verdict(few, ALONE)


def test_of_several_trials_the_deflated_ratio_decides_what_is_significant(whole: Backtest) -> None:
    clear = replace(whole.metrics, sharpe=2.0, sharpe_low=0.5, sharpe_high=3.5, trades=FEWEST_TRADES)
    result = replace(whole, metrics=clear)
    assert "is significantly different from 0" in verdict(result, ALONE)
    many = Trials(500, 500.0, 1 / clear.bars)
    assert many.deflated_sharpe(clear) < 0.975
    told = verdict(result, many)
    assert "Its Sharpe ratio of 2.00 is not significantly above 0 (as the best of 500 trials on these bars:" in told
    few = verdict(replace(whole, metrics=replace(clear, trades=FEWEST_TRADES - 1, time_in_market=0.1)), many)
    assert "(as the best of 500 trials on these bars: above 0 with probability" in few
    assert "interval 0.50" not in told + few  # that of a single trial


def test_the_interval_says_whether_it_covers_the_luck_of_the_seed(whole: Backtest) -> None:
    assert whole.metrics.seed_error > 0
    assert "luck of bars and seeds" in verdict(whole, ALONE)
    single = replace(whole, metrics=replace(whole.metrics, seed_error=None), members=whole.members[:1])
    assert "seed luck unknown" in verdict(single, ALONE)
    assert backtest_tables.members(single.members) == []


def test_without_a_forecast_beyond_a_threshold_the_verdict_says_so_and_which_flags_trade(
    candles: pd.DataFrame, model_set: ModelSet
) -> None:
    never = backtest(candles, model_set, NEVER)
    sizes = np.abs(member_forecasts(never.forecasts)).ravel()
    text = verdict(never, ALONE)
    assert text.startswith("Nothing was traded: no member's forecast reached a threshold.")
    assert f"The largest |forecast| of a member is {sizes.max():.2g}" in text
    half, most, nearly_all = (f"{np.quantile(sizes, share):.2g}" for share in (0.5, 0.9, 0.99))
    assert f"50 % of them are at most {half}, 90 % {most}, 99 % {nearly_all}." in text
    long, short = re.findall(r"threshold (-?[0-9.]+)[ ,]", text)
    assert float(long) == -float(short) <= np.quantile(sizes, 0.9)
    lower = NEVER.model_copy(update={"long_threshold": float(long), "short_threshold": float(short)})
    traded = backtest(candles, model_set, lower)
    assert traded.equity["traded"].any()
    assert "Nothing was traded" not in verdict(traded, ALONE)


def test_a_run_whose_forecasts_are_all_unknown_or_0_proposes_no_flags(whole: Backtest) -> None:
    settings = whole.settings.model_copy(update={"long_threshold": 1.0, "short_threshold": -1.0})
    for value, reason in ((np.nan, "no bar has a forecast."), (0.0, "all forecasts are 0.")):
        forecasts = whole.forecasts.assign(member_1=value, member_2=value)
        told = verdict(replace(whole, settings=settings, forecasts=forecasts), ALONE)
        assert told == f"Nothing was traded: {reason}"


def test_the_tearsheet_and_the_report_show_the_same_returns_though_the_strategy_begins_flat(
    whole: Backtest, candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    edge = float(whole.equity["forecast"].iloc[:18].abs().max())
    result = backtest(candles, model_set, BacktestSettings(long_threshold=edge, short_threshold=-edge))
    assert (result.equity["equity"].iloc[:18] == result.settings.cash).all()
    assert result.metrics.total_return != 0
    page = write_backtest(result, ALONE, tmp_path, candle_file=tmp_path / "X.csv", origin={"models": "X"})
    write_tearsheet(result, page)
    rows = {
        name: re.findall(rf">{name} *</td>(.*?)</tr>", (page / f"{file}.html").read_text(), re.DOTALL)[0]
        for file, name in (("report", "total return"), ("tearsheet", "Cumulative Return"))
    }
    report, tearsheet = (
        [float(value) for value in re.findall(r">\s*(-?[\d.]+)\s*%", rows[name].replace("\N{NO-BREAK SPACE}", " "))]
        for name in ("total return", "Cumulative Return")
    )
    assert report == pytest.approx([100 * result.metrics.total_return, 100 * result.holding.total_return], abs=0.051)
    assert tearsheet[::-1] == pytest.approx(report, abs=0.06)  # one digit and two digits


def test_the_headline_agrees_with_the_verdict(whole: Backtest, candles: pd.DataFrame, model_set: ModelSet) -> None:
    clear = replace(whole.metrics, sharpe=2.0, sharpe_low=0.5, sharpe_high=3.5, trades=FEWEST_TRADES)
    assert headline(replace(whole, metrics=clear), ALONE).startswith("A profit that is more than luck, ")
    lost = replace(clear, sharpe=-2.0, sharpe_low=-3.5, sharpe_high=-0.5)
    assert headline(replace(whole, metrics=lost), ALONE).startswith("A loss that is more than luck, ")
    luck = replace(clear, sharpe_low=-0.5)
    assert headline(replace(whole, metrics=luck), ALONE).startswith("Not more than luck, ")
    many = Trials(500, 500.0, 1 / clear.bars)
    assert headline(replace(whole, metrics=clear), many).startswith("Not more than luck, ")
    few = replace(clear, trades=FEWEST_TRADES - 1, time_in_market=0.1)
    assert headline(replace(whole, metrics=few), ALONE) == "Too few bars or trades to judge."
    seen = headline(replace(whole, metrics=clear, in_sample=True), ALONE)
    assert seen == "This proves nothing: training has seen these bars."
    assert headline(backtest(candles, model_set, NEVER), ALONE) == "Nothing was traded."
