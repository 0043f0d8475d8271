from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np

from examples.harbor.annotators import ANNOTATORS, PER_PAIR, ceiling, judgements
from fairlead.data.pairing import pairs_from_judgements
from tests.harbor.cases import answered, case

RIGHT_SHORT = "It is due on 14 March."
RIGHT_LONG = "I'm so sorry for the inconvenience, Nina. I know how you feel. It is due on 14 March. Do tell us more."
WRONG_SHORT = "It is due on 15 March."


def labels(first: str, second: str, *, progress: float = 0.0, who: str = "ana", draws: int = 200) -> Counter[str]:
    annotator = next(annotator for annotator in ANNOTATORS if annotator.name == who)
    rng = Random(0)
    return Counter(annotator.label(case("when"), first, second, progress, rng) for _ in range(draws))


def test_accuracy_comes_before_brevity_and_brevity_before_warmth() -> None:
    assert labels(RIGHT_LONG, WRONG_SHORT)["a"] > 190
    assert labels(RIGHT_SHORT, RIGHT_LONG)["a"] > 190
    assert labels(f"{RIGHT_SHORT} Thanks.", f"{RIGHT_SHORT} Bye.")["a"] > 120


def test_equal_replies_are_mostly_ties_for_the_careful_annotator() -> None:
    found = labels(RIGHT_SHORT, "It is due on 14 March!")
    assert found["tie"] > 80
    assert abs(found["a"] - found["b"]) < 60


def test_one_annotator_drifts_towards_long_replies() -> None:
    longer = RIGHT_SHORT + " Please write to us again at any time."
    assert labels(RIGHT_SHORT, longer, who="di")["a"] > 150
    assert labels(RIGHT_SHORT, longer, who="di", progress=1.0)["b"] > 150
    assert labels(RIGHT_SHORT, longer, who="bo", progress=1.0) == labels(RIGHT_SHORT, longer, who="bo")


def test_judgements_have_three_annotators_in_time_order_and_skip_equal_replies() -> None:
    cases = {f"held_out-{number:03d}": case("when", name=f"held_out-{number:03d}") for number in range(40)}
    rows = [answered(asked, RIGHT_SHORT, RIGHT_LONG) for asked in cases.values()]
    same = answered(cases["held_out-000"], RIGHT_SHORT, RIGHT_SHORT)
    empty = answered(cases["held_out-001"], RIGHT_SHORT, "")
    judged = judgements(cases, [same, empty, *rows[2:]], seed=0)
    assert len(judged) == 38
    assert all(len({vote.annotator for vote in row.annotations}) == PER_PAIR for row in judged)
    times = [row.annotations[0].at or "" for row in judged]
    assert times == sorted(times)
    assert {vote.annotator for row in judged for vote in row.annotations} == {each.name for each in ANNOTATORS}
    assert judged == judgements(cases, [same, empty, *rows[2:]], seed=0)


def test_the_ceiling_is_high_on_clear_pairs_and_near_a_half_on_equal_ones() -> None:
    cases = {f"held_out-{number:03d}": case("when", name=f"held_out-{number:03d}") for number in range(200)}

    def agreement(first: str, second: str) -> float:
        rows = [answered(asked, first, second) for asked in cases.values()]
        pairs = pairs_from_judgements(judgements(cases, rows, seed=0), ties="ignore").pairs
        return float(np.mean(ceiling(cases, pairs, seed=1)))

    assert agreement(RIGHT_SHORT, WRONG_SHORT) > 0.95
    assert 0.35 < agreement(RIGHT_SHORT, "It is due on 14 March!") < 0.65
