"""The checks of agreement against the coefficients themselves, computed another way."""

from __future__ import annotations

from itertools import combinations

import msgspec
import numpy as np
import pytest

from fairlead.data.audit.items import LABELS
from fairlead.data.audit.material import Material
from fairlead.data.audit.votes import columns, seconds
from fairlead.data.records import Annotation
from fairlead.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, rating_counts, raw_agreement
from tests.data.audit.planted import GOOD, Person, all_found, clean_pairs, found, judged

PEOPLE = [Person("ann", 0.7), Person("bea", 0.5), Person("cid", 0.9)]


def test_all_votes_as_a_table_of_ratings() -> None:
    rows = judged(PEOPLE, 80, ties=0.2)
    code = {"a": 0, "tie": 1, "b": 2}
    table = [[code[row.annotations[person].label] for row in rows] for person in range(3)]
    counts, _ = rating_counts(table)
    assert found(rows, "alpha_nominal").value == pytest.approx(krippendorff_alpha(counts))
    assert found(rows, "alpha_ordinal").value == pytest.approx(krippendorff_alpha(counts, metric="ordinal"))
    assert found(rows, "alpha_interval").value == pytest.approx(krippendorff_alpha(counts, [-1, 0, 1], "interval"))
    assert found(rows, "fleiss_kappa").value == pytest.approx(fleiss_kappa(counts))
    assert found(rows, "raw_agreement").value == pytest.approx(raw_agreement(counts))
    tables = [
        np.array(
            [[sum(x == i and y == j for x, y in zip(one, other, strict=True)) for j in range(3)] for i in range(3)]
        )
        for one, other in combinations(table, 2)
    ]
    finding = found(rows, "cohen_kappa")
    assert finding.value == pytest.approx(np.mean([cohen_kappa(each) for each in tables]))
    assert finding.interval is not None
    assert finding.interval[0] < finding.value < finding.interval[1]
    assert len(finding.data["pairs"]) == 3


def test_strengths_are_the_numbers_of_the_interval_metric() -> None:
    rows = [
        msgspec.structs.replace(
            row,
            annotations=tuple(
                msgspec.structs.replace(each, strength=float(1 + (place + person) % 3))
                for person, each in enumerate(row.annotations)
            ),
        )
        for place, row in enumerate(judged(PEOPLE, 60))
    ]
    number = {"a": -1.0, "tie": 0.0, "b": 1.0}
    table = [
        [number[row.annotations[person].label] * (row.annotations[person].strength or 0) for row in rows]
        for person in range(3)
    ]
    counts, values = rating_counts(table)
    finding = found(rows, "alpha_interval")
    assert finding.value == pytest.approx(krippendorff_alpha(counts, values, "interval"))
    assert finding.detail == "strengths as they were given"


def test_without_second_votes_agreement_is_not_known() -> None:
    for rows in (clean_pairs(5), judged([Person("ann")], 5)):
        finding = found(rows, "agreement_unknown")
        assert (finding.severity, finding.value) == ("note", None)
        assert all_found(rows, "alpha_nominal") == []


def test_few_items_are_not_judged() -> None:
    rows = judged([Person(name, 0.0) for name in ("ann", "bea")], 10)
    finding = found(rows, "alpha_nominal")
    assert (finding.severity, finding.threshold) == ("note", None)
    assert "not judged" in finding.detail


def test_a_second_vote_of_one_person_is_no_agreement() -> None:
    (row,) = judged(PEOPLE, 1)
    doubled = msgspec.structs.replace(row, annotations=(*row.annotations, *row.annotations[:1]))
    votes = columns(Material(rows=[doubled]).items)
    assert votes.counts.sum() == 3
    assert votes.repeats == [(row.id, True)]


def test_people_who_do_not_agree_with_themselves() -> None:
    rows = []
    for place, row in enumerate(judged(PEOPLE, 40, ties=0.0)):
        first = row.annotations[0]
        other = {"a": "b", "b": "a"}[first.label] if place < 10 else first.label
        rows.append(
            msgspec.structs.replace(
                row, annotations=(*row.annotations, Annotation(annotator=first.annotator, label=other))
            )
        )
    finding = found(rows, "self_agreement")
    assert (finding.value, finding.n, finding.severity) == (0.75, 40, "warning")
    assert set(finding.rows) == {row.id for row in rows[:10]}


def test_votes_across_rubrics_are_compared_with_votes_of_one() -> None:
    """Two vote by version 1 for the truth, two by version 2 against it."""
    rows = []
    for row in judged(GOOD, 100, ties=0.0, seed=3):
        annotations = list(row.annotations)
        for person in (2, 3):
            label = {"a": "b", "b": "a"}[annotations[person].label]
            annotations[person] = msgspec.structs.replace(annotations[person], label=label, rubric="2")
        for person in (0, 1):
            annotations[person] = msgspec.structs.replace(annotations[person], rubric="1")
        rows.append(msgspec.structs.replace(row, annotations=tuple(annotations)))
    finding = found(rows, "agreement_across_rubrics")
    assert finding.severity == "warning"
    assert finding.n == 400
    assert finding.value is not None
    assert finding.value < 0.2
    assert found(rows, "rubric_versions").value == 2


def test_agreement_by_rubric_version() -> None:
    rows = judged(GOOD, 200, seed=4, rubrics=("1", "2"))
    assert found(rows, "agreement_by_rubric").severity == "note"
    worse = judged([Person(person.name, 0.2) for person in GOOD], 200, seed=5, rubrics=("1", "2"))
    mixed = [*rows[:100], *worse[100:]]
    finding = found(mixed, "agreement_by_rubric")
    assert finding.severity == "warning"
    assert "version 2" in finding.detail


def test_times_of_several_forms() -> None:
    forms = ["1970-01-01T00:01:00Z", "1970-01-01 00:01:00.0 UTC", "1970-01-01T01:01:00+01:00", "1970-01-01 00:01:00"]
    assert [seconds(form) for form in forms] == [60.0] * 4
    assert all(np.isnan(seconds(form)) for form in (None, "yesterday", ""))


def test_labels_are_in_order() -> None:
    assert LABELS[:3] == ("a", "tie", "b")  # ordinal and interval α take them by their place
