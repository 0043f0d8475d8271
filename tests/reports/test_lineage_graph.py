from __future__ import annotations

import re
from itertools import pairwise

from fairlead.reports.lineage_graph import BOX_HEIGHT, BOX_WIDTH, Node, lineage_graph

from .markup import Parsed

NODES = [
    Node(key="pairs", label="pairs.jsonl"),
    Node(key="demos", label="demos.jsonl"),
    Node(key="sft", label="sft", kind="run"),
    Node(key="model", label="model", kind="artifact"),
    Node(key="dpo", label="dpo", kind="run", here=True),
]
EDGES = [("demos", "sft"), ("sft", "model"), ("model", "dpo"), ("pairs", "dpo"), ("demos", "dpo"), ("gone", "dpo")]


def _boxes(svg: str) -> dict[str, tuple[float, float]]:
    found = re.findall(r"<title>([^<]*)</title><rect x=\"([\d.]+)\" y=\"([\d.]+)\"", svg)
    return {label: (float(x), float(y)) for label, x, y in found}


def test_every_box_stands_right_of_what_it_was_made_from() -> None:
    svg = lineage_graph(NODES, EDGES, description="x")
    boxes = _boxes(svg)
    label = {node.key: node.label for node in NODES}
    for start, end in EDGES[:-1]:
        assert boxes[label[start]][0] + BOX_WIDTH < boxes[label[end]][0]
    assert boxes["pairs.jsonl"][0] == boxes["model"][0]  # beside what its only reader reads
    assert svg.count('class="join"') == len(EDGES) - 1
    assert not Parsed(svg).faults


def test_a_long_edge_passes_between_the_boxes() -> None:
    svg = lineage_graph(NODES, EDGES, description="x")
    boxes = _boxes(svg)
    levels = [
        (float(x) - BOX_WIDTH, float(y))
        for path in re.findall(r'class="join" d="([^"]*)"', svg)
        for y, x in re.findall(r" ([\d.]+)H([\d.]+)", path)
    ]
    assert len(levels) == 2  # demos → dpo passes the columns of sft and of model
    for left, level in levels:
        for x, y in boxes.values():
            assert x != left or not y <= level <= y + BOX_HEIGHT


def test_boxes_never_overlap() -> None:
    places = sorted(_boxes(lineage_graph(NODES, EDGES, description="x")).values())
    for (x1, y1), (x2, y2) in pairwise(places):
        assert x1 != x2 or y2 - y1 >= BOX_HEIGHT


def test_long_names_are_cut_in_the_middle_and_kept_whole_in_the_title() -> None:
    name = "<b>" + "a" * 60 + ".jsonl"
    svg = lineage_graph([Node(key="f", label=name)], [], description="x")
    assert "….jsonl" in svg or re.search(r"…a+\.jsonl", svg)
    parsed = Parsed(svg)
    assert name in parsed.text
    assert "b" not in parsed.tags


def test_a_cycle_and_an_empty_graph_are_drawn_all_the_same() -> None:
    nodes = [Node(key="a", label="a"), Node(key="b", label="b")]
    assert set(_boxes(lineage_graph(nodes, [("a", "b"), ("b", "a")], description="x"))) == {"a", "b"}
    assert not Parsed(lineage_graph([], [], description="x")).faults
