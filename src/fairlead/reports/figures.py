"""The figures of a report: each a function from data to an SVG string. Text that needs a legend is left to the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from fairlead.reports.svg import INK, MUTED, PAPER, RULE, Svg, canvas, color, house_style, printable, to_svg
from fairlead.stats.intervals import Interval

Floats = NDArray[np.float64]

PANEL_WIDTH, PANEL_HEIGHT = 380, 205
ROWS_WIDTH = 480
"""Width of the figures made of rows: two fit beside one another, and a telephone still shows their text legibly."""
MOST_POINTS = 300
"""A curve with more points is drawn as the mean of equal bins, with a band from lowest to highest."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric of one run over its steps. Values that are not finite leave a gap."""

    steps: Sequence[float]
    values: Sequence[float]
    color: int = 0
    dashed: bool = False
    held_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured figure with its interval, in its own unit (a share is between 0 and 1), over `n` items."""

    value: float
    interval: Interval | None = None
    n: int | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An estimate with the name it is drawn under and the colour of its model."""

    label: str
    estimate: Estimate
    color: int = 0


def short_number(value: float, digits: int = 3) -> str:
    """A number as short as it can be said: 0.00005 is 5e−5, 12345.6 is 12,346, −0.5 has a real minus sign."""
    if not isfinite(value):
        return "not a number" if value != value else "−∞" if value < 0 else "∞"
    if value != 0 and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{float(f'{value:.{digits}g}'):g}"
    return text.replace("-", "−")


def percent(value: float) -> str:
    """A share in percent, whole unless it is small: 0.613 is 61 %, 0.0042 is 0.4 %."""
    if not isfinite(value):
        return short_number(value)
    scaled = 100 * value
    return (f"{scaled:.1f}" if 0 < abs(scaled) < 0.95 else f"{scaled:.0f}").replace("-", "−") + " %"


def curves(
    lines: Sequence[Curve],
    *,
    description: str,
    limits: tuple[float, float] | None = None,
    baseline: float | None = None,
    marked_step: float | None = None,
) -> Svg:
    """Metrics over steps. Training is a thin line, held-out a heavy one with dots; `baseline` is a level worth knowing
    (0.5 for an accuracy), `marked_step` the step of the checkpoint kept as best."""
    with house_style():
        figure = canvas(PANEL_WIDTH, PANEL_HEIGHT)
        axes = figure.add_subplot()
        _plain_axes(axes)
        if baseline is not None:
            axes.axhline(baseline, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        if marked_step is not None:
            axes.axvline(marked_step, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        alone = not any(line.held_out for line in lines)
        for line in sorted(lines, key=lambda line: line.held_out):
            _draw_curve(axes, line, opacity=0.9 if alone else 0.55)
        if limits is not None:
            axes.set_ylim(*limits)
        else:
            axes.margins(y=0.08)
        return to_svg(figure, description=description)


def histograms(samples: Sequence[tuple[str, Sequence[float]]], *, unit: str, description: str) -> Svg:
    """Distributions one above another on one axis, each with its median marked: reply lengths of several models."""
    filled = [(label, np.asarray(values, dtype=np.float64), index) for index, (label, values) in enumerate(samples)]
    drawn = [(label, values, index) for label, values, index in filled if values.size]
    if not drawn:
        return _nothing(description)
    edges = _bin_edges(np.concatenate([values for _, values, _ in drawn]))
    with house_style():
        figure = canvas(ROWS_WIDTH, 34 + 62 * len(drawn))
        rows = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, values, index) in zip(rows, drawn, strict=True):
            _draw_histogram(axes, label, values, edges, color(index), unit)
        rows[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
        rows[-1].tick_params(bottom=True, labelbottom=True)
        rows[-1].set_xlabel(printable(unit), loc="right")
        return to_svg(figure, description=description)


def rate_bars(rates: Sequence[Measured], *, description: str) -> Svg:
    """Shares as horizontal bars from 0 to 100 %, each with its interval: apology rates of several models."""
    if not rates:
        return _nothing(description)
    with house_style():
        figure = canvas(ROWS_WIDTH, 34 + 30 * len(rates))
        axes = figure.add_subplot()
        _rows_axes(axes, [rate.label for rate in rates], range(len(rates)), len(rates))
        for row, rate in enumerate(rates):
            axes.barh(row, rate.estimate.value, height=0.56, color=color(rate.color), alpha=0.35, linewidth=0)
            _whisker(axes, row, rate.estimate, color(rate.color))
            end = rate.estimate.interval.high if rate.estimate.interval else rate.estimate.value
            axes.annotate(
                percent(rate.estimate.value) + ("" if rate.estimate.n is None else f"  of {rate.estimate.n:,}"),
                (max(end, rate.estimate.value) if isfinite(end) else rate.estimate.value, row),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
            )
        axes.set_xlim(0, 1.2)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        return to_svg(figure, description=description)


def interval_dots(
    groups: Sequence[tuple[str, Sequence[Measured]]],
    *,
    description: str,
    published: Sequence[float | None] = (),
) -> Svg:
    """Shares by group as dots with intervals, a line per model within each group; a diamond is the published value."""
    if not any(members for _, members in groups):
        return _nothing(description)
    with house_style():
        lines = sum(len(members) for _, members in groups)
        figure = canvas(ROWS_WIDTH, 34 + 17 * lines + 12 * len(groups))
        axes = figure.add_subplot()
        position, ticks = 0.0, []
        for index, (_, members) in enumerate(groups):
            first = position
            for member in members:
                _whisker(axes, position, member.estimate, color(member.color), dot=True)
                position += 1
            ticks.append((first + position - 1) / 2)
            if index < len(published) and (value := published[index]) is not None:
                axes.plot(value, ticks[-1], marker="D", markersize=6.5, markerfacecolor=PAPER, markeredgecolor=INK)
            if index + 1 < len(groups):
                axes.axhline(position - 0.15, color=RULE, linewidth=0.7)
            position += 0.7
        _rows_axes(axes, [label for label, _ in groups], ticks, position)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        return to_svg(figure, description=description)


def _nothing(description: str) -> Svg:
    with house_style():
        figure = canvas(ROWS_WIDTH, 60)
        figure.text(0.5, 0.5, "nothing was measured", ha="center", va="center", color=MUTED)
        return to_svg(figure, description=description)


def _plain_axes(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.margins(x=0.02)


def _draw_curve(axes: Axes, line: Curve, *, opacity: float) -> None:
    steps, values = np.asarray(line.steps, dtype=np.float64), np.asarray(line.values, dtype=np.float64)
    values = np.where(np.isfinite(values), values, nan)
    style = (0, (3.2, 1.8)) if line.dashed else "solid"
    if line.held_out:
        axes.plot(steps, values, color=color(line.color), linewidth=1.8, linestyle=style)
        axes.plot(
            steps, values, "o", color=color(line.color), markersize=4.6, markeredgecolor=PAPER, markeredgewidth=0.7
        )
        return
    if steps.size > MOST_POINTS:
        steps, values, low, high = _binned(steps, values)
        axes.fill_between(steps, low, high, color=color(line.color), alpha=0.14, linewidth=0)
    # One point makes no line, so it needs a mark to be seen at all.
    mark = "." if np.count_nonzero(np.isfinite(values)) == 1 else None
    axes.plot(steps, values, marker=mark, color=color(line.color), linewidth=1.0, alpha=opacity, linestyle=style)


def _binned(steps: Floats, values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Middle step, mean, lowest and highest of at most `MOST_POINTS` bins; nan where a bin has no finite value."""
    bins = [part for part in np.array_split(np.arange(steps.size), MOST_POINTS) if part.size]
    rows = []
    for part in bins:
        finite = values[part][np.isfinite(values[part])]
        summary = (finite.mean(), finite.min(), finite.max()) if finite.size else (nan, nan, nan)
        rows.append((steps[part].mean(), *summary))
    middle, mean, low, high = np.array(rows).T
    return middle, mean, low, high


def _bin_edges(values: Floats) -> Floats:
    """Whole-number bins, about 40 of them, from 0 to the 99.5th percentile; the last bin takes what lies beyond."""
    top = max(1.0, float(np.quantile(values, 0.995)))
    width = max(1, int(np.ceil(top / 40)))
    return np.arange(0, np.ceil(top / width) * width + width + 1, width, dtype=np.float64)


def _draw_histogram(axes: Axes, label: str, values: Floats, edges: Floats, tint: str, unit: str) -> None:
    counts, _ = np.histogram(np.minimum(values, edges[-1] - 1e-9), edges)
    axes.bar(edges[:-1], counts / values.size, np.diff(edges) * 0.92, align="edge", color=tint, alpha=0.55, linewidth=0)
    median = float(np.median(values))
    axes.axvline(median, color=tint, linewidth=1.8)
    axes.set_title(
        printable(f"{label}  ·  median {short_number(median)} {unit}  ·  n = {values.size:,}"),
        loc="left",
        fontsize=10.5,
    )
    axes.grid(False)
    axes.set_yticks([])
    axes.set_ylim(bottom=0)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.set_xlim(0, edges[-1])


def _rows_axes(
    axes: Axes, labels: Sequence[str], ticks: Sequence[float] | None = None, end: float | None = None
) -> None:
    axes.set_yticks(range(len(labels)) if ticks is None else ticks, [printable(label) for label in labels])
    axes.set_ylim((len(labels) if end is None else end) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(False)
    axes.grid(True, axis="x")


def _whisker(axes: Axes, row: float, estimate: Estimate, tint: str, *, dot: bool = False) -> None:
    interval = estimate.interval
    if interval is not None and isfinite(interval.low) and isfinite(interval.high):
        axes.plot([interval.low, interval.high], [row, row], color=tint, linewidth=1.6, solid_capstyle="round")
    if dot or interval is not None:
        axes.plot(estimate.value, row, "o", color=tint, markersize=5.5, markeredgecolor=PAPER, markeredgewidth=0.8)
