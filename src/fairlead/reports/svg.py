"""The one way a figure becomes markup: matplotlib → inline SVG that takes its colours and font from the page.

Figures are drawn in stand-in colours. `to_svg` replaces them by the page's CSS variables, so one drawing serves light,
dark and print. Equal data give equal bytes: no dates, no random ids, and ids that cannot meet those of another figure.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

Svg = Markup
"""Finished markup. The page escapes every plain string: only what is built here and in `drawings` reaches it whole."""

INK, MUTED, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#0a0000", "#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005")

_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"} | {
    stand_in: f"var(--c{index})" for index, stand_in in enumerate(SERIES)
}

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fairlead",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a "$" in a model's name is a dollar sign
    "text.color": INK,
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}

PIXELS_PER_INCH = 72  # matplotlib's SVG user unit


def color(index: int) -> str:
    """The stand-in of series colour `index`; they repeat after six."""
    return SERIES[index % len(SERIES)]


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib set for our figures, whatever the user's own settings are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # The reader's browser draws the text, so a glyph missing here is none of the reader's concern.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in pixels at the size it is meant to be seen."""
    return Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), layout="constrained")


def to_svg(figure: Figure, *, description: str) -> Svg:
    """The figure as an `<svg>` element with a text alternative; call within `house_style`."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = written.getvalue()
    head, body = text[text.index("<svg") :].split(">", 1)
    view_box = re.search(r'viewBox="[^"]*"', head)
    assert view_box is not None
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'style="[^"]*"', _themed, body)
    body = re.sub(r"\s*\n\s*", "\n", _private_ids(body)).strip().removesuffix("</svg>")
    return element(view_box[0], Markup(body), description)


def element(attributes: str, body: Markup, description: str) -> Svg:
    """An `<svg>` element around finished markup; `description`, its text alternative, is plain text."""
    return Markup('<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{}" {}>{}</svg>').format(
        printable(description), Markup(attributes), body
    )


def printable(text: str) -> str:
    """The text without what HTML and UTF-8 cannot carry: control characters and lone surrogates become U+FFFD."""
    return "".join(
        "\ufffd" if ("\ud800" <= char <= "\udfff") or (char < " " and char not in "\t\n\r") or char == "\x7f" else char
        for char in text
    )


def _themed(style: re.Match[str]) -> str:
    unfonted = re.sub(r" ?font-family:[^;]*;", "", style[0])
    return re.sub(r"#0[0-9a-f]{5}", lambda hexa: _VARIABLES.get(hexa[0], hexa[0]), unfonted)


def _private_ids(body: str) -> str:
    """Keep only the ids that something refers to, prefixed by a digest of the drawing: many figures share one page."""
    body = body.replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    prefix = hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(r' id="([^"]*)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", body)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", body)
