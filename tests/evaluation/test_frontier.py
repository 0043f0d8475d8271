"""The front, the pick and the diagnoses, on points written by hand."""

from __future__ import annotations

import random
from math import exp
from typing import Any

import pytest

from fairlead.evaluation.comparison import compare
from fairlead.evaluation.frontier import FAR_KL, Constraint, Frontier, Point, make_frontier
from fairlead.evaluation.results import Item, Measurement
from fairlead.stats.intervals import wilson

KL, ACCURACY, WINS, FACTS = "kl/k1", "ranking_accuracy", "judge/win_rate", "factual_accuracy"
N = 100


def share(name: str, k: int, n: int = N) -> Measurement:
    ends = wilson(k, n)
    return Measurement(name=name, value=k / n, low=ends.low, high=ends.high, n=n, unit="share", direction="up")


def nats(value: float | None, half: float = 0.1, name: str = KL) -> Measurement:
    low, high = (None, None) if value is None else (value - half, value + half)
    return Measurement(name=name, value=value, low=low, high=high, n=N, unit="nats")


def items(name: str, right: int) -> list[Item]:
    return [Item(measure=name, id=f"{n:03}", value=float(n < right)) for n in range(N)]


def point(
    name: str,
    kl: float | None,
    right: int = 60,
    *,
    half: float = 0.1,
    facts: int | None = None,
    wins: int | None = None,
    fails: str = "",
    trained: bool = True,
    more: tuple[Measurement, ...] = (),
) -> Point:
    """A point beside a base that ranks 60 of 100 right and answers 60 of 100 facts."""
    found = [nats(kl, half), share(ACCURACY, right), *more]
    before, after = items(ACCURACY, 60), items(ACCURACY, right)
    if facts is not None:
        found.append(share(FACTS, facts))
        before, after = before + items(FACTS, 60), after + items(FACTS, facts)
    if wins is not None:
        found.append(share(WINS, wins))
    return Point(
        name=name,
        measures={each.name: each for each in found},
        constraints=(Constraint(text=fails, passed=False, evidence="below the minimum"),) if fails else (),
        against_base=tuple(compare(before, after)) if trained else (),
        trained=trained,
    )


BASE = point("base", 0.0, half=0.0, trained=False)


def frontier(*points: Point, y: str = ACCURACY, **how: Any) -> Frontier:
    return make_frontier([BASE, *points], x=KL, y=y, guarded={FACTS: "up"}, **how)


def on_front(found: Frontier) -> set[str]:
    return {each.point.name for each in found.points if each.on_front}


# ----------------------------------------------------------------------------------------------------- front and pick


def test_the_front_is_what_nothing_dominates() -> None:
    found = frontier(
        point("near", 1, 70), point("far", 5, 80), point("behind", 2, 65), point("beyond", 6, 80), point("worse", 1, 55)
    )
    assert on_front(found) == {"base", "near", "far"}
    assert found.picked == "far"  # beyond has the same accuracy at a greater KL


def test_two_points_in_one_place_are_both_on_the_front() -> None:
    assert on_front(frontier(point("a", 1, 70), point("b", 1, 70))) == {"base", "a", "b"}
    assert frontier(point("b", 1, 70), point("a", 1, 70)).picked == "a"


def test_the_bound_of_the_kl_and_constraints_bar_points() -> None:
    points = [point("near", 1, 70), point("far", 5, 80), point("bad", 2, 75, fails="required_phrase/dispute ≥ 0.9")]
    assert frontier(*points).picked == "far"
    found = frontier(*points, max_kl=3)
    assert found.picked == "near"
    barred = {each.point.name: each.barred for each in found.points}
    assert barred["far"] == ("kl/k1 is 5, above 3 nats",)
    assert barred["bad"] == ("required_phrase/dispute ≥ 0.9 fails: below the minimum",)
    assert found.rule == (
        "the highest ranking_accuracy whose kl/k1 is at most 3 nats and whose constraints hold; of equals the one with "
        "the smaller kl/k1"
    )
    assert "ranking_accuracy 70.0 % at kl/k1 1 nats" in found.why
    assert frontier(point("edge", 3, 80), max_kl=3).picked == "edge"


def test_the_base_is_picked_where_nothing_does_better() -> None:
    found = frontier(point("worse", 2, 50))
    assert found.picked == "base"
    assert "No trained model that is eligible does better." in found.why


def test_nothing_is_picked_where_nothing_is_eligible_and_it_says_why() -> None:
    barred = Point(
        name="base",
        measures=BASE.measures,
        constraints=(Constraint(text="length/words ≤ 20", passed=False, evidence="30: above the maximum"),),
        trained=False,
    )
    found = make_frontier([barred, point("far", 9, 80)], x=KL, y=ACCURACY, max_kl=5)
    assert found.picked is None
    assert found.why == (
        "No point is eligible. base: length/words ≤ 20 fails: 30: above the maximum; far: kl/k1 is 9, above 5 nats."
    )


def test_a_point_without_a_figure_is_neither_on_the_front_nor_picked() -> None:
    found = frontier(point("void", None, 90))
    assert on_front(found) == {"base"}
    assert found.picked == "base"
    assert found.points[1].barred == ("kl/k1 was not measured",)
    assert frontier(y=WINS).points[0].barred == ("judge/win_rate was not measured",)


def test_the_pick_says_whether_it_is_told_from_the_base() -> None:
    assert "It is better than the base beyond chance (p < 0.001)." in frontier(point("a", 1, 80)).why
    assert "The paired test does not tell it from the base." in frontier(point("a", 1, 62)).why
    assert "The judge prefers it to the base beyond chance." in frontier(point("a", 1, wins=70), y=WINS).why
    assert "The judge does not tell it from the base." in frontier(point("a", 1, wins=55), y=WINS).why


def test_the_order_of_the_points_does_not_matter() -> None:
    points = [point(f"p{n}", n % 4, 60 + 5 * (n % 5), facts=40 if n == 3 else 60) for n in range(8)]
    first = frontier(*points)
    random.Random(1).shuffle(points)
    second = frontier(*points)
    assert (first.picked, on_front(first)) == (second.picked, on_front(second))
    assert [set(each.points) for each in first.diagnoses] == [set(each.points) for each in second.diagnoses]


def test_against_a_front_by_brute_force() -> None:
    dice = random.Random(7)
    for _ in range(50):
        points = [point(f"p{n}", dice.randrange(6), dice.randrange(40, 90)) for n in range(7)]
        found = frontier(*points)
        every = [(each, each.value(KL), each.value(ACCURACY)) for each in (BASE, *points)]
        expected = {
            each.name
            for each, x, y in every
            if not any(b >= y and a <= x and (b > y or a < x) for _, a, b in every)  # type: ignore[operator]
        }
        assert on_front(found) == expected
        assert found.picked in expected


# ----------------------------------------------------------------------------------------------------------- diagnoses


def codes(found: Frontier) -> dict[str, tuple[str, ...]]:
    return {each.code: each.points for each in found.diagnoses}


def test_beta_too_high_is_a_model_that_stayed_and_ranks_no_better() -> None:
    found = frontier(point("high", 0.01, 61), point("good", 2, 75))
    assert codes(found) == {"beta_too_high": ("high",)}
    assert "The annotation budget is wasted" in found.diagnoses[0].text
    assert "high: kl/k1 0.01 nats, ranking_accuracy +1.0 points" in found.diagnoses[0].text


@pytest.mark.parametrize(
    ("kl", "half", "right", "flagged"),
    [
        (0.019, 0.001, 60, True),  # surely above 0, but no more than the bound
        (0.3, 0.4, 60, True),  # 0 within its interval
        (0.3, 0.1, 60, False),  # it has moved
        (0.01, 0.1, 80, False),  # it has learnt
        (0.01, 0.1, 40, False),  # it has unlearnt
    ],
)
def test_the_bounds_of_beta_too_high(kl: float, half: float, right: int, flagged: bool) -> None:
    assert ("beta_too_high" in codes(frontier(point("a", kl, right, half=half)))) is flagged


def test_a_noisy_kl_is_not_taken_for_none_where_another_estimate_has_moved() -> None:
    noisy = point("a", 3, half=4, more=(nats(2.5, 0.5, "kl/k3"),))
    assert codes(frontier(noisy)) == {}
    assert codes(frontier(point("a", 3, half=4))) == {"beta_too_high": ("a",)}


def test_a_win_rate_that_is_told_from_one_half_is_no_waste() -> None:
    assert codes(frontier(point("a", 0.01, wins=75), y=WINS)) == {}
    assert codes(frontier(point("a", 0.01, wins=52), y=WINS)) == {"beta_too_high": ("a",)}


def test_beta_too_low_is_a_model_that_went_far_and_lost_facts() -> None:
    found = frontier(point("low", 25, 80, facts=40), point("good", 2, 75, facts=60))
    assert codes(found) == {"beta_too_low": ("low",)}
    assert "low: kl/k1 25 nats, factual_accuracy −20.0 points" in found.diagnoses[0].text


@pytest.mark.parametrize(
    ("kl", "facts", "how", "flagged"),
    [
        (FAR_KL[KL] + 1, 40, {}, True),
        (FAR_KL[KL] + 1, 58, {}, False),  # so small a loss is chance
        (FAR_KL[KL] + 1, 75, {}, False),  # a gain
        (4, 40, {"max_kl": 3}, True),  # above the bound that is given
        (4, 40, {"max_kl": 5}, True),  # below it, but surely above a point that lost nothing
        (1.05, 40, {}, False),  # no farther than the point that lost nothing
    ],
)
def test_the_bounds_of_beta_too_low(kl: float, facts: int, how: dict[str, Any], flagged: bool) -> None:
    found = frontier(point("low", kl, 80, facts=facts), point("good", 1, 75, facts=60), **how)
    assert ("beta_too_low" in codes(found)) is flagged


def test_only_guarded_measures_are_lost_and_each_in_its_own_direction() -> None:
    low = point("low", 25, 80, facts=40)
    assert make_frontier([BASE, low], x=KL, y=ACCURACY).diagnoses == ()
    assert make_frontier([BASE, low], x=KL, y=ACCURACY, guarded={FACTS: "down"}).diagnoses == ()
    assert codes(make_frontier([BASE, low], x=KL, y=ACCURACY, guarded={FACTS: "up"})) == {"beta_too_low": ("low",)}


def test_the_base_and_prompting_are_not_diagnosed() -> None:
    prompting = point("prompting", 0.0, 60, trained=False)
    assert frontier(prompting).diagnoses == ()


def test_the_far_bound_is_what_it_is_said_to_be() -> None:
    n = exp(11)
    assert n == pytest.approx(60_000, rel=0.01)
    assert 11 - (n - 1) / n == pytest.approx(FAR_KL[KL], abs=1e-3)
