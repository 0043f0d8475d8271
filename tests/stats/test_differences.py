from __future__ import annotations

from math import comb, isnan, sqrt

import pytest

from fairlead.stats.differences import group_difference, matched_difference


def test_published_matched_proportions() -> None:
    """Approval of a prime minister, asked twice of 1600 people (Agresti, Categorical Data Analysis, table 10.1).

    150 approved at first only, 86 later only; the text gives −0.04 ± 1.96 × 0.0095 for the plain interval.
    """
    found = matched_difference(86, 150, 1600)
    assert (found.low, found.high) == pytest.approx((-0.04 - 1.96 * 0.0095, -0.04 + 1.96 * 0.0095), abs=3e-4)


def test_by_hand() -> None:
    """Wald + 2 with b = 3, c = 1, n = 10: 2 / 12 ± z √(5 − 4 / 12) / 12."""
    half = 1.959963984540054 * sqrt(5 - 4 / 12) / 12
    found = matched_difference(3, 1, 10)
    assert (found.low, found.high) == pytest.approx((2 / 12 - half, 2 / 12 + half))
    mirrored = matched_difference(1, 3, 10)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((found.low, found.high))
    # Agresti and Caffo with 4 of 10 and 2 of 8: 5 / 12 − 3 / 10 ± z √(5 × 7 / 12³ + 3 × 7 / 10³)
    half = 1.959963984540054 * sqrt(35 / 12**3 + 21 / 10**3)
    groups = group_difference(4, 10, 2, 8)
    assert (groups.low, groups.high) == pytest.approx((5 / 12 - 0.3 - half, 5 / 12 - 0.3 + half))


def test_intervals_have_a_width_where_nothing_differs_and_end_at_one() -> None:
    nothing = matched_difference(0, 0, 20)
    assert nothing.low == pytest.approx(-nothing.high)
    assert 0.05 < nothing.high < 0.15
    assert matched_difference(20, 0, 20).high == 1
    assert group_difference(20, 20, 0, 20).high <= 1
    assert matched_difference(20, 0, 20).low > 0.7
    assert isnan(matched_difference(0, 0, 0).low)
    assert isnan(group_difference(1, 2, 0, 0).high)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5)])
def test_counts_that_cannot_be(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="counts of items that differ"):
        matched_difference(*counts)
    with pytest.raises(ValueError, match="in both groups"):
        group_difference(4, 3, 0, 1)


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.1), (0.3, 0.1), (0.45, 0.45), (0.05, 0.0), (0.6, 0.2)])
def test_a_matched_interval_holds_as_often_as_it_says(p: float, q: float) -> None:
    """Its coverage, summed exactly over all outcomes of 20 items that differ either way with p and q."""
    n, held = 20, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            chance = comb(n, b) * comb(n - b, c) * p**b * q**c * (1 - p - q) ** (n - b - c)
            held += chance * (p - q in matched_difference(b, c, n))
    assert held > 0.93


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.9, 0.9), (0.9, 0.1), (0.2, 0.6)])
def test_an_interval_of_two_groups_holds_as_often_as_it_says(p: float, q: float) -> None:
    held = 0.0
    for k in range(13):
        for j in range(9):
            chance = comb(12, k) * p**k * (1 - p) ** (12 - k) * comb(8, j) * q**j * (1 - q) ** (8 - j)
            held += chance * (p - q in group_difference(k, 12, j, 8))
    assert held > 0.93
