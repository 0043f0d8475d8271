"""The ranking of several models as a figure: each model's strength with its interval, the strongest at the top."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from fairlead.reports.figures import short_number
from fairlead.reports.svg import INK, MUTED, PAPER, Svg, canvas, color, house_style, printable, to_svg

WIDTH, ROW = 400, 30  # pixels; narrow enough for a telephone to show the text at its size
LABEL_LENGTH = 30


def ranking_figure(ranking: Mapping[str, Any], *, candidate: str) -> Svg:
    """The models of a `ranking.json` from the strongest to the weakest: a dot, and a line for the 95 % interval.

    The candidate's is filled, the others' are hollow. Models without a strength are left out; without any the figure
    says so.
    """
    drawn = [each for each in ranking["models"] if each["strength"]["value"] is not None]
    said = ", ".join(f"{each['name']} {short_number(each['strength']['value'])}" for each in drawn)
    description = f"Bradley–Terry strengths: {said or 'none'}"
    with house_style():
        figure = canvas(WIDTH, 44 + ROW * max(1, len(drawn)))
        if not drawn:
            figure.text(0.5, 0.5, "no model has a strength", ha="center", va="center", color=MUTED)
            return to_svg(figure, description=description)
        axes = figure.add_subplot()
        for row, each in enumerate(drawn):
            strength = each["strength"]
            tint = color(0 if each["name"] == candidate else 1)
            if strength["low"] is not None and isfinite(strength["low"]):
                ends = [strength["low"], strength["high"]]
                axes.plot(ends, [row, row], color=tint, linewidth=1.8, solid_capstyle="round")
            face = tint if each["name"] == candidate else PAPER
            axes.plot(strength["value"], row, "o", markersize=6.5, markerfacecolor=face, markeredgecolor=tint, zorder=3)
        axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_yticks(range(len(drawn)), [_short(each["name"]) for each in drawn])
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(False)
        axes.grid(True, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
        axes.set_xlabel("strength (nats)", loc="right")
        return to_svg(figure, description=description)


def _short(name: str) -> str:
    return printable(name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…")
