from __future__ import annotations

from fractions import Fraction
from math import comb, isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.stats import intervals
from fairlead.stats.intervals import (
    Interval,
    bootstrap,
    bootstrap_paired,
    mcnemar,
    mcnemar_one_sided,
    relative_change,
    wilson,
)

# Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3: 95 % score intervals.
WILSON_95 = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)]


@pytest.mark.parametrize(("k", "n", "low", "high"), WILSON_95)
def test_wilson_published(k: int, n: int, low: float, high: float) -> None:
    interval = wilson(k, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_edges() -> None:
    # k = 0: high = z² / (n + z²) in closed form.
    z = 1.959963984540054
    assert wilson(0, 60) == Interval(0.0, pytest.approx(z * z / (60 + z * z)))
    assert wilson(60, 60) == Interval(pytest.approx(60 / (60 + z * z)), 1.0)
    assert isnan(wilson(0, 0).low)
    assert isnan(wilson(0, 0).high)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, -1)])
def test_wilson_refuses_impossible_counts(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= k <= n"):
        wilson(k, n)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_levels_are_shares(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, level)
    with pytest.raises(ValueError, match="level"):
        bootstrap([1.0, 2.0], level=level)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_and_mirrors(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    interval, mirrored = wilson(k, n), wilson(n - k, n)
    assert 0 <= interval.low <= k / n <= interval.high <= 1
    assert k / n in interval
    assert interval.low == pytest.approx(1 - mirrored.high)
    assert wilson(k, n, 0.5).width < interval.width


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    half = 1.96 * values.std() / np.sqrt(400)
    interval = bootstrap(values, resamples=4000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert interval == bootstrap(values, resamples=4000)
    assert interval != bootstrap(values, resamples=4000, seed=1)


def test_bootstrap_loop_equals_vectorised_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [1.0, 5.0, 2.0, 8.0, 3.0]
    vectorised = bootstrap(values, np.median)
    assert bootstrap(values, lambda row: float(np.median(row))) == vectorised
    monkeypatch.setattr(intervals, "BLOCK_VALUES", 40)
    assert bootstrap(values, np.median) == vectorised


def test_bootstrap_edges() -> None:
    assert isnan(bootstrap([]).low)
    assert isnan(bootstrap([]).high)
    assert bootstrap([4.0]) == Interval(4.0, 4.0)
    assert isnan(bootstrap([1.0, float("nan")], resamples=50).high)
    with pytest.raises(ValueError, match="one number per item"):
        bootstrap([[1.0, 2.0]])


def test_paired_bootstrap_cancels_what_items_share() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(0.0, 100.0, size=50)
    after = before - 2 + rng.normal(0.0, 0.1, size=50)
    paired = bootstrap_paired(before, after)
    assert -2.1 < paired.low < paired.high < -1.9
    differences = bootstrap(after - before)
    assert (paired.low, paired.high) == (pytest.approx(differences.low), pytest.approx(differences.high))
    with pytest.raises(ValueError, match="per item"):
        bootstrap_paired([1.0], [1.0, 2.0])


def test_relative_change_of_medians() -> None:
    before = np.arange(20.0, 61.0)
    interval = bootstrap_paired(before, before * 0.62, np.median, contrast=relative_change)
    assert (interval.low, interval.high) == (pytest.approx(-0.38), pytest.approx(-0.38))
    assert isnan(bootstrap_paired([0.0, 0.0], [1.0, 1.0], contrast=relative_change).low)


def test_mcnemar_published() -> None:
    # The usual worked example, 314 patients before and after a drug: 101, 121 / 59, 33.
    assert mcnemar(121, 59, method="chi2").statistic == pytest.approx(21.356, abs=5e-4)
    assert mcnemar(121, 59, method="continuity").statistic == pytest.approx(20.672, abs=5e-4)


def test_mcnemar_p_values() -> None:
    # χ²(1): 3.841459 cuts off 5 %, 6.634897 cuts off 1 %.
    assert mcnemar(0, 4, method="chi2").p_value == pytest.approx(0.0455003, abs=1e-7)  # χ² = 4, two sigma
    assert mcnemar(9, 0, method="chi2").p_value == pytest.approx(0.0026998, abs=1e-7)  # χ² = 9, three sigma
    # Exact, by hand: 2 · (1 + 6) / 2⁶ and P(X ≥ 5) = 7/64.
    assert mcnemar(1, 5) == mcnemar(5, 1)
    assert mcnemar(5, 1).p_value == 14 / 64
    assert mcnemar_one_sided(5, 1).p_value == 7 / 64
    assert mcnemar_one_sided(1, 5).p_value == 63 / 64
    assert mcnemar(3, 3).p_value == 1.0
    assert mcnemar(3, 3, method="continuity").statistic == 0.0


@pytest.mark.parametrize("method", ["exact", "chi2", "continuity"])
def test_mcnemar_without_discordant_items(method: str) -> None:
    result = mcnemar(0, 0, method=method)  # type: ignore[arg-type]
    assert (result.statistic, result.p_value) == (0.0, 1.0)
    assert mcnemar_one_sided(0, 0).p_value == 1.0
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2, method=method)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 80), st.integers(0, 80))
def test_exact_tail_is_the_binomial_sum(b: int, c: int) -> None:
    tail = Fraction(sum(comb(b + c, k) for k in range(b, b + c + 1)), 2 ** (b + c))
    assert mcnemar_one_sided(b, c).p_value == float(tail)
    assert mcnemar(b, c).p_value == pytest.approx(min(1.0, 2 * mcnemar_one_sided(max(b, c), min(b, c)).p_value))
