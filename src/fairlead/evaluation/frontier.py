"""Which of several models is worth its distance from the base: the Pareto front, the pick by a rule, and what β did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from fairlead.evaluation.comparison import Compared
from fairlead.evaluation.results import Measurement
from fairlead.evaluation.wording import difference_text, p_text, value_text

ACCURACY, WIN_RATE = "ranking_accuracy", "judge/win_rate"
EVEN = 0.5
"""The win rate of a model that is as good as the base."""

NO_KL: Mapping[str, float] = {"kl/k1": 0.02, "kl/k3": 0.02, "kl/per_token": 0.0002}
"""Distances in nats up to which a model has not moved. At 0.02 nats it gives the base's own answer at least nine times
in ten (Pinsker's inequality: total variation ≤ √(KL/2)); per token the same over answers of 100 tokens."""
FAR_KL: Mapping[str, float] = {"kl/k1": 10.0, "kl/k3": 10.0, "kl/per_token": 0.1}
"""Distances in nats beyond which a model has gone far where no bound is given. 10 nats is as far as always taking the
best of 60,000 of the base's own answers (ln n − (n − 1)/n: Stiennon et al. 2020, arXiv:2009.01325, appendix G.3)."""


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A rule that a point has to meet, whether it does, and by what."""

    text: str
    passed: bool
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model: its measures over all items by name, its constraints, and its paired tests against the base.

    trained: whether the sweep trained it; the base itself and prompting it are points too.
    """

    name: str
    measures: Mapping[str, Measurement]
    settings: Mapping[str, Any] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    against_base: tuple[Compared, ...] = ()
    trained: bool = True

    def value(self, name: str) -> float | None:
        """The value of a measure; None where it was not measured."""
        found = self.measures.get(name)
        return None if found is None else found.value

    def compared(self, name: str) -> Compared | None:
        """The paired test of a measure against the base, if there is one."""
        return next((each for each in self.against_base if each.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A point, whether it is on the front, and why the rule does not allow it; `barred` is empty where it does."""

    point: Point
    on_front: bool
    barred: tuple[str, ...]

    @property
    def eligible(self) -> bool:
        """Whether the rule allows to pick it."""
        return not self.barred


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What some points show about the settings: `code` names it, `text` says it with figures."""

    code: Literal["beta_too_high", "beta_too_low"]
    points: tuple[str, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Points in the order given, the pick by `rule` (None: no point is eligible) and why, and the diagnoses."""

    x: str
    y: str
    rule: str
    points: tuple[Placed, ...]
    picked: str | None
    why: str
    diagnoses: tuple[Diagnosis, ...]

    @property
    def best_trained(self) -> str:
        """The pick where it was trained, else the trained point with the highest y. At least one point was trained."""
        trained = {each.point.name: each.point.value(self.y) for each in self.points if each.point.trained}
        if self.picked is not None and self.picked in trained:
            return self.picked
        return max(sorted(trained), key=lambda name: -inf if (value := trained[name]) is None else value)


def make_frontier(
    points: Sequence[Point], *, x: str, y: str, max_kl: float | None = None, guarded: Mapping[str, str] | None = None
) -> Frontier:
    """Place points by `y` (more is better) against `x`, the KL to the base in nats (less is better), and pick one.

    A point is on the Pareto front where no other has at least its y at no more of x, and is better in one of them. The
    pick is the eligible point with the highest y; of equals the one with the smaller x. Eligible is what has both
    figures, x no greater than `max_kl`, and no constraint that fails. guarded: measures that must not get worse, with
    the way that is better (up or down); they tell β that is too low.

    Pure: equal points give an equal front, pick and diagnoses, in whatever order they come.
    """
    front = _front(points, x, y)
    placed = tuple(
        Placed(point=point, on_front=point.name in front, barred=tuple(_barred(point, x, y, max_kl)))
        for point in points
    )
    eligible = [each.point for each in placed if each.eligible]
    picked = min(eligible, key=lambda point: (-_known(point, y), _known(point, x), point.name), default=None)
    bound = "" if max_kl is None else f" whose {x} is at most {max_kl:g} nats"
    joined = " and" if bound else ""
    return Frontier(
        x=x,
        y=y,
        rule=f"the highest {y}{bound}{joined} whose constraints hold; of equals the one with the smaller {x}",
        points=placed,
        picked=None if picked is None else picked.name,
        why=_why(picked, placed, x, y),
        diagnoses=(*_too_high(points, x), *_too_low(points, x, max_kl, guarded or {})),
    )


def _known(point: Point, name: str) -> float:
    value = point.value(name)
    assert value is not None
    return value


def _front(points: Sequence[Point], x: str, y: str) -> set[str]:
    """Names of the points that no other dominates."""
    known = [point for point in points if point.value(x) is not None and point.value(y) is not None]
    ends = {point.name: (_known(point, y), -_known(point, x)) for point in known}
    return {
        name
        for name, own in ends.items()
        if not any(other != own and other[0] >= own[0] and other[1] >= own[1] for other in ends.values())
    }


def _barred(point: Point, x: str, y: str, max_kl: float | None) -> Iterator[str]:
    for name in (y, x):
        if point.value(name) is None:
            yield f"{name} was not measured"
    distance = point.value(x)
    if max_kl is not None and distance is not None and distance > max_kl:
        yield f"{x} is {value_text(distance, 'nats')}, above {max_kl:g} nats"
    for constraint in point.constraints:
        if not constraint.passed:
            yield f"{constraint.text} fails: {constraint.evidence}"


def _why(picked: Point | None, placed: Sequence[Placed], x: str, y: str) -> str:
    if picked is None:
        reasons = "; ".join(f"{each.point.name}: {', '.join(each.barred)}" for each in placed)
        return f"No point is eligible. {reasons}."
    count = sum(each.eligible for each in placed)
    figures = f"{y} {_figure(picked, y)} at {x} {_figure(picked, x)}"
    said = f"{picked.name} has the highest {y} of the {count} of {len(placed)} points that are eligible: {figures}."
    if not picked.trained:
        return f"{said} No trained model that is eligible does better."
    return f"{said} {_told_from_base(picked, y)}".rstrip()


def _told_from_base(point: Point, y: str) -> str:
    """What the interval of the win rate, or the paired test, says of a point and the base."""
    if y == WIN_RATE:
        found = point.measures[y]
        if found.low is None or found.high is None or found.low <= EVEN <= found.high:
            return "The judge does not tell it from the base."
        return f"The judge prefers {'it to the base' if found.low > EVEN else 'the base to it'} beyond chance."
    test = point.compared(y)
    if test is None:
        return ""
    if test.verdict in ("better", "worse"):
        return f"It is {test.verdict} than the base beyond chance (p {p_text(test)})."
    return "The paired test does not tell it from the base."


def _figure(point: Point, name: str) -> str:
    measure = point.measures[name]
    unit = "" if measure.unit == "share" else f" {measure.unit}"
    return value_text(measure.value, measure.unit) + unit


# What β did


def _too_high(points: Sequence[Point], x: str) -> Iterator[Diagnosis]:
    found = [point for point in points if point.trained and _unmoved(point, x) and _is_flat(point)]
    if found:
        told = "; ".join(f"{point.name}: {x} {_figure(point, x)}, {_flatness(point)}" for point in found)
        yield Diagnosis(
            code="beta_too_high",
            points=tuple(point.name for point in found),
            text=f"β is too high, or too little was learnt: the model stayed where the base is, and ranks no better "
            f"({told}). The annotation budget is wasted there. Lower β; else train longer or at a higher learning "
            f"rate.",
        )


def _unmoved(point: Point, x: str) -> bool:
    """Whether the KL is 0 within its interval, or no more than `NO_KL`.

    k1 is noisy: an interval around 0 is no sign of a small KL where another of the estimates surely is greater. A value
    that surely is below 0, which no KL is, says nothing.
    """
    found = point.measures.get(x)
    if found is None or found.value is None:
        return False
    moved = any(
        each.low is not None and each.low > NO_KL[name] for name, each in point.measures.items() if name in NO_KL
    )
    around = found.low is not None and found.high is not None and found.low <= 0 <= found.high
    return (around or abs(found.value) <= NO_KL[x]) and not moved


def _is_flat(point: Point) -> bool:
    """Whether neither the paired test of accuracy nor the win rate tells the point from the base; one must be there."""
    accuracy, wins = point.compared(ACCURACY), point.measures.get(WIN_RATE)
    said = [] if accuracy is None else [accuracy.verdict == "not told apart"]
    if wins is not None and wins.low is not None and wins.high is not None:
        said.append(wins.low <= EVEN <= wins.high)
    return bool(said) and all(said)


def _flatness(point: Point) -> str:
    accuracy = point.compared(ACCURACY)
    if accuracy is None:
        return f"{WIN_RATE} {_figure(point, WIN_RATE)}"
    return f"{ACCURACY} {difference_text(accuracy)}, p {p_text(accuracy)}"


def _too_low(points: Sequence[Point], x: str, max_kl: float | None, guarded: Mapping[str, str]) -> Iterator[Diagnosis]:
    trained = [point for point in points if point.trained]
    lost = {point.name: [test for test in point.against_base if _is_lost(test, guarded)] for point in trained}
    whole = [point for point in trained if not lost[point.name]]
    found = [point for point in trained if lost[point.name] and _is_far(point, x, max_kl, whole)]
    if found:
        told = "; ".join(
            f"{point.name}: {x} {_figure(point, x)}, "
            + ", ".join(f"{test.name} {difference_text(test)}, p {p_text(test)}" for test in lost[point.name])
            for point in found
        )
        yield Diagnosis(
            code="beta_too_low",
            points=tuple(point.name for point in found),
            text=f"β is too low, or too much was learnt: the model has gone far from the base and lost what it was to "
            f"keep ({told}). Raise β; else train for less long or at a lower learning rate.",
        )


def _is_lost(test: Compared, guarded: Mapping[str, str]) -> bool:
    """Whether a guarded measure is worse than the base's beyond chance."""
    if test.name not in guarded or test.difference is None or test.verdict == "not told apart":
        return False
    return (test.difference < 0) == (guarded[test.name] == "up")


def _is_far(point: Point, x: str, max_kl: float | None, whole: Sequence[Point]) -> bool:
    """Whether the KL is above the bound, or surely above that of a point that lost nothing.

    Of a model that writes gibberish k1 may be far too low: so any estimate beyond `FAR_KL` counts.
    """
    found = point.measures.get(x)
    if found is None or found.value is None:
        return False
    beyond = any((value := point.value(name)) is not None and value > bound for name, bound in FAR_KL.items())
    if beyond if max_kl is None else found.value > max_kl:
        return True
    nearer = (other.measures.get(x) for other in whole)
    return found.low is not None and any(
        each is not None and each.high is not None and each.high < found.low for each in nearer
    )
