from __future__ import annotations

from math import isnan

import pytest

from fairlead.stages.evidence import DISAGREEMENT, weigh
from fairlead.stats.power import paired_items, paired_power, unpaired_items


def test_the_figures_are_those_of_the_tests() -> None:
    found = weigh(400, detect=0.05, answers=60)
    assert found.needed_paired.two == paired_items(0.125, 0.075)
    assert found.needed_unpaired.one == unpaired_items(0.475, 0.525, sides=1)
    assert found.needed_paired.one < found.needed_paired.two < found.needed_unpaired.two
    shown = found.shown_paired.two
    power = paired_power(400, (DISAGREEMENT + shown) / 2, (DISAGREEMENT - shown) / 2, sides=2)
    assert power == pytest.approx(0.8, abs=0.005)
    assert 0.05 < found.answers_lost < 0.15


def test_a_difference_larger_than_the_usual_disagreement() -> None:
    found = weigh(10, detect=0.4, answers=0)
    assert found.disagreement == 0.4
    assert found.needed_paired.two == paired_items(0.4, 0.0)
    assert isnan(found.answers_lost)


def test_without_held_out_pairs_nothing_shows() -> None:
    found = weigh(0, detect=0.05, answers=100)
    assert isnan(float(found.shown_paired.one))
    assert isnan(float(found.shown_unpaired.two))
