from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from fairlead.stats import power as module
from fairlead.stats.intervals import mcnemar, mcnemar_one_sided
from fairlead.stats.power import (
    detectable_loss,
    paired_difference,
    paired_items,
    paired_power,
    unpaired_difference,
    unpaired_items,
)

# Fleiss, Statistical Methods for Rates and Proportions, table A.3 (two-sided 0.05, power 0.80, with continuity).
FLEISS = [(0.05, 0.10, 474), (0.25, 0.40, 165)]
# The documentation of R's power.prop.test: p1 = .50, p2 = .75, power = .90 gives n = 76.7, without continuity.
R_DOCUMENTED = (0.50, 0.75, 0.90, 77)
# Connor's formula as others print it: powerandsamplesize.com (one-sided, power 0.90, and two-sided, power 0.80), and
# Chow, Shao and Wang, Sample Size Calculations in Clinical Research, section 6.4 (their example, n = 59).
CONNOR = [
    (0.45, 0.05, 0.90, 1, 23),
    (0.45, 0.05, 0.80, 2, 23),
    (0.50, 0.20, 0.80, 2, 59),
    (0.30, 0.15, 0.80, 2, 155),
]


@pytest.mark.parametrize(("first", "second", "n"), FLEISS)
def test_two_proportions_published(first: float, second: float, n: int) -> None:
    assert unpaired_items(first, second) == unpaired_items(second, first) == n


def test_two_proportions_without_continuity_published() -> None:
    first, second, power, n = R_DOCUMENTED
    assert unpaired_items(first, second, power=power, method="normal") == n


@pytest.mark.parametrize(("lost", "gained", "power", "sides", "n"), CONNOR)
def test_mcnemar_published(lost: float, gained: float, power: float, sides: module.Sides, n: int) -> None:
    assert paired_items(lost, gained, power=power, sides=sides, method="normal") == n


def test_the_correction_solves_its_equation() -> None:
    # With n from the formula the corrected statistic reaches its bound with just the power asked for.
    lost, gained = 0.15, 0.05
    n, delta, psi = paired_items(lost, gained), 0.1, 0.2
    slack = [m * delta - 1 - m**0.5 * (1.959964 * psi**0.5 + 0.841621 * (psi - delta**2) ** 0.5) for m in (n - 1, n)]
    assert slack[0] < 0 <= slack[1]


def exact_by_hand(n: int, lost: float, gained: float, sides: module.Sides, alpha: float) -> float:
    """Every table (b, c) of discordant items, its chance, and what the exact test says of it."""
    from math import comb

    found = 0.0
    for b in range(n + 1):
        for c in range(n - b + 1):
            chance = comb(n, b) * comb(n - b, c) * lost**b * gained**c * (1 - lost - gained) ** (n - b - c)
            p = mcnemar_one_sided(b, c).p_value if sides == 1 else mcnemar(b, c).p_value
            found += chance if p <= alpha and b > c else 0.0
    return found


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(("n", "lost", "gained"), [(12, 0.5, 0.1), (25, 0.3, 0.0), (30, 0.25, 0.2)])
def test_exact_power_is_that_of_the_tests_themselves(n: int, lost: float, gained: float, sides: module.Sides) -> None:
    assert paired_power(n, lost, gained, sides=sides) == pytest.approx(exact_by_hand(n, lost, gained, sides, 0.05))


@pytest.mark.parametrize(("lost", "gained", "sides"), [(0.15, 0.10, 2), (0.27, 0.23, 1)])
def test_as_many_items_as_said_give_the_power_asked_for(lost: float, gained: float, sides: module.Sides) -> None:
    n = paired_items(lost, gained, sides=sides)
    assert paired_power(n, lost, gained, sides=sides) == pytest.approx(0.8, abs=0.02)


def test_where_few_items_are_discordant_the_formula_errs_on_the_safe_side() -> None:
    assert 0.8 <= paired_power(paired_items(0.06, 0.01), 0.06, 0.01, sides=2) < 0.88


def test_by_simulation() -> None:
    # 4000 experiments: a standard error of 0.006.
    rng, n = np.random.default_rng(0), unpaired_items(0.55, 0.65)
    right = rng.binomial(n, [[0.55], [0.65]], size=(2, 4000)) / n
    middle = right.mean(axis=0)
    corrected = (np.abs(right[1] - right[0]) - 1 / n) / np.sqrt(2 * middle * (1 - middle) / n)
    assert (corrected > 1.959964).mean() == pytest.approx(0.8, abs=0.025)
    m = paired_items(0.15, 0.05)
    tables = rng.multinomial(m, [0.15, 0.05, 0.80], size=4000)
    found = np.mean([mcnemar(int(b), int(c)).p_value <= 0.05 for b, c, _ in tables])
    assert found == pytest.approx(0.8, abs=0.025)
    assert found == pytest.approx(paired_power(m, 0.15, 0.05), abs=0.02)


def test_a_loss_on_few_answers() -> None:
    # With nothing gained, five losses are what the one-sided test needs (2⁻⁵ < 0.05 < 2⁻⁴).
    loss = detectable_loss(60)
    chance = 1 - sum(module._binomial(60, loss)[:5])
    assert chance == pytest.approx(0.8, abs=0.001)
    assert detectable_loss(60, gained=0.05) > loss > detectable_loss(200)
    assert isnan(detectable_loss(4))
    assert isnan(detectable_loss(0))


def test_differences_and_items_agree() -> None:
    rise = unpaired_difference(500, 0.6)
    assert unpaired_items(0.6, 0.6 + rise) <= 500 < unpaired_items(0.6, 0.6 + rise - 2 * module.FINEST)
    for items in (400, module.EXACT_ITEMS + 1000):  # by enumeration, and by the formula
        difference = paired_difference(items, 0.2)
        needed = paired_items((0.2 + difference) / 2, (0.2 - difference) / 2)
        assert needed == pytest.approx(items, rel=0.05)
    assert isnan(paired_difference(0, 0.2))
    assert isnan(paired_difference(5, 0.2))
    assert isnan(unpaired_difference(0))
    assert isnan(unpaired_difference(2, 0.9))


def test_more_power_fewer_errors_and_two_sides_cost_items() -> None:
    usual = paired_items(0.12, 0.08)
    assert paired_items(0.12, 0.08, sides=1) < usual < paired_items(0.12, 0.08, power=0.9)
    assert usual < paired_items(0.12, 0.08, alpha=0.01)
    assert paired_items(0.12, 0.08, method="normal") < usual


def test_binomial_chances_sum_to_one() -> None:
    for n, share in ((0, 0.3), (1, 0.0), (5, 1.0), (1999, 0.21)):
        assert module._binomial(n, share).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: unpaired_items(0.5, 0.5),
        lambda: unpaired_items(0.5, 1.5),
        lambda: unpaired_items(0.5, 0.6, power=1.0),
        lambda: paired_items(0.1, 0.1),
        lambda: paired_items(0.7, 0.4),
        lambda: paired_items(-0.1, 0.4),
        lambda: paired_power(10, 0.7, 0.4),
        lambda: paired_power(10, 0.2, 0.1, alpha=0),
    ],
)
def test_what_cannot_be_is_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"shares?|power|equal"):
        call()  # type: ignore[operator]
