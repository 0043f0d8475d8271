"""Small drawings that need no axes, written as SVG by hand: interval strips and the share bar."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from markupsafe import Markup, escape

from fairlead.reports.figures import Estimate
from fairlead.reports.svg import Svg, element

STRIP_WIDTH, STRIP_HEIGHT = 128, 14


def interval_strip(estimate: Estimate, *, scale: tuple[float, float], color: int, description: str) -> Svg:
    """One estimate as a dot on a line from the low to the high end of its interval, between the ends of `scale`."""
    low, high = scale

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(5 + min(1.0, max(0.0, share)) * (STRIP_WIDTH - 10), 2)

    middle = STRIP_HEIGHT / 2
    marks = [_line(5, middle, STRIP_WIDTH - 5, middle, "var(--rule)", 1)]
    interval = estimate.interval
    if interval is not None and isfinite(interval.low) and isfinite(interval.high):
        tint = f"var(--c{color % 6})"
        marks.append(_line(place(interval.low), middle, place(interval.high), middle, tint, 3, opacity=0.45))
    if isfinite(estimate.value):
        marks.append(
            Markup('<circle cx="{}" cy="{}" r="4" style="fill:var(--c{})"/>').format(
                place(estimate.value), middle, color % 6
            )
        )
    box = f'class="strip" viewBox="0 0 {STRIP_WIDTH} {STRIP_HEIGHT}" width="{STRIP_WIDTH}" height="{STRIP_HEIGHT}"'
    return element(box, Markup("").join(marks), description)


def share_bar(parts: Sequence[tuple[int, int]], *, description: str) -> Svg:
    """Counts with their colours as one bar of the full width; a part that is not empty is always seen."""
    total = sum(count for count, _ in parts)
    shown = [(max(count / total, 0.004), tint) for count, tint in parts if count > 0]
    scale = sum(share for share, _ in shown)
    start, marks = 0.0, []
    for share, tint in shown:
        width = 100 * share / scale
        marks.append(
            Markup('<rect x="{:.3f}%" y="0" width="{:.3f}%" height="100%" style="fill:var(--c{})"/>').format(
                start, width, tint % 6
            )
        )
        start += width
    return element('class="bar" width="100%" height="18"', Markup("").join(marks), description)


def _line(x1: float, y1: float, x2: float, y2: float, tint: str, width: float, *, opacity: float = 1) -> Markup:
    return Markup(
        '<line x1="{}" y1="{}" x2="{}" y2="{}" '
        'style="stroke:{};stroke-width:{};stroke-opacity:{};stroke-linecap:round"/>'
    ).format(x1, y1, x2, y2, escape(tint), width, opacity)
