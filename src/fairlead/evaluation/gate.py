"""May it ship? A policy's rules held against evidence: a pure function, and every rule with its figures and reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isnan
from typing import Literal

import numpy as np

from fairlead.config.gate_policy import Bound, DataRules, GatePolicy, NonRegression
from fairlead.evaluation.estimates import Floats
from fairlead.evaluation.loss_tests import by_bootstrap, by_mcnemar, shown_by
from fairlead.evaluation.results import Measurement, Measures
from fairlead.evaluation.table import KINDS
from fairlead.stats.intervals import Interval

Role = Literal["eval", "baseline", "judge", "audit"]
JUDGED = "judge/"
"""How the names of a judge's measures begin; all others are an evaluation's."""
LEVEL = 0.95  # of the intervals that measures carry
LEAKS = ("eval_prompts_in_train", "eval_answers_in_train")
"""Findings of an audit that was given held-out rows; without any of them nothing is known of leakage."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What an evaluation or judge run measured, and the values of its items by measure and id.

    groups: the prompt of an item, by measure and id; an item that has none there has a prompt of its own.
    """

    measures: Measures
    items: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finding of an audit, as far as a gate asks: its code, severity, figure, interval and n."""

    code: str
    severity: str
    value: float | None
    n: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a model and its training rows; None is what was not given.

    refused: evidence that was given and must not be used, and why: it is of another model, or of other rows.
    """

    eval: Measured | None = None
    baseline: Measured | None = None
    judge: Measured | None = None
    audit: tuple[Found, ...] | None = None
    refused: Mapping[Role, str] = field(default_factory=dict)

    def missing(self, *roles: Role) -> str | None:
        """Why the first of `roles` that cannot be used cannot; None where all can."""
        for role in roles:
            if role in self.refused:
                return f"the evidence of --{role} is refused: {self.refused[role]}"
            if getattr(self, role) is None:
                return f"evidence is missing: give --{role}"
        return None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A rule, whether it passed, and why.

    measure and bound: what the rule looks at, and what it asks of it. value with its interval and n; baseline: the
    baseline's value; p: of the test that the model is worse. shows: the smallest difference that so many items could
    have shown (power 0.8); sufficient: whether they were enough to settle the rule. None is what is not known, or not
    asked by a rule of this kind.
    """

    rule: str
    source: Role
    measure: str
    bound: str
    passed: bool = False
    reason: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    baseline: float | None = None
    p: float | None = None
    shows: float | None = None
    sufficient: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The outcome of every rule, in the policy's order."""

    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether there is a rule, and every rule passed."""
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)


def decide(policy: GatePolicy, evidence: Evidence) -> Decision:
    """Hold the rules of `policy` against `evidence`. Missing evidence fails a rule, and so does refused evidence.

    Depends on nothing else: equal arguments give equal decisions, whatever the order of measures, items and findings.
    """
    outcomes = [_bound(bound, evidence, policy.alpha) for bound in policy.bounds]
    outcomes += [_non_regression(rule, evidence, policy.alpha) for rule in policy.non_regression]
    return Decision(outcomes=(*outcomes, *_data(policy.data, evidence)))


def _bound(bound: Bound, evidence: Evidence, alpha: float) -> Outcome:
    """A minimum, a maximum, or both. So many items are enough where the interval lies on one side of the bound."""
    part = "".join(f", {key} {value}" for key, value in sorted(bound.slice.items()))
    limits = [f"{sign} {limit:g}" for sign, limit in (("≥", bound.minimum), ("≤", bound.maximum)) if limit is not None]
    whole = " (whole interval)" if bound.hold == "interval" else ""
    source: Role = "judge" if bound.measure.startswith(JUDGED) else "eval"
    measure, asked = f"{bound.measure}{part}", f"{' and '.join(limits)}{whole}"
    outcome = Outcome(rule=f"{measure} {asked}", source=source, measure=measure, bound=asked)
    found = _find(evidence, source, bound.measure, bound.slice)
    if isinstance(found, str):
        return replace(outcome, reason=found)
    outcome = _with_figures(outcome, found)
    value, low, high = found.value, found.low, found.high
    if value is None:
        return replace(outcome, reason="the measure has no value")
    least = -inf if bound.minimum is None else bound.minimum
    most = inf if bound.maximum is None else bound.maximum
    passed = least <= value <= most
    reason = "keeps to the bound" if passed else f"{'below the minimum' if value < least else 'above the maximum'}"
    if low is None or high is None:
        passed, reason = (False, "the measure has no interval") if whole else (passed, reason)
        return replace(outcome, passed=passed, reason=reason)
    inside = least <= low and high <= most
    sufficient = inside or high < least or low > most
    if whole and passed and not inside:
        passed, reason = False, "the interval crosses the bound"
    elif not sufficient:
        reason += "; the interval crosses it"
    shows = shown_by(Interval(low, high), LEVEL, alpha)
    return replace(outcome, passed=passed, reason=reason, shows=shows, sufficient=sufficient)


def _non_regression(rule: NonRegression, evidence: Evidence, alpha: float) -> Outcome:
    """Not worse than the baseline on the same items.

    A loss beyond the margin that the test does not put down to chance fails. Else so many items must have been enough:
    a loss of the margin would have shown, or the loss is surely below it; where they were not, `rule.unclear` decides.
    """
    asked = f"no worse than the baseline by {rule.margin:g} ({rule.test})"
    outcome = Outcome(rule=f"{rule.measure} {asked}", source="eval", measure=rule.measure, bound=asked)
    found = _find(evidence, "eval", rule.measure, {})
    before = found if isinstance(found, str) else _find(evidence, "baseline", rule.measure, {})
    if isinstance(found, str):
        return replace(outcome, reason=found)
    outcome = _with_figures(outcome, found)
    if isinstance(before, str):
        return replace(outcome, source="baseline", reason=before)
    outcome = replace(outcome, baseline=before.value)
    assert evidence.eval is not None
    assert evidence.baseline is not None
    direction = rule.direction or found.direction
    if direction == "none":
        return replace(outcome, reason="the measure has no direction of its own: give the rule one (up or down)")
    if evidence.eval.measures.suite.get("sha256") != evidence.baseline.measures.suite.get("sha256"):
        return replace(outcome, reason="the baseline was measured by another suite: evaluate it by the same one")
    after, base = evidence.eval.items.get(rule.measure, {}), evidence.baseline.items.get(rule.measure, {})
    shared = sorted(after.keys() & base.keys())
    if not shared:
        return replace(outcome, reason="the two evaluations share no item of this measure")
    if set(after) != set(base):
        counts = f"{len(after)} and {len(base)} items, {len(shared)} of them shared"
        return replace(outcome, reason=f"the two evaluations are of different items ({counts}): measure both on all")
    sign = 1 if direction == "up" else -1
    new, old = (sign * np.array([values[name] for name in shared], dtype=np.float64) for values in (after, base))
    prompts = evidence.baseline.groups.get(rule.measure, {})
    groups = [prompts.get(name) or name for name in shared]
    return _compare(replace(outcome, n=len(shared)), rule, old, new, groups, alpha)


def _compare(
    outcome: Outcome, rule: NonRegression, old: Floats, new: Floats, groups: Sequence[str], alpha: float
) -> Outcome:
    """The test of a loss, `old` − `new` [n], where more is better in both; `groups` [n] are the items' prompts."""
    kind = KINDS.get(rule.measure)
    median = kind is not None and kind.statistic == "median"
    loss = float(np.median(old) - np.median(new)) if median else float(np.mean(old - new))
    if rule.test == "mcnemar" and not set(np.abs(np.concatenate([old, new])).tolist()) <= {0.0, 0.5, 1.0}:
        return replace(outcome, reason="its items are not right or wrong, as McNemar's test needs: test: bootstrap")
    if rule.test == "mcnemar" and len(set(groups)) == len(groups):
        tested = by_mcnemar(old, new, margin=rule.margin, alpha=alpha)
    else:
        tested = by_bootstrap(
            old, new, groups, margin=rule.margin, alpha=alpha, median=median, binary=rule.test == "mcnemar"
        )
    shows = None if isnan(tested.shows) else tested.shows
    outcome = replace(outcome, p=tested.p, shows=shows)
    about = f"a loss of {loss:.3g} ({tested.counts})" if loss > 0 else f"no loss ({tested.counts})"
    if loss > rule.margin and not tested.is_chance:
        return replace(outcome, sufficient=True, reason=f"{about}, beyond the margin and beyond chance")
    sufficient = tested.settled or (shows is not None and shows <= rule.margin)
    outcome = replace(outcome, sufficient=sufficient, passed=sufficient or rule.unclear == "pass")
    if sufficient:
        return replace(outcome, reason=about if loss <= rule.margin else f"{about}, not beyond chance")
    return replace(outcome, reason=f"{about}; so few items could not have shown a loss of {rule.margin:g}")


def _data(rules: DataRules, evidence: Evidence) -> Iterator[Outcome]:
    """The rules over the audit of the training rows."""
    missing = evidence.missing("audit")
    found = evidence.audit or ()
    if rules.audit is not None:
        grave = {"error"} if rules.audit == "no_errors" else {"error", "warning"}
        codes = sorted({f"{each.code} ({each.severity})" for each in found if each.severity in grave})
        words = "no error" if rules.audit == "no_errors" else "no error and no warning"
        outcome = Outcome(rule=f"the audit has {words}", source="audit", measure="audit", bound=words)
        yield replace(outcome, passed=not (missing or codes), reason=missing or ", ".join(codes) or "none was found")
    if rules.agreement is not None:
        yield _least("agreement α", "alpha_nominal", rules.agreement, found, missing)
    if rules.leakage is not None:
        yield _no_leak(found, missing)
    if rules.safety_share is not None:
        yield _least("share of safety pairs", "safety_pairs", rules.safety_share, found, missing)


def _least(measure: str, code: str, least: float, found: Sequence[Found], missing: str | None) -> Outcome:
    """A figure of the audit that must not lie below a bound; of several with one code the lowest."""
    asked = f"≥ {least:g}"
    outcome = Outcome(rule=f"{measure} {asked}", source="audit", measure=measure, bound=asked)
    figures = [each for each in found if each.code == code and each.value is not None]
    if missing or not figures:
        return replace(outcome, reason=missing or f"evidence is missing: the audit has no figure for {code}")
    worst = min(figures, key=lambda each: (each.value or 0.0, each.n))
    assert worst.value is not None
    low, high = worst.interval or (None, None)
    sufficient = None if low is None or high is None else low >= least or high < least
    passed = worst.value >= least
    reason = "keeps to the bound" if passed else "below the minimum"
    return replace(
        outcome,
        value=worst.value,
        low=low,
        high=high,
        n=worst.n,
        passed=passed,
        sufficient=sufficient,
        reason=f"{reason}; the interval crosses it" if sufficient is False else reason,
    )


def _no_leak(found: Sequence[Found], missing: str | None) -> Outcome:
    """No held-out row in the training rows: exact leaks by count, near ones where the audit calls them an error."""
    rule = "no held-out row among the training rows"
    outcome = Outcome(rule=rule, source="audit", measure="leakage", bound=rule)
    exact = [each for each in found if each.code in LEAKS and each.value is not None]
    if missing or not exact:
        unknown = "evidence is missing: the audit was given no held-out rows (fairlead audit --eval)"
        return replace(outcome, reason=missing or unknown)
    leaking = [each for each in exact if each.value] + [
        each for each in found if each.code.startswith("eval_") and each.code not in LEAKS and each.severity == "error"
    ]
    worst = max((each.value or 0.0 for each in leaking), default=0.0)
    codes = ", ".join(sorted({each.code for each in leaking}))
    n = max(each.n for each in exact)
    return replace(outcome, value=worst, n=n, passed=not leaking, reason=codes or "none was found")


def _find(evidence: Evidence, role: Role, name: str, part: Mapping[str, str]) -> Measurement | str:
    """A measure of one kind of evidence, or why there is none."""
    if missing := evidence.missing(role):
        return missing
    measured: Measured = getattr(evidence, role)
    found = measured.measures.find(name, part)
    if found is not None:
        return found
    where = f" for {', '.join(f'{key} {value}' for key, value in sorted(part.items()))}" if part else ""
    return f"evidence is missing: --{role} has no measure {name}{where}"


def _with_figures(outcome: Outcome, found: Measurement) -> Outcome:
    return replace(outcome, value=found.value, low=found.low, high=found.high, n=found.n)
