from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import SettingsError
from data.settings import Settings, is_secret
from runners.backtesting.settings import BacktestSettings
from runners.commands.config import TABLES

_PLAIN = st.one_of(
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2, 20, 0.0, 0.001, 0.5, 1.0, -0.001, float("nan"), float("inf")]),
    st.floats(),
    st.sampled_from(["hold", "flat", "column", "loss", "hmm", "rsi,macd", "0.5", "1,2", "redis://host:1/0", ""]),
    st.text(max_size=5),
    st.datetimes(),
    st.dates(),
    st.times(),
)
_VALUES = st.one_of(
    _PLAIN,
    st.lists(_PLAIN, max_size=3),
    st.dictionaries(st.sampled_from(["bullish", "all", "regime7", "window", "x"]), _PLAIN, max_size=2),
    st.dictionaries(
        st.sampled_from(["bullish", "all", "x"]),
        st.dictionaries(st.sampled_from(["window", "lr", "features", "x"]), _PLAIN, max_size=2),
        max_size=2,
    ),
)


def tables(kind: type[Settings]) -> st.SearchStrategy[dict[str, Any]]:
    """A few settings with values of any TOML type, most of them valid."""
    allowed = kind().model_dump(mode="json", exclude_none=True)
    entries = [
        st.tuples(st.just(name), st.one_of(*([st.just(allowed[name])] * 2 if name in allowed else []), _VALUES))
        for name in kind.model_fields
    ]
    unknown = st.tuples(st.sampled_from(["expozure", "x", ""]), _VALUES)
    return st.lists(st.one_of(*entries, *entries, unknown), max_size=4).map(dict)


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_an_error_that_names_a_setting_or_survives_a_round_trip(
    kind: type[Settings],
) -> None:
    secret = {name for name, field in kind.model_fields.items() if is_secret(field)}

    @given(tables(kind))
    @settings(derandomize=True, deadline=None, max_examples=400)
    def holds(table: dict[str, Any]) -> None:
        in_file = tomllib.loads(tomli_w.dumps(table))
        try:
            made = kind.from_table(in_file, "regimes.toml")
        except SettingsError as error:
            refused = str(error)
        else:
            written = tomli_w.dumps(made.model_dump(mode="json", exclude_none=True, exclude=secret))
            again = kind.from_table(tomllib.loads(written), "config.toml")
            assert again.model_dump(exclude=secret) == made.model_dump(exclude=secret)
            return
        assert "regimes.toml" in refused
        assert any(setting in refused for setting in in_file)

    holds()


def test_a_value_that_is_not_a_table_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"regimes\.toml: expected a table of settings such as .*, but found 3"):
        BacktestSettings.from_table(3, "regimes.toml")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"long_threshold": float("nan")}, "regimes.toml, long_threshold: Input should be a finite number, but nan"),
        ({"cash": float("inf")}, "regimes.toml, cash: Input should be a finite number, but inf was given."),
        ({"borrow_rate": 1}, "regimes.toml, borrow_rate: Input should be less than 1, but 1 was given."),
        (
            {"long_threshold": -0.5},
            "short_threshold -0.001 lies above long_threshold -0.5. Change one of them: long_threshold comes from "
            "regimes.toml, short_threshold comes from the default.",
        ),
    ],
)
def test_invalid_trading_settings_are_an_error(table: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        BacktestSettings.from_table(table, "regimes.toml")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("table", "flags", "origins"),
    [
        ({}, {"long_threshold": -0.01}, ["--long-threshold", "the default"]),
        ({"short_threshold": 0.5}, {"long_threshold": -0.01}, ["--long-threshold", "regimes.toml"]),
        ({"short_threshold": 0.5}, {}, ["the default", "regimes.toml"]),
        ({"short_threshold": 0.0}, {"short_threshold": 0.5}, ["the default", "--short-threshold"]),
    ],
)
def test_the_error_for_settings_that_contradict_each_other_names_where_each_comes_from(
    table: dict[str, float], flags: dict[str, float], origins: list[str]
) -> None:
    with pytest.raises(SettingsError) as refused:
        BacktestSettings.from_table(table, "regimes.toml", flags)
    of_long, of_short = origins
    assert f"long_threshold comes from {of_long}, short_threshold comes from {of_short}." in str(refused.value)
    assert ("regimes.toml" in str(refused.value)) == ("regimes.toml" in origins)


def test_cash_whose_equity_could_not_be_computed_is_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1000000000000000"):
        BacktestSettings(cash=1e308)
