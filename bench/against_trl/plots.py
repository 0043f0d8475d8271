"""The plots, as SVG on a light ground: ratios of every cell, and loss curves laid over one another.

Equal data give equal bytes: no dates, no random ids.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK, MUTED, RULE, OURS, THEIRS = "#1f2430", "#5b6472", "#d9dde3", "#1f6f8b", "#c4622d"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fairlead",
    "svg.fonttype": "none",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
}
WIDTH, ROW = 8.6, 0.27


def ratios(lines: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """How many times as fast, one line per cell: the median as a dot, least and most as a bar."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.0 + ROW * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        for place, (_, ratio) in enumerate(lines):
            axes.plot([ratio["min"], ratio["max"]], [place, place], color=OURS, linewidth=2.2, alpha=0.45)
            axes.plot([ratio["median"]], [place], "o", color=OURS, markersize=5)
            axes.annotate(
                f"{ratio['median']:.1f}",
                (ratio["max"], place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=8.5,
            )
        axes.axvline(1, color=MUTED, linewidth=1)
        axes.set_xscale("log")
        low = min(0.8, *(ratio["min"] for _, ratio in lines))
        high = max(2.2, *(ratio["max"] for _, ratio in lines))
        axes.set_xlim(low * 0.95, high * 1.2)
        ticks = [tick for tick in (0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20) if low <= tick <= high * 1.2]
        axes.set_xticks(ticks)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(lines)), [label for label, _ in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_xlabel("times as fast as TRL: median of the steps, least and most")
        return _svg(figure)


def curves(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Both loss curves of each run on one pair of axes, and below them how far they lie apart."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        grid = figure.subplots(2, len(runs), sharex="col", squeeze=False, height_ratios=(3, 1))
        for column, (name, run) in enumerate(runs.items()):
            top, bottom = grid[0][column], grid[1][column]
            steps = range(1, len(run["trl"]) + 1)
            top.plot(steps, run["trl"], color=THEIRS, linewidth=3.2, alpha=0.55, label="TRL")
            top.plot(steps, run["fairlead"], color=OURS, linewidth=1.3, label="Fairlead")
            top.set_title(name, fontsize=10, loc="left")
            top.set_ylabel("loss")
            top.legend(frameon=False)
            apart = [max(abs(a - b), 1e-9) for a, b in zip(run["trl"], run["fairlead"], strict=True)]
            bottom.plot(steps, apart, color=INK, linewidth=1)
            bottom.set_yscale("log")
            bottom.set_ylabel("difference")
            bottom.set_xlabel("step")
            for axes in (top, bottom):
                axes.grid(axis="y")
        return _svg(figure)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    # No trailing blanks, which matplotlib leaves in paths.
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
