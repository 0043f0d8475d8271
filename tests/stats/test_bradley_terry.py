from __future__ import annotations

from math import log

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.stats.bradley_terry import bradley_terry, strengths

# Games of the American League's Eastern Division in 1987 (Agresti 2002, Categorical Data Analysis, 2nd ed., table
# 10.10), and what the R package BradleyTerry2 (Turner and Firth 2012, Journal of Statistical Software 48(9)) estimates
# of them without home advantage, over Baltimore: `tests/baseball.Rout.save` in its sources, github.com/hturner.
TEAMS = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"]
BASEBALL = [
    [0, 7, 9, 7, 7, 9, 11],
    [6, 0, 7, 5, 11, 9, 9],
    [4, 6, 0, 7, 7, 8, 12],
    [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6],
    [2, 4, 1, 3, 1, 7, 0],
]
OVER_BALTIMORE = [1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0.0]

# Citations between journals (Stigler 1994; Agresti 2002, page 448): the row's journal is cited by the column's. The
# abilities, with a mean of zero, are `BTabilities(mod3)` in `tests/BTabilities.Rout.save` of the same sources.
JOURNALS = ["Biometrika", "Comm Statist", "JASA", "JRSS-B"]
CITATIONS = [[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]]
ABILITIES = [0.7899221, -2.1591504, 0.3103523, 1.0588761]
ERRORS = [0.04333047, 0.07257974, 0.04164102, 0.05304699]


def one_by_one(wins: list[list[int]]) -> NDArray[np.float64]:
    """A table for each game."""
    size = len(wins)
    games = []
    for place, number in enumerate(number for row in wins for number in row):
        table = np.zeros(size * size)
        table[place] = 1
        games += [table.reshape(size, size)] * number
    return np.array(games)


def test_published_strengths_of_teams() -> None:
    found = strengths(BASEBALL)
    assert (found - found[-1]).tolist() == pytest.approx(OVER_BALTIMORE, abs=5e-5)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_published_strengths_of_journals() -> None:
    assert strengths(CITATIONS).tolist() == pytest.approx(ABILITIES, abs=5e-8)


def test_intervals_agree_with_published_standard_errors() -> None:
    """With each citation drawn by itself, the bootstrap is the sampling that the standard errors assume."""
    found = bradley_terry(one_by_one(CITATIONS), resamples=2000)
    assert found.values == pytest.approx(ABILITIES, abs=5e-8)
    assert [interval.width / (2 * 1.96) for interval in found.intervals] == pytest.approx(ERRORS, rel=0.08)
    assert all(value in interval for value, interval in zip(found.values, found.intervals, strict=True))
    assert found.unfit == 0


def test_two_models_in_closed_form() -> None:
    found = strengths([[0, 30], [10, 0]])
    assert found[0] - found[1] == pytest.approx(log(3))
    ties = strengths([[0, 5.5], [2.5, 0]])
    assert ties[0] - ties[1] == pytest.approx(log(5.5 / 2.5))


def test_prompts_are_drawn_whole() -> None:
    """Ten games that always end alike on a prompt say no more than one."""
    games = one_by_one([[0, 30], [10, 0]])
    alone = bradley_terry(games, resamples=500)
    tenfold = bradley_terry(10 * games, resamples=500)
    assert tenfold.values == pytest.approx(alone.values)
    assert tenfold.intervals[0].low == pytest.approx(alone.intervals[0].low)
    apart = bradley_terry(np.repeat(games, 16, axis=0), resamples=500)
    assert apart.intervals[0].width == pytest.approx(alone.intervals[0].width / 4, rel=0.25)


def test_the_order_of_prompts_decides_nothing() -> None:
    games = one_by_one(BASEBALL)
    assert bradley_terry(games, resamples=50) == bradley_terry(games[::-1], resamples=50)


@pytest.mark.parametrize(
    "wins",
    [
        [[0, 3], [0, 0]],  # one never lost
        [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],  # two leagues that never met
        [[0, 0], [0, 0]],  # nobody played
    ],
)
def test_strengths_without_a_finite_value_are_refused(wins: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="no finite value"):
        strengths(wins)


def test_tables_that_are_none() -> None:
    with pytest.raises(ValueError, match="square"):
        strengths([[0, 1]])
    with pytest.raises(ValueError, match="square"):
        strengths([[0, -1], [1, 0]])
    with pytest.raises(ValueError, match="for each prompt"):
        bradley_terry([[0, 1], [1, 0]])


def test_samples_without_strengths_are_counted() -> None:
    found = bradley_terry(one_by_one([[0, 3], [1, 0]]), resamples=300)
    assert 0 < found.unfit < 300
