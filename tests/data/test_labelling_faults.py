"""Faults of labelling exports: planted ones are found, honest data are left alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fairlead.data.labelling_faults import KINDS, labelling_faults
from fairlead.data.records import Annotation, Candidate, Candidates, Judgement, Message, Ranking, RankingAnnotation, Row

PROMPT = (Message(role="user", content="Where?"),)
SAID = (Message(role="assistant", content="Here."),)
OTHER = (Message(role="assistant", content="There."),)


def ranking(number: int, order: list[str], annotator: str = "ann", **more: Any) -> Ranking:
    placed = RankingAnnotation(annotator=annotator, ranking=tuple((name,) for name in order), **more)
    candidates = tuple(Candidate(id=name, messages=SAID) for name in "abc")
    return Ranking(id=f"r{number}", prompt=PROMPT, candidates=candidates, annotations=(placed,))


def judgement(number: int, *votes: tuple[str, str], shown: str | None = None) -> Judgement:
    annotations = tuple(Annotation(annotator=name, label=label, shown=shown) for name, label in votes)
    return Judgement(id=f"j{number}", prompt=PROMPT, response_a=SAID, response_b=OTHER, annotations=annotations)


def found(rows: list[Row]) -> dict[str, str]:
    return {finding.code: finding.severity for finding in labelling_faults(rows)}


def shuffled(draw: random.Random) -> list[str]:
    return draw.sample("abc", 3)


def test_rankings_that_are_all_1_2_3_are_an_error() -> None:
    (finding,) = labelling_faults([ranking(n, ["a", "b", "c"]) for n in range(30)])
    assert (finding.code, finding.severity, finding.value, finding.n) == ("constant_rankings", "error", 1.0, 30)
    assert "every annotator, 1, 2, 3" in finding.detail
    assert finding.count == 30


def test_so_are_those_of_one_annotator_among_honest_ones() -> None:
    draw = random.Random(0)
    rows = [ranking(n, shuffled(draw), f"ann{n % 3}") for n in range(90)]
    assert found(rows) == {}
    rows += [ranking(100 + n, ["c", "b", "a"], "bot") for n in range(20)]
    (finding,) = labelling_faults(rows)
    assert finding.data["annotators"] == ["bot"]


def test_the_order_on_the_screen_counts_where_it_is_known() -> None:
    draw = random.Random(1)
    rows = []
    for number in range(30):
        order = shuffled(draw)
        rows.append(ranking(number, order, shown=tuple(order)))
    assert found(rows) == {"constant_rankings": "error"}


@pytest.mark.parametrize("rows", [3, 5])
def test_a_few_equal_rankings_may_be_chance(rows: int) -> None:
    few = [ranking(n, ["a", "b", "c"]) for n in range(rows)]
    assert found(few) == ({} if rows == 3 else {"constant_rankings": "error"})


def test_ties_and_partial_rankings_are_not_constant() -> None:
    tied = [
        Ranking(
            id=f"t{n}",
            prompt=PROMPT,
            candidates=tuple(Candidate(id=name, messages=SAID) for name in "abc"),
            annotations=(RankingAnnotation(annotator="ann", ranking=(("a",), ("b", "c"))),),
        )
        for n in range(30)
    ]
    assert found(tied) == {}


@pytest.mark.parametrize(("missing", "severity"), [(0, None), (1, "note"), (20, "warning"), (100, None)])
def test_ratings_that_are_missing(missing: int, severity: str | None) -> None:
    rows: list[Row] = [judgement(n, *([] if n < missing else [("ann", "ab"[n % 2])])) for n in range(100)]
    assert found(rows).get("missing_ratings") == severity


def test_candidates_without_a_score_beside_scored_ones_are_missing_it() -> None:
    def scored(number: int, *scores: dict[str, float]) -> Candidates:
        made = (Candidate(id=str(at), messages=SAID, scores=each) for at, each in enumerate(scores))
        return Candidates(id=str(number), prompt=PROMPT, candidates=tuple(made))

    rows: list[Row] = [scored(n, {"r": 1.0}, {"r": 2.0}) for n in range(9)]
    assert found(rows) == {}
    (finding,) = labelling_faults([*rows, scored(9, {"r": 1.0}, {})])
    assert (finding.code, finding.value, finding.rows) == ("missing_ratings", 0.1, ("9",))


def test_a_side_that_is_preferred_is_a_warning() -> None:
    draw = random.Random(2)
    honest: list[Row] = [judgement(n, (f"ann{n % 5}", draw.choice(["a", "b", "tie"]))) for n in range(300)]
    assert found(honest) == {}
    skewed: list[Row] = [judgement(n, ("ann", "a" if draw.random() < 0.7 else "b")) for n in range(300)]
    (finding,) = labelling_faults(skewed)
    assert (finding.code, finding.severity) == ("position_skew", "warning")
    assert finding.interval is not None
    assert finding.interval[0] < 0.7 < finding.interval[1]
    assert "a counts as first" in finding.detail


def test_one_annotator_who_always_takes_the_left_is_named() -> None:
    draw = random.Random(3)
    rows: list[Row] = [judgement(n, (f"ann{n % 20}", draw.choice("ab"))) for n in range(2000)]
    rows += [judgement(5000 + n, ("lefty", "ab"[n % 2]), shown=("ab", "ba")[n % 2]) for n in range(40)]
    (finding,) = labelling_faults(rows)
    assert finding.data["annotators"] == ["lefty"]


def test_findings_do_not_depend_on_the_order_of_rows() -> None:
    rows: list[Row] = [ranking(n, ["a", "b", "c"], f"ann{n % 4}") for n in range(40)]
    (one,) = labelling_faults(rows)
    random.Random(4).shuffle(rows)
    (other,) = labelling_faults(rows)
    assert (one.value, one.detail, one.data, one.count) == (other.value, other.detail, other.data, other.count)


def test_every_kind_says_what_to_do() -> None:
    assert all(kind.meaning and kind.remedy.endswith(".") for kind in KINDS.values())
