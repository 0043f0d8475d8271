"""The frontier of a sweep as a figure: what each point gains against how far it has gone from the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fairlead.reports.figures import percent, short_number
from fairlead.reports.svg import INK, MUTED, PAPER, Svg, canvas, color, house_style, printable, to_svg

WIDTH, HEIGHT = 620, 360
MARGIN = 0.09
"""Share of each axis that is left free beyond the outermost ends."""
CHARACTER, LINE = 6.2, 13.0
"""Width and height of a label's letter, in pixels: near enough to keep labels apart."""
AWAY = 9.0  # pixels from a point to its label
LABEL_LENGTH = 34
EVEN = {"judge/win_rate": 0.5}
"""Where a measure says that a model is as good as the base."""


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A point as it is drawn; the ends of an interval are its value where they are not known."""

    label: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    on_front: bool
    eligible: bool
    picked: bool


def frontier_figure(frontier: Mapping[str, Any]) -> Svg:
    """The content of a `frontier.json` as SVG: y against x with both 95 % intervals, each point under its name.

    The front is joined by a line, the pick is ringed and said, points that the rule does not allow are hollow. Points
    without one of the two figures are left out of the drawing.
    """
    spots = list(_spots(frontier))
    named = f"{frontier['y']} against {frontier['x']}"
    description = f"{named} of {len(spots)} models; picked: {frontier['picked'] or 'none'}"
    with house_style():
        figure = canvas(WIDTH, HEIGHT)
        if not spots:
            figure.text(0.5, 0.5, f"no point has both {named}", ha="center", va="center", color=MUTED)
            return to_svg(figure, description=description)
        axes = figure.add_subplot()
        _set_axes(axes, frontier, spots)
        front = sorted((spot for spot in spots if spot.on_front), key=lambda spot: spot.x[1])
        axes.plot([spot.x[1] for spot in front], [spot.y[1] for spot in front], color=color(0), linewidth=1.6)
        for spot in spots:
            _draw(axes, spot)
        for spot, (dx, dy) in zip(spots, _offsets(axes, spots), strict=True):
            axes.annotate(
                spot.label,
                (spot.x[1], spot.y[1]),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="center",
                color=INK if spot.eligible else MUTED,
            )
        return to_svg(figure, description=description)


def _spots(frontier: Mapping[str, Any]) -> Iterator[_Spot]:
    for point in frontier["points"]:
        x, y = (_ends(point["measures"].get(frontier[axis])) for axis in ("x", "y"))
        if x is None or y is None:
            continue
        picked = point["name"] == frontier["picked"]
        name = printable(point["name"])
        name = name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…"
        yield _Spot(
            label=f"{name} (picked)" if picked else name,
            x=x,
            y=y,
            on_front=point["on_front"],
            eligible=point["eligible"],
            picked=picked,
        )


def _ends(measure: Mapping[str, Any] | None) -> tuple[float, float, float] | None:
    """Low end, value and high end; None where there is no value."""
    if measure is None or measure["value"] is None or not isfinite(measure["value"]):
        return None
    value = float(measure["value"])
    low, high = (value if end is None or not isfinite(end) else float(end) for end in (measure["low"], measure["high"]))
    return low, value, high


def _set_axes(axes: Axes, frontier: Mapping[str, Any], spots: Sequence[_Spot]) -> None:
    axes.set_xlim(*_limits([end for spot in spots for end in spot.x]))
    axes.set_ylim(*_limits([end for spot in spots for end in spot.y]))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    units = {axis: _unit(frontier, frontier[axis]) for axis in ("x", "y")}
    for axis, unit in ((axes.xaxis, units["x"]), (axes.yaxis, units["y"])):
        show = percent if unit == "share" else short_number
        axis.set_major_formatter(FuncFormatter(lambda value, _, show=show: show(round(value, 9))))
    unit = f" ({units['x']})" if units["x"] not in ("", "share") else ""
    axes.set_xlabel(printable(f"{frontier['x']}{unit}: distance from the base"), loc="right")
    axes.set_title(printable(str(frontier["y"])), loc="left", fontsize=10.5, color=MUTED)
    if (even := EVEN.get(frontier["y"])) is not None:
        axes.axhline(even, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))


def _unit(frontier: Mapping[str, Any], name: str) -> str:
    return next((str(each["measures"][name]["unit"]) for each in frontier["points"] if name in each["measures"]), "")


def _limits(ends: Sequence[float]) -> tuple[float, float]:
    low, high = min(ends), max(ends)
    room = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
    return low - room, high + room


def _draw(axes: Axes, spot: _Spot) -> None:
    tint = color(0) if spot.eligible else MUTED
    (x_low, x, x_high), (y_low, y, y_high) = spot.x, spot.y
    for xs, ys in (([x_low, x_high], [y, y]), ([x, x], [y_low, y_high])):
        axes.plot(xs, ys, color=tint, linewidth=1.2, alpha=0.45, solid_capstyle="round")
    if spot.picked:
        axes.plot(x, y, "o", markersize=13, markerfacecolor="none", markeredgecolor=color(1), markeredgewidth=2.0)
    fill = tint if spot.eligible else PAPER
    edge = PAPER if spot.eligible else tint
    axes.plot(x, y, "o", markersize=7.5, markerfacecolor=fill, markeredgecolor=edge, markeredgewidth=1.3)


def _offsets(axes: Axes, spots: Sequence[_Spot]) -> list[tuple[float, float]]:
    """Where each label stands beside its point: the first place in which it meets neither another label, a point nor
    the edge; else the one in which it meets the fewest."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width, height = 0.9 * WIDTH, 0.8 * HEIGHT
    places = [((s.x[1] - left) / (right - left) * width, (s.y[1] - bottom) / (top - bottom) * height) for s in spots]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    found = []
    for spot, (x, y) in zip(spots, places, strict=True):
        length = CHARACTER * len(spot.label)
        choices = [(AWAY, AWAY), (AWAY, -AWAY), (-AWAY, AWAY), (-AWAY, -AWAY), (0.0, 2 * AWAY), (0.0, -2 * AWAY)]
        choices += [(AWAY, 2.4 * AWAY), (AWAY, -2.4 * AWAY), (-AWAY, 2.4 * AWAY), (-AWAY, -2.4 * AWAY)]

        def box(offset: tuple[float, float], x: float = x, y: float = y, length: float = length) -> tuple[float, ...]:
            dx, dy = offset
            start = x + dx - (length if dx < 0 else 0.0 if dx > 0 else length / 2)
            return start, y + dy - LINE / 2, start + length, y + dy + LINE / 2

        def met(offset: tuple[float, float], box: Any = box) -> int:
            x1, y1, x2, y2 = box(offset)
            outside = x1 < 0 or y1 < 0 or x2 > width or y2 > height
            return 4 * int(outside) + sum(bool(x1 < c and a < x2 and y1 < d and b < y2) for a, b, c, d in taken)

        best = min(choices, key=met)
        taken.append(box(best))  # type: ignore[arg-type]
        found.append(best)
    return found
