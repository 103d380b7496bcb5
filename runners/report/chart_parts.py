"""Parts of a chart: panes, their series, readings at the pointer, and how lines look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from runners.report.style import PAGE_INK

Aggregate = Literal["first", "last", "min", "max", "mean"]
Kind = Literal["price", "money", "growth", "points", "percent", "name", "number"]


@dataclass(frozen=True)
class Series:
    """One line or area of a pane, which its legend can hide.

    Attributes
    ----------
    label, colour
        In the legend.
    renderers
        Names of its renderers.
    columns
        What must fit into the pane.
    shown
        Whether it is drawn at first.
    """

    label: str
    colour: str
    renderers: tuple[str, ...]
    columns: tuple[str, ...]
    shown: bool = True


@dataclass(frozen=True)
class Pane:
    """One figure of a chart.

    Attributes
    ----------
    figures
        Names of its figures: linear, and logarithmic if the reader can choose.
    levels
        Values that always fit into it.
    """

    title: str
    figures: tuple[str, ...]
    levels: tuple[float, ...]
    series: list[Series] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """A value of the bar under the pointer: its label, the column and how it is formatted."""

    label: str
    column: str
    kind: Kind


@dataclass(frozen=True)
class LineStyle:
    """How a line is drawn."""

    colour: str = PAGE_INK
    width: float = 1.4
    dash: int = 0
    shown: bool = True
