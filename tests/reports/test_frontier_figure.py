from __future__ import annotations

import re
from itertools import combinations
from math import nan

import pytest

from fairlead.reports.frontier_figure import frontier_figure

from .frontiers import frontier, measure, point
from .markup import Parsed

HOSTILE = '</text><script>alert("$x$")</script>'


def test_every_point_stands_under_its_name_and_the_pick_is_said() -> None:
    parsed = Parsed(frontier_figure(frontier()))
    assert not parsed.faults
    for name in ("base", "beta=0.5", "beta=0.2", "beta=0.1", "beta=0.05"):
        assert parsed.texts.count(name) == 1, name
    assert "beta=0.3 (picked)" in parsed.texts
    assert "kl/k1 (nats): distance from the base" in parsed.texts
    assert "judge/win_rate" in parsed.texts
    assert parsed.values("aria-label") == ["judge/win_rate against kl/k1 of 6 models; picked: beta=0.3"]


def test_the_front_the_pick_and_what_is_barred_are_drawn() -> None:
    whole = frontier_figure(frontier())
    points = frontier()["points"]
    for change in (
        {"picked": None},
        {"points": [each | {"eligible": True} for each in points]},
        {"points": [each | {"on_front": False} for each in points]},
    ):
        assert frontier_figure(frontier() | change) != whole
    assert frontier_figure(frontier()) == whole


def test_points_without_both_figures_are_left_out() -> None:
    parsed = Parsed(frontier_figure(frontier(point("a", 1.0, 0.6), point("b", 2.0, None), point("c", nan, 0.5))))
    assert "a" in parsed.texts
    assert not {"b", "c"} & set(parsed.texts)
    del (bare := point("a", 1.0, 0.6))["measures"]["kl/k1"]
    assert "no point has both judge/win_rate against kl/k1" in Parsed(frontier_figure(frontier(bare))).texts


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_one_point_without_intervals_is_drawn(value: float) -> None:
    alone = point("alone", value, 0.5)
    for each in alone["measures"].values():
        each.update(low=None, high=None)
    parsed = Parsed(frontier_figure(frontier(alone, picked=None)))
    assert not parsed.faults
    assert "alone" in parsed.texts


def test_an_accuracy_has_no_line_of_even_chances() -> None:
    judged = frontier_figure(frontier(y="judge/win_rate"))
    accuracy = frontier_figure(frontier(y="ranking_accuracy"))
    assert judged.count("stroke-dasharray") == 1 + accuracy.count("stroke-dasharray")


def test_names_are_text_whatever_they_say() -> None:
    svg = frontier_figure(frontier(point(HOSTILE, 1.0, 0.6), picked=HOSTILE) | {"x": "kl/k1"})
    parsed = Parsed(svg)
    assert "script" not in parsed.tags
    assert not parsed.faults
    assert any(HOSTILE[:20] in text for text in parsed.texts)


def test_labels_of_near_points_stand_apart() -> None:
    """By where their words begin or end: no two of one kind within a line's height of one another."""
    near = [point(f"beta={n}", 1.0 + n / 100, 0.6 + n / 1000) for n in range(5)]
    svg = frontier_figure(frontier(*near, picked=None))
    found = re.findall(r'text-anchor: (\w+)[^>]*" x="([\d.]+)" y="([\d.]+)"[^>]*>beta=', svg)
    places = [(anchor, float(x), float(y)) for anchor, x, y in found]
    assert len(places) == 5
    for one, other in combinations(places, 2):
        assert one[0] != other[0] or abs(one[1] - other[1]) > 40 or abs(one[2] - other[2]) > 9


def test_measures_in_other_units() -> None:
    longer = point("a", 1.0, 0.6)
    longer["measures"]["judge/win_rate"] = measure(3.0, 0.5, "reward", "up")
    assert not Parsed(frontier_figure(frontier(longer))).faults
