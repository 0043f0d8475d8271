"""The lineage drawn: boxes from left to right, each to the right of all it was made from.

A layered drawing (Sugiyama, Tagawa and Toda 1981): columns by the longest way, an edge that passes a column gets a
place of its own there, and every column is ordered by the middle of what leads to it, in one sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

from fairlead.reports.svg import Svg, element, printable

BOX_WIDTH, BOX_HEIGHT, COLUMN_GAP, ROW_GAP, MARGIN = 186, 46, 44, 16, 2
PASSAGE_HEIGHT = 12
LABEL_LENGTH, DETAIL_LENGTH = 25, 27
SMALLEST_SCALE = 0.8
"""A graph wider than the page is scaled down to this at most, then scrolled: its text has to stay legible."""

Place = tuple[float, float]
Edge = tuple[str, str]
Passage = tuple[Edge, int]
"""An edge where it passes a column that neither of its ends is in."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One box: a file, a run or an artifact. `here` marks what the report is about."""

    key: str
    label: str
    detail: str = ""
    kind: Literal["file", "run", "artifact"] = "file"
    here: bool = False


def lineage_graph(nodes: Sequence[Node], edges: Sequence[Edge], *, description: str) -> Svg:
    """Nodes and the edges between their keys as SVG. Edges to keys that are not there are left out."""
    known = {node.key for node in nodes}
    drawn = list(dict.fromkeys((start, end) for start, end in edges if start in known and end in known))
    column_of = _columns(nodes, drawn)
    places, height = _places(_ordered(nodes, drawn, column_of))
    joins = [_join(edge, column_of, places) for edge in drawn]
    boxes = [_box(node, *places[node.key]) for node in nodes]
    columns = max(column_of.values(), default=0) + 1
    width = 2 * MARGIN + columns * (BOX_WIDTH + COLUMN_GAP) - COLUMN_GAP
    attributes = (
        f'class="lineage" viewBox="0 0 {width} {height:g}" '
        f'style="max-width:{width}px;min-width:{SMALLEST_SCALE * width:.0f}px"'
    )
    return element(attributes, Markup("").join([*joins, *boxes]), description)


def _columns(nodes: Sequence[Node], edges: Sequence[Edge]) -> Mapping[str, int]:
    """Length of the longest way to each node. A cycle, which no honest lineage has, ends the count early."""
    column = {node.key: 0 for node in nodes}
    for _ in nodes:
        late = [(start, end) for start, end in edges if column[end] <= column[start] < len(nodes) - 1]
        if not late:
            break
        for start, end in late:
            column[end] = max(column[end], column[start] + 1)
    # A file that only a later run reads stands beside that run, not at the far left.
    for node in nodes:
        ends = [column[end] for start, end in edges if start == node.key]
        if ends and not any(end == node.key for _, end in edges):
            column[node.key] = max(0, min(ends) - 1)
    return column


def _ordered(nodes: Sequence[Node], edges: Sequence[Edge], column_of: Mapping[str, int]) -> list[list[str | Passage]]:
    """What stands in each column from top to bottom: node keys, and passages of edges on their way."""
    columns: list[list[str | Passage]] = [[] for _ in range(max(column_of.values(), default=-1) + 1)]
    before: dict[str | Passage, list[str | Passage]] = {}
    for node in nodes:
        columns[column_of[node.key]].append(node.key)
    for edge in edges:
        previous: str | Passage = edge[0]
        for column in range(column_of[edge[0]] + 1, column_of[edge[1]]):
            columns[column].append((edge, column))
            before[(edge, column)] = [previous]
            previous = (edge, column)
        before.setdefault(edge[1], []).append(previous)
    for left, column_items in pairwise(columns):
        rank = {item: index / max(1, len(left) - 1) for index, item in enumerate(left)}

        def middle(item: str | Passage, rank: Mapping[str | Passage, float] = rank) -> float:
            ranks = [rank[source] for source in before.get(item, []) if source in rank]
            return sum(ranks) / len(ranks) if ranks else 1.0

        column_items.sort(key=middle)
    return columns


def _places(columns: Sequence[Sequence[str | Passage]]) -> tuple[dict[str | Passage, Place], float]:
    """Left upper corner of each box, and left end of each passage; columns are centred. Also the whole height."""

    def height_of(item: str | Passage) -> float:
        return BOX_HEIGHT if isinstance(item, str) else PASSAGE_HEIGHT

    heights = [sum(height_of(item) + ROW_GAP for item in column) - ROW_GAP for column in columns]
    tallest = max(heights, default=0.0)
    places: dict[str | Passage, Place] = {}
    for index, (column, height) in enumerate(zip(columns, heights, strict=True)):
        y = MARGIN + (tallest - height) / 2
        for item in column:
            middle = 0.0 if isinstance(item, str) else PASSAGE_HEIGHT / 2
            places[item] = (MARGIN + index * (BOX_WIDTH + COLUMN_GAP), y + middle)
            y += height_of(item) + ROW_GAP
    return places, tallest + 2 * MARGIN


def _join(edge: Edge, column_of: Mapping[str, int], places: Mapping[str | Passage, Place]) -> Markup:
    """A curve from box to box, straight through the passages on its way."""
    start, end = edge
    x, y = places[start][0] + BOX_WIDTH, places[start][1] + BOX_HEIGHT / 2
    path = f"M{x:g} {y:g}"
    for column in range(column_of[start] + 1, column_of[end]):
        left, level = places[(edge, column)]
        path += _bend(x, y, left, level) + f"H{left + BOX_WIDTH:g}"
        x, y = left + BOX_WIDTH, level
    path += _bend(x, y, places[end][0], places[end][1] + BOX_HEIGHT / 2)
    return Markup('<path class="join" d="{}"/>').format(path)


def _bend(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    return f"C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"


def _box(node: Node, x: float, y: float) -> Markup:
    return Markup(
        '<g class="node {kind}{here}"><title>{title}</title>'
        '<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="{radius}"/>'
        '<text class="label" x="{text_x:g}" y="{label_y:g}">{label}</text>'
        '<text class="detail" x="{text_x:g}" y="{detail_y:g}">{detail}</text></g>'
    ).format(
        kind=node.kind,
        here=" here" if node.here else "",
        title=printable(f"{node.label}\n{node.detail}".strip()),
        x=x,
        y=y,
        width=BOX_WIDTH,
        height=BOX_HEIGHT,
        radius=10 if node.kind == "run" else 3,
        text_x=x + 11,
        label_y=y + 20,
        detail_y=y + 36,
        label=_middle_cut(printable(node.label), LABEL_LENGTH),
        detail=_middle_cut(printable(node.detail), DETAIL_LENGTH),
    )


def _middle_cut(text: str, length: int) -> str:
    """The text, its middle left out when it is too long: the ends of paths and names tell more."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return text[:head] + "…" + text[len(text) - (length - 1 - head) :]
