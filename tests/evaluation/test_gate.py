"""Every kind of rule, by evidence made by hand and numbers that are known."""

from __future__ import annotations

import random
from dataclasses import replace
from math import comb
from typing import Any

import pytest

from fairlead.config.gate_policy import GatePolicy
from fairlead.evaluation.comparison import compare
from fairlead.evaluation.gate import Decision, Evidence, Found, Measured, Outcome, decide
from fairlead.evaluation.results import Item, Measurement, Measures
from fairlead.stats.intervals import wilson
from fairlead.stats.power import detectable_loss


def measure(name: str, value: float | None, **fields: Any) -> Measurement:
    return Measurement(name=name, value=value, **{"n": 100, "unit": "share", "direction": "up", **fields})


def measured(*measures: Measurement, suite: str = "s", **items: dict[str, float]) -> Measured:
    content = Measures(model="m", adapter=None, suite={"path": "suite.yaml", "sha256": suite}, measures=measures)
    return Measured(measures=content, items=items)


def share(name: str, k: int, n: int, **fields: Any) -> Measurement:
    interval = wilson(k, n)
    return measure(name, k / n, low=interval.low, high=interval.high, n=n, **fields)


def rule(evidence: Evidence, **policy: Any) -> Outcome:
    """The outcome of the policy's only rule."""
    (outcome,) = decide(GatePolicy(version=1, **policy), evidence).outcomes
    return outcome


def bound(found: Measurement, **fields: Any) -> Outcome:
    return rule(Evidence(eval=measured(found)), measures=[{"measure": found.name, **fields}])


def pairs(both: int, lost: int, gained: int, neither: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    """Items of the baseline and of the new model."""
    kinds = [(1.0, 1.0)] * both + [(1.0, 0.0)] * lost + [(0.0, 1.0)] * gained + [(0.0, 0.0)] * neither
    return {str(i): old for i, (old, _) in enumerate(kinds)}, {str(i): new for i, (_, new) in enumerate(kinds)}


def regression(
    old: dict[str, float],
    new: dict[str, float],
    *,
    own: str = "up",
    name: str = "facts",
    groups: dict[str, str] | None = None,
    **fields: Any,
) -> Outcome:
    def side(items: dict[str, float]) -> Measured:
        mean = sum(items.values()) / len(items)
        found = measured(measure(name, mean, n=len(items), direction=own), **{name: items})
        return replace(found, groups={name: groups} if groups else {})

    evidence = Evidence(eval=side(new), baseline=side(old))
    alpha = fields.pop("alpha", 0.05)
    return rule(evidence, alpha=alpha, non_regression=[{"measure": name, "margin": 0.05, **fields}])


def shared(items: dict[str, float], size: int) -> dict[str, str]:
    """The prompts of items, of which `size` after one another have one together."""
    return {name: f"prompt-{int(name) // size}" for name in items}


# --------------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    ("k", "fields", "passed", "sufficient"),
    [
        (90, {"minimum": 0.6}, True, True),
        (62, {"minimum": 0.6}, True, False),
        (62, {"minimum": 0.6, "hold": "interval"}, False, False),
        (90, {"minimum": 0.6, "hold": "interval"}, True, True),
        (60, {"minimum": 0.6}, True, False),
        (59, {"minimum": 0.6}, False, False),
        (10, {"minimum": 0.6}, False, True),
        (10, {"maximum": 0.2}, True, True),
        (21, {"maximum": 0.2}, False, False),
        (50, {"minimum": 0.3, "maximum": 0.7, "hold": "interval"}, True, True),
        (80, {"minimum": 0.3, "maximum": 0.7}, False, True),
    ],
)
def test_bounds(k: int, fields: dict[str, Any], passed: bool, sufficient: bool) -> None:
    outcome = bound(share("ranking_accuracy", k, 100), **fields)
    assert (outcome.passed, outcome.sufficient, outcome.value, outcome.n) == (passed, sufficient, k / 100, 100)
    assert outcome.rule == f"{outcome.measure} {outcome.bound}"
    # (1.645 + 0.842) standard errors of a share of k in 100
    assert outcome.shows == pytest.approx(2.4865 * (k / 100 * (1 - k / 100) / 100) ** 0.5, rel=0.2)


def test_a_bound_without_interval_or_value() -> None:
    assert bound(measure("kl/k1", 3.0), maximum=8).passed
    assert bound(measure("kl/k1", 3.0), maximum=8).sufficient is None
    assert bound(measure("kl/k1", 3.0), maximum=8, hold="interval").reason == "the measure has no interval"
    assert bound(measure("kl/k1", None), maximum=8).reason == "the measure has no value"
    assert not bound(measure("kl/k1", None), maximum=8).passed


def test_slices_and_phrases() -> None:
    retail = share("required_phrase/dispute", 12, 20, slice={"segment": "retail"})
    evidence = Evidence(eval=measured(share("required_phrase/dispute", 60, 60), retail))
    floor = {"name": "dispute", "minimum": 0.95}
    assert rule(evidence, required_phrases=[floor]).passed
    failed = rule(evidence, required_phrases=[{**floor, "slice": {"segment": "retail"}}])
    assert (failed.passed, failed.value, failed.n) == (False, 0.6, 20)
    assert failed.rule == "required_phrase/dispute, segment retail ≥ 0.95"
    missing = rule(evidence, required_phrases=[{**floor, "slice": {"segment": "trade"}}])
    assert missing.reason == "evidence is missing: --eval has no measure required_phrase/dispute for segment trade"


def test_a_judges_measures_come_from_the_judge() -> None:
    won = measured(share("judge/win_rate", 130, 200))
    policy = {"measures": [{"measure": "judge/win_rate", "minimum": 0.5, "hold": "interval"}]}
    assert rule(Evidence(judge=won), **policy).passed
    assert rule(Evidence(eval=won), **policy).reason == "evidence is missing: give --judge"


# ------------------------------------------------------------------------------------------------------- non-regression


def test_a_loss_is_found_by_the_exact_test() -> None:
    outcome = regression(*pairs(48, 12, 2, 8))
    tail = sum(comb(14, k) for k in range(12, 15)) / 2**14
    assert outcome.p == pytest.approx(tail)
    assert (outcome.passed, outcome.n) == (False, 70)
    assert (outcome.value, outcome.baseline) == (pytest.approx(50 / 70), pytest.approx(60 / 70))
    assert "12 lost, 2 gained), beyond the margin and beyond chance" in outcome.reason


def test_few_items_settle_nothing() -> None:
    few = regression(*pairs(28, 1, 1))
    assert (few.passed, few.sufficient) == (False, False)
    assert few.shows == pytest.approx(detectable_loss(30, 1 / 30))
    assert few.shows > 0.05
    assert "so few items could not have shown a loss of 0.05" in few.reason
    unclear = regression(*pairs(28, 1, 1), unclear="pass")
    assert (unclear.passed, unclear.sufficient) == (True, False)
    # No difference at all on three items proves nothing, by neither test.
    assert not regression(*pairs(3, 0, 0)).passed
    assert not regression(*pairs(3, 0, 0), test="bootstrap").passed


def test_many_items_settle_it() -> None:
    many = regression(*pairs(380, 5, 5, 10))
    assert (many.passed, many.sufficient) == (True, True)
    assert many.reason == "no loss (5 lost, 5 gained)"
    within = regression(*pairs(900, 60, 20, 20))  # 0.04 lost, beyond chance and within the margin
    assert within.p is not None
    assert within.p < 0.001
    assert within.passed


def test_a_gain_settles_it_on_few_items() -> None:
    gained = regression(*pairs(10, 1, 19))
    assert (gained.passed, gained.sufficient) == (True, True)


def test_a_tie_counts_for_what_became_of_it() -> None:
    """The tied item of a ranking is worth a half; what turned from right to tied got worse."""
    old, new = pairs(380, 5, 5, 10)
    outcome = regression(old, {**new, "0": 0.5, "1": 0.5})
    assert outcome.passed
    assert outcome.reason == "a loss of 0.0025 (7 lost, 5 gained)"


def test_figures_are_compared_by_bootstrap() -> None:
    old = {str(i): 40.0 + i % 7 for i in range(60)}
    longer, shorter = ({name: value + by for name, value in old.items()} for by in (30.0, -10.0))
    fields = {"test": "bootstrap", "margin": 5, "direction": "down"}
    lost = regression(old, longer, own="none", **fields)
    assert (lost.passed, lost.p) == (False, None)
    assert lost.reason.startswith("a loss of 30 (90% interval 30 to 30), beyond the margin")
    assert regression(old, shorter, own="none", **fields).passed
    draw = random.Random(0)
    noisy = {name: value + 4 + draw.gauss(0, 60) for name, value in old.items()}
    unclear = regression(old, noisy, own="none", **fields)
    assert (unclear.passed, unclear.sufficient) == (False, False)
    assert "so few items could not have shown a loss of 5" in unclear.reason


def test_items_of_one_prompt_are_no_independent_witnesses() -> None:
    """Eight items lost, all of two prompts: as items beyond chance (p = 1/256), as two prompts of thirty not."""
    old = {str(i): 1.0 for i in range(120)}
    new = old | {str(i): 0.0 for i in range(8)}
    alone, together = regression(old, new), regression(old, new, groups=shared(old, 4))
    assert alone.p == pytest.approx(2**-8)
    assert "beyond the margin and beyond chance" in alone.reason
    assert (together.p, together.passed, together.sufficient, together.n) == (None, False, False, 120)
    assert "over 30 prompts, since items share them); so few items" in together.reason
    assert regression(old, new, groups=shared(old, 1)) == alone


def test_the_interval_by_prompt_is_that_of_comparisons() -> None:
    draw = random.Random(3)
    old = {str(i): float(draw.random() < 0.7) for i in range(200)}
    new = {name: value if draw.random() < 0.7 else 1 - value for name, value in old.items()}
    groups = shared(old, 5)
    outcome = regression(old, new, name="factual_accuracy", groups=groups, alpha=0.025)
    first, second = (
        [Item(measure="factual_accuracy", id=name, value=items[name], group=groups[name]) for name in items]
        for items in (old, new)
    )
    (found,) = compare(first, second)
    assert found.low is not None
    assert found.high is not None
    assert f"95% interval {-found.high:.3g} to {-found.low:.3g} over 40 prompts" in outcome.reason


def test_many_prompts_settle_it_and_few_do_not() -> None:
    many = {str(i): float(i % 10 != 0) for i in range(1200)}
    assert regression(many, many, groups=shared(many, 3)).passed
    few = {str(i): 1.0 for i in range(100)}
    nothing = regression(few, few, groups=shared(few, 10))
    assert (nothing.passed, nothing.sufficient, nothing.shows) == (False, False, None)
    one = regression(few, dict.fromkeys(few, 0.0), groups=shared(few, 100))
    assert (one.passed, one.sufficient) == (False, False)
    # No loss at all on thirty prompts: one of 10 % could have stayed unseen, whatever the bootstrap's width of 0 says.
    thirty = {str(i): 1.0 for i in range(60)}
    assert not regression(thirty, thirty, groups=shared(thirty, 2)).passed
    assert regression(thirty, thirty, groups=shared(thirty, 2), margin=0.25).passed


def test_a_measure_that_is_a_median_is_compared_by_medians() -> None:
    """One reply of a million words moves the mean alone."""
    old = {str(i): 40.0 + i % 5 for i in range(100)}
    new = old | {"7": 1e6}
    fields = {"test": "bootstrap", "margin": 5, "direction": "down", "own": "none"}
    assert regression(old, new, name="length/words", **fields).passed
    assert not regression(old, new, **fields).passed
    assert regression(old, {n: v + 30 for n, v in old.items()}, name="length/words", **fields).reason.startswith(
        "a loss of 30 (90% interval 30 to 30)"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"own": "none"}, "no direction of its own"),
        ({"old": {"0": 1.0, "1": 0.0}}, "of different items (3 and 2 items, 2 of them shared)"),
        ({"old": {"x": 1.0}}, "share no item"),
        ({"old": {"0": 0.7, "1": 1.0, "2": 1.0}}, "not right or wrong"),
    ],
)
def test_what_cannot_be_compared_fails(change: dict[str, Any], words: str) -> None:
    old, new = pairs(3, 0, 0)
    outcome = regression(change.pop("old", old), new, **change)
    assert not outcome.passed
    assert words in outcome.reason


def test_another_suite_fails() -> None:
    old, new = pairs(3, 0, 0)
    facts = measure("facts", 1.0)
    evidence = Evidence(eval=measured(facts, facts=new), baseline=measured(facts, suite="other", facts=old))
    policy = {"non_regression": [{"measure": "facts", "margin": 0.5}]}
    assert "another suite" in rule(evidence, **policy).reason
    assert rule(replace(evidence, baseline=None), **policy).reason == "evidence is missing: give --baseline"


# ----------------------------------------------------------------------------------------------------------------- data

CLEAN = (
    Found(code="alpha_nominal", severity="note", value=0.55, n=80, interval=(0.4, 0.7)),
    Found(code="eval_prompts_in_train", severity="note", value=0.0, n=50),
    Found(code="eval_prompts_near_train", severity="note", value=0.0, n=50),
    Found(code="safety_pairs", severity="note", value=0.04, n=500, interval=(0.026, 0.061)),
)
DATA = {"audit": "clean", "agreement": 0.5, "leakage": "none", "safety_share": 0.02}


def data(*found: Found, **rules: Any) -> dict[str, Outcome]:
    outcomes = decide(GatePolicy(version=1, data=rules or DATA), Evidence(audit=found)).outcomes  # type: ignore[arg-type]
    return {outcome.rule.split()[0]: outcome for outcome in outcomes}


def test_a_clean_audit_passes() -> None:
    outcomes = data(*CLEAN)
    assert [each.passed for each in outcomes.values()] == [True] * 4
    assert (outcomes["agreement"].sufficient, outcomes["share"].sufficient) == (False, True)


def test_each_data_rule_fails() -> None:
    worse = (
        replace(CLEAN[0], value=0.3, severity="error"),
        replace(CLEAN[1], value=0.02, severity="error"),
        replace(CLEAN[2], value=0.1, severity="error"),
        replace(CLEAN[3], value=0.01, severity="warning", interval=(0.004, 0.018)),
    )
    outcomes = data(*worse)
    assert [each.passed for each in outcomes.values()] == [False] * 4
    assert outcomes["no"].reason == "eval_prompts_in_train, eval_prompts_near_train"
    assert outcomes["the"].reason.startswith("alpha_nominal (error), eval_prompts_in_train (error)")
    assert outcomes["share"].reason == "below the minimum"
    assert data(worse[3], audit="no_errors")["the"].passed
    assert not data(worse[3], audit="clean")["the"].passed


def test_missing_findings_fail() -> None:
    outcomes = data()
    assert [outcomes[key].passed for key in ("the", "agreement", "no", "share")] == [True, False, False, False]
    assert "given no held-out rows" in outcomes["no"].reason
    assert "no figure for alpha_nominal" in outcomes["agreement"].reason


# ---------------------------------------------------------------------------------------------------------------- whole

POLICY = GatePolicy(
    version=1,
    measures=[{"measure": "ranking_accuracy", "minimum": 0.6}],  # type: ignore[list-item]
    required_phrases=[{"name": "dispute", "minimum": 0.9}],  # type: ignore[list-item]
    non_regression=[{"measure": "facts", "margin": 0.1}],  # type: ignore[list-item]
    data=DATA,  # type: ignore[arg-type]
)


def test_without_evidence_every_rule_fails() -> None:
    decision = decide(POLICY, Evidence())
    assert len(decision.outcomes) == 7
    assert not any(outcome.passed for outcome in decision.outcomes)
    assert all("evidence is missing" in outcome.reason for outcome in decision.outcomes)


def test_refused_evidence_fails_its_rules() -> None:
    good = measured(share("ranking_accuracy", 90, 100), share("required_phrase/dispute", 60, 60))
    decision = decide(POLICY, Evidence(eval=good, refused={"eval": "it is of another model"}))
    assert not decision.outcomes[0].passed
    assert decision.outcomes[0].reason == "the evidence of --eval is refused: it is of another model"


def test_one_failure_fails_the_gate_and_no_rule_passes_nothing() -> None:
    bad = Outcome(rule="a ≥ 1", source="eval", measure="a", bound="≥ 1")
    good = replace(bad, passed=True)
    assert Decision(outcomes=(good,)).passed
    assert not Decision(outcomes=(good, bad)).passed
    assert not Decision(outcomes=()).passed


def test_the_order_of_evidence_does_not_matter() -> None:
    old, new = pairs(40, 4, 7, 9)
    measures = [share("ranking_accuracy", 90, 100), share("required_phrase/dispute", 60, 60), measure("facts", 0.9)]

    def evidence(turn: int) -> Evidence:
        items = dict(sorted(new.items())[::turn])
        return Evidence(
            eval=measured(*measures[::turn], facts=items),
            baseline=measured(measure("facts", 0.9), facts=old),
            audit=CLEAN[::turn],
        )

    assert decide(POLICY, evidence(1)) == decide(POLICY, evidence(-1))
