"""Agreement: published values, what each coefficient is by definition, and that intervals cover."""

from __future__ import annotations

from itertools import permutations
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.stats.agreement import (
    Metric,
    alpha,
    bootstrap_agreement,
    cohen_kappa,
    fleiss,
    fleiss_kappa,
    krippendorff_alpha,
    rating_counts,
    raw,
    raw_agreement,
    resample_agreement,
)
from fairlead.stats.intervals import Interval


def ratings(*rows: str) -> list[list[int | None]]:
    return [[None if mark == "." else int(mark) for mark in row.split()] for row in rows]


# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": 4 observers, 12 units.
FOUR_BY_TWELVE = ratings(
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
# The worked example of three coders and fifteen units with many gaps.
THREE_BY_FIFTEEN = ratings(
    ". . . . . 3 4 1 2 1 1 3 3 . 3",
    "1 . 2 1 3 3 4 3 . . . . . . .",
    ". . 2 1 3 4 4 . 2 1 1 3 3 . 4",
)
TWO_BY_TEN = ratings("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")

PUBLISHED_ALPHA: list[tuple[list[list[int | None]], Metric, float]] = [
    (FOUR_BY_TWELVE, "nominal", 0.743),
    (FOUR_BY_TWELVE, "ordinal", 0.815),
    (FOUR_BY_TWELVE, "interval", 0.849),
    (FOUR_BY_TWELVE, "ratio", 0.797),
    (THREE_BY_FIFTEEN, "nominal", 0.691),
    (THREE_BY_FIFTEEN, "interval", 0.811),
    (TWO_BY_TEN, "nominal", 0.095),
]

# Fleiss (1971) as worked out in textbooks: 10 subjects, 14 raters, 5 categories.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


@pytest.mark.parametrize(("table", "metric", "expected"), PUBLISHED_ALPHA)
def test_krippendorff_published(table: list[list[int | None]], metric: Metric, expected: float) -> None:
    counts, values = rating_counts(table)
    assert krippendorff_alpha(counts, values, metric) == pytest.approx(expected, abs=5e-4)


def test_fleiss_published() -> None:
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize(
    ("table", "kappa"), [([20, 5, 10, 15], 0.4), ([45, 15, 25, 15], 0.1304), ([25, 35, 5, 35], 0.2593)]
)
def test_cohen_published(table: list[int], kappa: float) -> None:
    assert cohen_kappa(np.reshape(table, (2, 2))) == pytest.approx(kappa, abs=5e-5)


def test_raw_agreement_by_hand() -> None:
    # Two of three equal: 1 of 3 pairs; two of two: 1 of 1; a lone rating has no pair. Together 2 of 4.
    assert raw_agreement([[2, 1], [0, 2], [1, 0]]) == 0.5
    assert isnan(raw_agreement([[1, 0], [0, 1]]))


def test_items_with_one_rating_change_nothing() -> None:
    counts = np.array([[2, 1, 0], [0, 3, 0], [1, 1, 1], [0, 0, 3]])
    more = np.vstack([counts, [[1, 0, 0], [0, 0, 1], [0, 0, 0]]])
    assert fleiss_kappa(more) == fleiss_kappa(counts)
    assert raw_agreement(more) == raw_agreement(counts)
    for metric in ("nominal", "ordinal", "interval", "ratio"):
        assert krippendorff_alpha(more, [1, 2, 3], metric) == krippendorff_alpha(counts, [1, 2, 3], metric)  # type: ignore[arg-type]


def test_perfect_and_undefined() -> None:
    assert krippendorff_alpha([[3, 0], [0, 3]]) == 1.0
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1.0
    assert cohen_kappa([[4, 0], [0, 4]]) == 1.0
    for one_category in ([[3, 0], [2, 0]], [[0, 0]]):
        assert isnan(krippendorff_alpha(one_category))
        assert isnan(fleiss_kappa(one_category))
    assert isnan(cohen_kappa([[7, 0], [0, 0]]))
    assert isnan(cohen_kappa([[0, 0], [0, 0]]))


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="needs the number"):
        krippendorff_alpha([[2, 0]], metric="interval")
    with pytest.raises(ValueError, match="square"):
        cohen_kappa([[1, 2, 3]])
    with pytest.raises(ValueError, match="items by categories"):
        raw_agreement([1, 2])
    with pytest.raises(ValueError, match="every item"):
        rating_counts([[1, 2], [1]])
    with pytest.raises(ValueError, match="level"):
        bootstrap_agreement([[2, 0], [1, 1]], raw, level=95)


counts_of_items = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(counts_of_items)
def test_alpha_is_its_definition(rows: list[list[int]]) -> None:
    """By walking over every pair of ratings, as the definition does."""
    usable = [row for row in rows if sum(row) >= 2]
    flat = [[value for value, count in enumerate(row) for _ in range(count)] for row in usable]
    everything = [value for item in flat for value in item]
    n = len(everything)
    values = [0.5, 1.0, 4.0]

    def disagreement(pairs: list[tuple[int, int]]) -> float:
        return sum((values[x] - values[y]) ** 2 for x, y in pairs)

    expected = disagreement(list(permutations(everything, 2))) / (n * (n - 1)) if n else 0
    if expected == 0:
        assert isnan(krippendorff_alpha(rows, values, "interval"))
        return
    observed = sum(disagreement(list(permutations(item, 2))) / (len(item) - 1) for item in flat) / n
    assert krippendorff_alpha(rows, values, "interval") == pytest.approx(1 - observed / expected)


def test_the_interval_is_the_bootstrap_over_items_and_does_not_depend_on_their_order() -> None:
    rng = np.random.default_rng(3)
    counts = rng.multinomial(4, [0.6, 0.3, 0.1], size=80)
    interval = bootstrap_agreement(counts, alpha("nominal"), resamples=4000)
    by_items = np.sort([krippendorff_alpha(counts[rng.integers(0, 80, 80)]) for _ in range(2000)])
    assert interval.low == pytest.approx(by_items[50], abs=0.02)
    assert interval.high == pytest.approx(by_items[1950], abs=0.02)
    assert bootstrap_agreement(counts[::-1], alpha("nominal"), resamples=4000) == interval
    assert bootstrap_agreement(counts, alpha("nominal"), resamples=4000, seed=1) != interval


def test_every_coefficient_resampled_with_each_item_once_is_itself() -> None:
    counts = np.array(FLEISS, dtype=float)
    for coefficient, value in ((fleiss, fleiss_kappa(counts)), (raw, raw_agreement(counts))):
        assert coefficient(counts, np.ones((1, 10)))[0] == value
        assert value in bootstrap_agreement(counts, coefficient)


def test_nothing_to_resample() -> None:
    assert resample_agreement([[1, 0]], raw).size == 0
    interval = bootstrap_agreement([[2, 0]], fleiss)
    assert isinstance(interval, Interval)
    assert isnan(interval.low)
