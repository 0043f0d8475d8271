"""From the runs of a sweep's points to points of its frontier: measures, constraints, paired tests against the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fairlead.config.gate_policy import DataRules, GatePolicy
from fairlead.evaluation.comparison import Compared, compare
from fairlead.evaluation.frontier import ACCURACY, EVEN, WIN_RATE, Constraint, Point
from fairlead.evaluation.gate import Evidence, Measured, Outcome, decide
from fairlead.evaluation.results import Item, Measurement, Measures, read_item_list, read_measures
from fairlead.evaluation.table import kind_of

FACTS = "factual_accuracy"
OF_ITSELF = Measurement(
    name=WIN_RATE, value=EVEN, n=0, unit="share", direction="up", meaning="the base against itself: ½, not judged"
)


@dataclass(frozen=True, kw_only=True)
class PointRuns:
    """One point and the runs about it; `train` is None where nothing was trained, `judge` where nothing was judged."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    train: Path | None
    eval: Path
    judge: Path | None = None


@dataclass(frozen=True)
class Evidences:
    """What is known of all points, held against the evaluation of the base.

    policy: rules of a gate, as constraints; its rules about data are not asked. judged: whether there are win rates.
    """

    base: Path
    policy: GatePolicy | None
    judged: bool
    seed: int

    def point(self, runs: PointRuns) -> Point:
        """A point of the frontier. Raises RunError where a run holds no measures."""
        is_base = runs.eval == self.base
        measured = _Read(runs.eval)
        judge = None if runs.judge is None else Measured(measures=read_measures(runs.judge))
        if is_base and self.judged:
            judge = Measured(measures=Measures(model="base", adapter=None, suite={}, measures=(OF_ITSELF,)))
        found = [*measured.measures.measures, *(judge.measures.measures if judge is not None else ())]
        return Point(
            name=runs.name,
            measures={each.name: each for each in found if not each.slice},
            settings=runs.settings,
            constraints=tuple(self._constraints(measured, judge, is_base=is_base)),
            against_base=() if is_base else tuple(self._compared(measured)),
            trained=runs.train is not None,
        )

    @cached_property
    def guarded(self) -> dict[str, str]:
        """The measures that must not get worse, facts and those of the constraints, with the way that is better."""
        found = {FACTS: "up"}
        if self.policy is None:
            return found
        for bound in self.policy.bounds:
            if (bound.minimum is None) != (bound.maximum is None):
                found[bound.measure] = "up" if bound.maximum is None else "down"
        for rule in self.policy.non_regression:
            direction = rule.direction or _direction(rule.measure)
            if direction != "none":
                found[rule.measure] = direction
        return found

    @cached_property
    def _of_base(self) -> _Read:
        return _Read(self.base)

    def _constraints(self, measured: _Read, judge: Measured | None, *, is_base: bool) -> list[Constraint]:
        if self.policy is None:
            return []
        asked: dict[str, Any] = {"data": DataRules()}
        if is_base:  # which cannot have lost anything against itself
            asked["non_regression"] = []
        evidence = Evidence(eval=measured.measured, baseline=self._of_base.measured, judge=judge)
        outcomes = decide(self.policy.model_copy(update=asked), evidence).outcomes
        return [Constraint(text=each.rule, passed=each.passed, evidence=_evidence(each)) for each in outcomes]

    def _compared(self, measured: _Read) -> list[Compared]:
        wanted = {ACCURACY, *self.guarded}
        before, after = ([item for item in read.items if item.measure in wanted] for read in (self._of_base, measured))
        return compare(before, after, seed=self.seed)


@dataclass(frozen=True)
class _Read:
    """A run's measures and items."""

    run: Path

    @cached_property
    def measures(self) -> Measures:
        return read_measures(self.run)

    @cached_property
    def items(self) -> list[Item]:
        return read_item_list(self.run)

    @property
    def measured(self) -> Measured:
        """As a gate takes it."""
        values: dict[str, dict[str, float]] = {}
        groups: dict[str, dict[str, str]] = {}
        for item in self.items:
            values.setdefault(item.measure, {})[item.id] = item.value
            groups.setdefault(item.measure, {})[item.id] = item.group
        return Measured(measures=self.measures, items=values, groups=groups)


def _direction(measure: str) -> str:
    try:
        return kind_of(measure).direction
    except KeyError:  # a judge's measure, or one that no suite gives
        return "none"


def _evidence(outcome: Outcome) -> str:
    """The figures of a rule and why it passed or failed, in words."""
    if outcome.value is None:
        return outcome.reason
    known = outcome.low is not None and outcome.high is not None
    interval = f" ({outcome.low:.3g} to {outcome.high:.3g})" if known else ""
    count = "" if outcome.n is None else f", n = {outcome.n:,}"
    return f"{outcome.value:.3g}{interval}{count}: {outcome.reason}"
