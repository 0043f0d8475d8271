from __future__ import annotations

import pytest

from fairlead.data.records import Annotation, Judgement, Preference
from tests.data.audit.planted import all_found, assistant, clean_pairs, found, thumbs, user


def judgement(name: int, *labels: str, label: str | None = None, strengths: tuple[float, ...] = ()) -> Judgement:
    given = strengths or (None,) * len(labels)
    said = tuple(
        Annotation(annotator=str(place), label=each, strength=strength)
        for place, (each, strength) in enumerate(zip(labels, given, strict=True))
    )
    return Judgement(
        id=f"j{name}",
        prompt=user(f"{name}?"),
        response_a=assistant("x"),
        response_b=assistant("y"),
        annotations=said,
        label=label,
    )


def test_ties_by_hand() -> None:
    rows = [judgement(0, "tie", "tie", "a"), judgement(1, label="both_bad"), judgement(2, "a"), judgement(3, label="b")]
    finding = found([*rows, judgement(4, "a", "b")], "ties")
    assert (finding.value, finding.n, finding.rows, finding.severity) == (0.5, 4, ("j0", "j1"), "error")
    assert finding.data["verdicts"] == {"a": 1, "b": 1, "both_bad": 1, "tie": 1}
    assert finding.threshold == 0.4


@pytest.mark.parametrize(("tied", "severity"), [(19, "note"), (20, "warning"), (39, "warning"), (40, "error")])
def test_ties_warn_from_a_fifth_and_fail_from_two_fifths(tied: int, severity: str) -> None:
    rows = [judgement(place, label="tie" if place < tied else "a") for place in range(100)]
    assert found(rows, "ties").severity == severity


def test_pairs_of_equal_scores_are_ties() -> None:
    rows = clean_pairs(4)
    metas = [
        {"score_chosen": 8, "score_rejected": 8},
        {"score_chosen": 9.0, "score_rejected": 2},
        {},
        {"score_chosen": 1},
    ]
    scored = [
        Preference(id=row.id, prompt=row.prompt, chosen=row.chosen, rejected=row.rejected, meta=meta)
        for row, meta in zip(rows, metas, strict=True)
    ]
    finding = found(scored, "ties")
    assert (finding.value, finding.n, finding.rows) == (0.5, 2, ("p0000",))
    assert all_found(rows, "ties") == []


def test_split_votes_by_hand() -> None:
    rows = [judgement(0, "a", "b"), judgement(1, "a", "a", "tie"), judgement(2, "a"), judgement(3, "a", "tie", "b")]
    finding = found(rows, "split_votes")
    assert (finding.value, finding.n, finding.rows) == (2 / 3, 3, ("j0", "j3"))
    assert finding.severity == "error"


def test_narrow_majorities_are_weak() -> None:
    rows = [judgement(0, *"aaabb"), judgement(1, *"aaaab"), judgement(2, *"aab"), judgement(3, *"ab", label="a")]
    finding = found(rows, "weak_preferences")
    assert (finding.value, finding.n, finding.rows) == (1 / 3, 3, ("j0",))


def test_votes_in_meta_count_as_votes() -> None:
    rows = [
        Preference(id=row.id, prompt=row.prompt, chosen=row.chosen, rejected=row.rejected, meta={"votes": votes})
        for row, votes in zip(clean_pairs(2), [{"a": 3, "b": 2}, {"b": 5}], strict=True)
    ]
    assert found(rows, "weak_preferences").rows == ("p0000",)


def test_the_smallest_strength_is_weak() -> None:
    rows = [judgement(place, "a", strengths=(1.0 if place < 5 else 3.0,)) for place in range(10)]
    finding = found(rows, "weak_preferences")
    assert (finding.value, finding.severity) == (0.5, "warning")
    assert all_found([judgement(place, "a", strengths=(2.0,)) for place in range(9)], "weak_preferences") == []


def test_thumbs_all_one_way() -> None:
    rows = thumbs(clean_pairs(20))
    assert found(rows, "label_balance").severity == "note"
    finding = found([row for row in rows if row.label] + [row for row in rows if not row.label][:2], "label_balance")
    assert (finding.severity, finding.value) == ("warning", 20 / 22)
