"""Tests of a loss on the same items: how often they are wrong where nothing was lost, and what they say of a loss."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from fairlead.evaluation.loss_tests import by_bootstrap, by_mcnemar, shown_by
from fairlead.stats.intervals import Interval, mcnemar_one_sided
from fairlead.stats.power import detectable_loss

PROMPTS, SIZE, TRIALS, ALPHA = 40, 5, 200, 0.05


def test_mcnemar_is_the_exact_test() -> None:
    old = np.array([1.0] * 50 + [0.0] * 20)
    new = np.array([1.0] * 40 + [0.0] * 10 + [1.0] * 2 + [0.0] * 18)
    found = by_mcnemar(old, new, margin=0.05, alpha=ALPHA)
    assert (found.p, found.is_chance) == (mcnemar_one_sided(10, 2).p_value, False)
    assert found.shows == detectable_loss(70, 2 / 70)
    assert found.counts == "10 lost, 2 gained"


def test_prompts_drawn_whole_keep_the_level_and_items_alone_do_not() -> None:
    """Nothing is lost on the whole, but what happens to one item of a prompt happens to all five."""
    draw = np.random.default_rng(0)
    groups = [f"{place:02}" for place in range(PROMPTS) for _ in range(SIZE)]
    clustered = alone = 0
    for _ in range(TRIALS):
        change = np.repeat(draw.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=PROMPTS), SIZE)
        old = np.where(change < 0, 1.0, np.where(change > 0, 0.0, 1.0))
        new = old + change
        both = {"margin": 0.05, "alpha": ALPHA}
        clustered += not by_bootstrap(old, new, groups, median=False, binary=True, **both).is_chance
        alone += not by_mcnemar(old, new, **both).is_chance
    assert clustered / TRIALS <= 2 * ALPHA
    assert alone / TRIALS >= 3 * ALPHA


def test_a_loss_of_every_prompt_is_found() -> None:
    old, new = np.ones(60), np.tile([1.0, 1.0, 0.0], 20)
    groups = [str(n // 3) for n in range(60)]
    found = by_bootstrap(old, new, groups, margin=0.05, alpha=ALPHA, median=False, binary=True)
    assert (found.p, found.is_chance, found.settled) == (None, False, False)
    assert found.counts == "90% interval 0.333 to 0.333 over 20 prompts, since items share them"


def test_what_the_width_of_an_interval_shows() -> None:
    """A 95 % interval of a normal mean with standard error 1 is 3.92 wide; 1.645 + 0.842 of them show."""
    z = NormalDist().inv_cdf
    width = 2 * z(0.975)
    assert shown_by(Interval(0, width), 0.95, ALPHA) == pytest.approx(z(0.95) + z(0.8))
