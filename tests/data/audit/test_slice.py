from __future__ import annotations

from fairlead.data.audit.material import Material
from fairlead.data.audit.slice import audit_slice
from fairlead.data.records import Candidate, Preference, Ranking, RankingAnnotation
from tests.data.audit.planted import GOOD, assistant, changed, clean_pairs, judged, thumbs, user


def test_the_slice_is_blind_and_its_labels_are_right() -> None:
    rows = [changed(row, meta={"segment": "x", "rejection_type": "refusal"}) for row in clean_pairs(300)]
    judgements, labels = audit_slice(Material(rows=rows), 100)
    assert len(judgements) == len(labels) == 100
    by_id: dict[str, Preference] = {row.id: row for row in rows}
    for judgement, label in zip(judgements, labels, strict=True):
        row = by_id[judgement.id]
        assert judgement.label is None
        assert judgement.annotations == ()
        assert judgement.meta == {"segment": "x"}
        assert {"a": judgement.response_a, "b": judgement.response_b}[label["label"]] == row.chosen
    assert 30 < sum(label["label"] == "a" for label in labels) < 70


def test_the_slice_is_stable() -> None:
    rows = clean_pairs(300)
    names = [row.id for row in audit_slice(Material(rows=rows), 50)[0]]
    assert [row.id for row in audit_slice(Material(rows=rows[::-1]), 50)[0]] == names
    more = [row.id for row in audit_slice(Material(rows=[*rows, *judged(GOOD, 30)]), 50)[0]]
    assert len(set(more) & set(names)) >= 40
    assert [row.id for row in audit_slice(Material(rows=rows, seed=1), 50)[0]] != names
    assert len(audit_slice(Material(rows=rows[:9]), 50)[0]) == 9


def test_judgements_keep_their_verdict_and_rankings_give_one_comparison() -> None:
    rows = judged(GOOD, 40, ties=0.5)
    labels = {label["id"]: label["label"] for label in audit_slice(Material(rows=rows), 40)[1]}
    assert {"a", "b", "tie"} <= set(labels.values())
    placed = (RankingAnnotation(annotator="ann", ranking=(("x",), ("y",), ("z",))),)
    rankings = [
        Ranking(
            id=f"r{n}",
            prompt=user("?"),
            candidates=tuple(Candidate(id=name, messages=assistant(name)) for name in "xyz"),
            annotations=placed,
        )
        for n in range(30)
    ]
    judgements, labelled = audit_slice(Material(rows=rankings), 30)
    for judgement, label in zip(judgements, labelled, strict=True):
        first, second = judgement.response_a[0].content, judgement.response_b[0].content
        assert label["label"] == ("a" if first < second else "b")
    assert len({(j.response_a, j.response_b) for j in judgements}) > 3
    assert audit_slice(Material(rows=thumbs(clean_pairs(3))), 9) == ([], [])
