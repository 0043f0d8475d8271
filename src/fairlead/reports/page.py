"""A report as data, and the one self-contained HTML file it becomes.

A `Page` is a title and sections; a section is a heading and blocks. Everything typed `str` is plain text and is
escaped; only `Svg` reaches the file whole. The file runs no script and fetches nothing: its content security policy
forbids both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import ClassVar, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from fairlead.reports.drawings import interval_strip
from fairlead.reports.figures import Estimate, percent, short_number
from fairlead.reports.svg import Svg, printable

TEMPLATES = Path(__file__).parent / "templates"

Tone = Literal["", "good", "bad", "warn", "muted", "strong"]
Mark = Literal["faint", "line", "dots", "dashed", "fill", "diamond"]


@dataclass(frozen=True, kw_only=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number to be seen first: what it is, its value, and a word of context (where it started, its range)."""

    label: str
    value: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A row of big numbers."""

    kind: ClassVar[str] = "numbers"
    numbers: Sequence[Number]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names and values, as a list of definitions."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Key:
    """One line of a legend; without a colour it explains the mark alone."""

    label: str
    color: int | None = None
    mark: Mark = "line"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing with its title, legend and caption. `wide` takes the full width of the page."""

    title: str
    svg: Svg
    caption: str = ""
    keys: Sequence[Key] = ()
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures side by side, as many as fit, under one legend. `large` ones stand two in a row instead of three."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Figure]
    keys: Sequence[Key] = ()
    large: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """Heading of a table column; numbers are set right, `mono` is for digests and names."""

    title: str
    numeric: bool = False
    mono: bool = False
    color: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A table cell that is more than plain text: with a tone, a note under it, a drawing, or the colour of a run."""

    text: str = ""
    tone: Tone = ""
    note: str = ""
    svg: Svg | None = None
    color: int | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text. `folded` hides it behind its title until it is asked for; printed, it is open.

    `cards`: on a narrow screen each row becomes a card under its first cell. Its cells are to be `Cell`s.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Cell]]
    title: str = ""
    caption: str = ""
    folded: bool = False
    cards: bool = False


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of a comparison: an estimate for each column (None: not measured), beside what was published.

    `unit` "share" is shown in percent, any other after the number. `direction` says what is better. `scale` is the
    range of the drawn strips; by default 0 to 1 for shares, else the range of the row. `verdict` stands at the end of
    the row, with a note under it.
    """

    name: str
    estimates: Sequence[Estimate | None]
    meaning: str = ""
    direction: str = ""
    unit: str = ""
    published: str = ""
    scale: tuple[float, float] | None = None
    verdict: str = ""
    verdict_note: str = ""
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several models or runs (the columns) measured on the same figures (the rows), each interval drawn."""

    kind: ClassVar[str] = "comparison"
    columns: Sequence[str]
    rows: Sequence[Measurement]
    caption: str = ""
    verdict_title: str = "as published?"

    def table(self) -> Table:
        """The comparison as the table that is drawn."""
        published = any(row.published for row in self.rows)
        verdict = any(row.verdict for row in self.rows)
        columns = [Column(title="figure")]
        columns += [Column(title="published", numeric=True)] * published
        columns += [Column(title=name, numeric=True, color=index) for index, name in enumerate(self.columns)]
        columns += [Column(title=self.verdict_title)] * verdict
        rows: list[list[str | Cell]] = []
        for row in self.rows:
            note = " · ".join(part for part in (row.meaning, row.direction) if part)
            cells: list[str | Cell] = [Cell(text=row.name, tone="strong", note=note)]
            cells += [Cell(text=row.published or "–", tone="muted")] * published
            cells += [_measured(row, index) for index in range(len(self.columns))]
            cells += [Cell(text=row.verdict, tone=row.tone, note=row.verdict_note)] * verdict
            rows.append(cells)
        return Table(columns=columns, rows=rows, caption=self.caption)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a text: as in the other text, only in this one which is the newer (`ins`), or the older (`del`)."""

    text: str
    mark: Literal["", "ins", "del"] = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one model answered, under its name and colour; without a colour it is what the others are compared with.

    `pieces`: the same text in parts, with what differs from another reply marked.
    """

    label: str
    text: str
    color: int | None = None
    pieces: Sequence[Piece] = ()


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One prompt and its replies, in the order to be read; `label` stands above it."""

    prompt: str
    replies: Sequence[Reply]
    label: str = "Prompt"


@dataclass(frozen=True, kw_only=True)
class Exchanges:
    """Sample completions side by side."""

    kind: ClassVar[str] = "exchanges"
    exchanges: Sequence[Exchange]


Block = Prose | Numbers | Facts | Figures | Table | Comparison | Exchanges


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, one sentence of introduction, and blocks."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole report. `status` is the word beside the title."""

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    status: str = ""
    tone: Tone = ""
    header: Sequence[Block] = ()
    footer: str = ""


def render(page: Page) -> str:
    """The page as one HTML document, without scripts and without any address to fetch. Equal pages, equal text."""
    style = Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))
    return _template().render(page=page, style=style)


def amount(value: float, unit: str) -> str:
    """A value in its unit: a share as percent, others with the unit's name after them."""
    if unit == "share":
        return percent(value)
    return f"{short_number(value)} {unit}".strip()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    return environment.get_template("page.html.jinja")


def _measured(row: Measurement, index: int) -> Cell:
    estimate = row.estimates[index] if index < len(row.estimates) else None
    if estimate is None:
        return Cell(text="–", tone="muted", note="not measured")
    interval, note = estimate.interval, ""
    if interval is not None and isfinite(interval.low) and isfinite(interval.high):
        if row.unit == "share":
            note = f"{100 * interval.low:.0f} to {100 * interval.high:.0f}"
        else:
            note = f"{short_number(interval.low)} to {short_number(interval.high)}"
    if estimate.n is not None:
        note = f"{note}, n = {estimate.n:,}".removeprefix(", ")
    text = amount(estimate.value, row.unit)
    strip = interval_strip(estimate, scale=_scale(row), color=index, description=f"{row.name}: {text} ({note})")
    return Cell(text=text, note=note, svg=strip)


def _scale(row: Measurement) -> tuple[float, float]:
    if row.scale is not None:
        return row.scale
    known = [estimate for estimate in row.estimates if estimate is not None]
    ends = [estimate.value for estimate in known]
    ends += [end for estimate in known if estimate.interval for end in (estimate.interval.low, estimate.interval.high)]
    finite = [end for end in ends if isfinite(end)]
    if row.unit == "share" and all(0 <= end <= 1 for end in finite):
        return (0.0, 1.0)
    return (min(0.0, *finite), max(finite)) if len(finite) > 1 else (0.0, max(finite, default=1.0))
