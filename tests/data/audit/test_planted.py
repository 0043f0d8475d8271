"""Every pitfall of preference data, planted: found with all its rows, and absent from a clean set."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest

from fairlead.data.audit.settings import AuditSettings
from fairlead.data.records import Judgement, Preference
from tests.data.audit.planted import (
    GOOD,
    Person,
    Writer,
    changed,
    clean_pairs,
    findings,
    found,
    grave,
    judged,
    thumbs,
)


@pytest.mark.parametrize("seed", range(3))
def test_clean_sets_pass(seed: int) -> None:
    pairs = clean_pairs(seed=seed)
    assert grave(findings(pairs)) == set()
    assert grave(findings(thumbs(pairs))) == set()
    assert grave(findings(judged(GOOD, seed=seed))) == set()


def test_length_bias() -> None:
    writer, planted, rows = Writer(1), [], []
    for place, row in enumerate(clean_pairs(seed=1)):
        if place % 3:
            chosen = f"{row.rejected[0].content} {writer.text(90)}"
            rows.append(changed(row, chosen=chosen))
            planted.append(row.id)
        else:
            rows.append(row)
    for code in ("prefers_longer", "length_auc", "chosen_much_longer", "cue_accuracy"):
        assert found(rows, code).severity in ("warning", "error"), code
    assert found(rows, "prefers_longer").severity == "error"
    assert set(planted) <= set(found(rows, "prefers_longer").rows)
    much = {row.id for row in rows if _ratio(row) > 2}
    assert set(found(rows, "chosen_much_longer").rows) == much
    worst = found(rows, "chosen_much_longer").rows[0]
    assert _ratio(next(row for row in rows if row.id == worst)) == max(map(_ratio, rows))
    excused = AuditSettings(length_is_the_label=True)
    assert "prefers_longer" not in grave(findings(rows, excused))


def _ratio(row: Preference) -> float:
    return len(row.chosen[0].content.split()) / len(row.rejected[0].content.split())


def test_preference_for_the_shorter_is_a_bias_too() -> None:
    writer = Writer(2)
    rows = [changed(row, rejected=f"{row.chosen[0].content} {writer.text(40)}") for row in clean_pairs(seed=2)]
    finding = found(rows, "prefers_longer")
    assert (finding.severity, finding.value, finding.count) == ("error", 0.0, len(rows))
    assert finding.threshold == 0.25


@pytest.mark.parametrize("labelled", [True, False])
def test_homogeneous_rejections(labelled: bool) -> None:
    """Nine in ten rejected for one reason, as stated or as the rules see it."""
    rows, planted = [], set()
    for place, row in enumerate(clean_pairs(seed=3)):
        if place % 10 == 0:
            rows.append(row)
            continue
        text = "I'm sorry, but I cannot help with that."
        fields = {"meta": {"rejection_type": "refusal"}} if labelled else {"rejected": text}
        rows.append(changed(row, **fields))
        if labelled or not row.chosen[0].content.startswith("I can't"):
            planted.add(row.id)
    finding = found(rows, "rejection_types")
    assert finding.severity == "warning"
    assert planted <= set(finding.rows)
    assert finding.value is not None
    assert finding.value > 0.8


def test_missing_safety_pairs() -> None:
    rows = [row for row in clean_pairs(seed=4) if "I can't help" not in row.chosen[0].content]
    finding = found(rows, "safety_pairs")
    assert (finding.severity, finding.value, finding.count) == ("error", 0.0, 0)
    assert found(rows, "safety_pairs", AuditSettings(safety_expected=False)).severity == "note"
    marked = [changed(row, meta={"safety": True}) if place % 25 == 0 else row for place, row in enumerate(rows)]
    finding = found(marked, "safety_pairs")
    assert finding.severity == "note"
    assert set(finding.rows) == {row.id for row in marked if row.meta.get("safety")}


@pytest.mark.parametrize(("share", "severity"), [(0.1, "note"), (0.25, "warning"), (0.5, "error")])
def test_too_few_clear_preferences(share: float, severity: str) -> None:
    rows = judged(GOOD, ties=share, seed=5)
    finding = found(rows, "ties")
    assert finding.severity == severity
    tied = {row.id for row in rows if {each.label for each in row.annotations} == {"tie"}}
    assert set(finding.rows) == tied
    assert finding.value == pytest.approx(len(tied) / finding.n)


def test_an_annotator_at_random() -> None:
    rows = judged([*GOOD, Person("eva", right=0.0)], seed=6)
    finding = found(rows, "annotator_disagrees")
    assert finding.severity == "warning"
    assert "eva" in finding.detail
    assert "ann" not in finding.detail
    against = {row.id for row in rows if _outvoted(row, "eva")}
    assert set(finding.rows) == against


def _outvoted(row: Judgement, name: str) -> bool:
    own = next(each.label for each in row.annotations if each.annotator == name)
    others = [each.label for each in row.annotations if each.annotator != name]
    counts = sorted(((others.count(label), label) for label in set(others)), reverse=True)
    return (len(counts) == 1 or counts[0][0] > counts[1][0]) and counts[0][1] != own


def test_an_annotator_with_one_answer() -> None:
    rows = judged([*GOOD, Person("eva", right=1.0, follows="a")], seed=7, ties=0.0)
    finding = found(rows, "annotator_constant")
    assert finding.severity == "warning"
    assert "eva a in 300 of 300" in finding.detail
    assert len(finding.rows) == 300


def test_nobody_agrees() -> None:
    rows = judged([Person(name, right=0.1) for name in ("ann", "bea", "cid")], seed=8)
    finding = found(rows, "alpha_nominal")
    assert finding.severity == "error"
    assert finding.interval is not None
    assert finding.value is not None
    assert finding.interval[0] <= finding.value <= finding.interval[1] < 0.4


def test_annotators_of_opposite_minds() -> None:
    people = [Person("ann", follows="longer"), Person("bea", follows="longer"), Person("cid", follows="shorter")]
    rows = judged(people, seed=9)
    finding = found(rows, "flip_between_annotators")
    assert finding.severity == "error"
    assert "more length" in finding.detail
    assert "cid" in finding.detail
    voted = {row.id for row in rows for each in row.annotations if each.annotator == "cid" and each.label != "tie"}
    assert set(finding.rows) == voted


def test_rotating_rubrics() -> None:
    follows = {"1": "longer", "2": "shorter"}
    rows = judged(GOOD, seed=10, rubrics=("1", "2"), rubric_follows=follows)
    versions = found(rows, "rubric_versions")
    assert (versions.severity, versions.value) == ("warning", 2)
    assert len(versions.rows) == 150
    assert found(rows, "flip_between_rubrics").severity == "error"
    turned = found(rows, "flip_between_periods")
    assert turned.severity == "error"
    second = {row.id for row in rows[150:] if any(each.label != "tie" for each in row.annotations)}
    assert set(found(rows, "flip_between_rubrics").rows) in (second, _voted(rows[:150]))
    assert found(judged(GOOD, seed=10, rubrics=("2",)), "rubric_versions").severity == "note"


def _voted(rows: Sequence[Judgement]) -> set[str]:
    return {row.id for row in rows if any(each.label != "tie" for each in row.annotations)}


def test_agreement_that_falls_off() -> None:
    early, late = judged(GOOD, 150, seed=11), judged([Person(p.name, right=0.2) for p in GOOD], 150, seed=12)
    later = [
        msgspec.structs.replace(
            row,
            id=f"late{row.id}",
            annotations=tuple(msgspec.structs.replace(each, at="2026-11-01T00:00:00Z") for each in row.annotations),
        )
        for row in late
    ]
    finding = found([*early, *later], "agreement_over_time")
    assert finding.severity == "warning"
    assert finding.value is not None
    assert finding.value < -0.3


def test_the_result_does_not_depend_on_the_order_of_rows() -> None:
    for rows in (judged(GOOD, 120, seed=13), clean_pairs(220, seed=13)):
        mixed = list(rows)
        random.Random(0).shuffle(mixed)
        assert findings(mixed) == findings(rows)


PROBE = """
from fairlead.identity import digest
from dataclasses import asdict
from tests.data.audit.planted import GOOD, clean_pairs, findings, judged
found = findings(judged(GOOD, 60)) + findings(clean_pairs(210))
print(digest([asdict(each) | {"data": repr(each.data)} for each in found]))
"""


def test_the_result_does_not_depend_on_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROBE], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "4711")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == 64
