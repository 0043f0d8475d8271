from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from fairlead.data.records import Message, Turns
from fairlead.evaluation.judging.contract import Comparison, Judge, Side, Written
from fairlead.evaluation.judging.self_preference import (
    EQUAL,
    OWN,
    SELF,
    OwnAnswers,
    OwnJudged,
    judge_own,
    self_preference,
    write_own,
)
from fairlead.evaluation.results import Measurement
from tests.evaluation.judging.small import Choose, by_goodness, choosing, comparison, turns

STYLE = "Indeed:"


def writer(choose: Choose, name: str = "w", answer: Callable[[str], Written] | None = None) -> Judge:
    """A judge that writes: good answers to every other question, in a style of its own."""

    def own(prompt: str) -> Written:
        number = int(prompt.split()[1].rstrip("?"))
        return Written(text=f"{STYLE} {'good' if number % 2 else 'plain'}")

    def write(prompts: Sequence[Turns]) -> list[Written]:
        return [(answer or own)(prompt[-1].content) for prompt in prompts]

    return replace(choosing(choose, name), write=write)


def vain(first: str, second: str, showing: object) -> str:
    """Prefers its own style to everything, and what is good among the rest."""
    own = [text.startswith(STYLE) for text in (first, second)]
    return "tie" if own[0] == own[1] else "first" if own[0] else "second"


def asked(
    judges: Sequence[Judge], comparisons: Sequence[Comparison], people: Sequence[Comparison] = (), number: int = 40
) -> dict[tuple[str, str | None, str], Measurement]:
    """The measures by name, whom the judge is held against, and judge."""
    own = [write_own(each, comparisons, number=number, seed=0) for each in judges]
    pairs = [pair for each in own for pair in each.comparisons]
    found = self_preference(own, [judge_own(each, pairs) for each in judges], people)
    return {(each.name, each.slice.get("against"), each.slice["judge"]): each for each in found}


MANY = [comparison(n, "good" if n % 4 < 2 else "fine", "good" if n % 4 < 2 else "fine") for n in range(40)]
"""Own answers are better in 10 of 40, worse in 10, and as good in 20."""


def test_a_judge_that_prefers_its_own_style_is_found() -> None:
    found = asked([writer(vain), choosing(by_goodness, "other")], MANY)
    preferred, biased, unequal = found[OWN, None, "w"], found[SELF, "panel", "w"], found[EQUAL, "panel", "w"]
    assert (preferred.value, preferred.n) == (1.0, 40)
    assert (biased.value, biased.n) == (0.5, 20)
    assert biased.low is not None
    assert biased.low > 0.2
    assert unequal.value == 1
    assert biased.slice == {"judge": "w", "against": "panel"}


def test_a_fair_judge_is_not() -> None:
    found = asked([writer(by_goodness), choosing(by_goodness, "other")], MANY)
    assert found[OWN, None, "w"].value == 0.5
    fair = found[SELF, "panel", "w"]
    assert (fair.value, fair.n) == (0, 20)
    assert fair.low is not None
    assert fair.high is not None
    assert fair.low < 0 < fair.high
    assert found[EQUAL, "panel", "w"].value == 0


def test_a_judge_whose_own_answers_are_better_is_not_called_biased() -> None:
    """Its own answers win nearly all, and the rest of the panel says the same."""
    plain = [comparison(n, "fine", "fine") for n in range(40)]
    good = writer(by_goodness, answer=lambda prompt: Written(text=f"{STYLE} good"))
    found = asked([good, choosing(by_goodness, "other")], plain)
    assert found[OWN, None, "w"].value == 1
    assert found[SELF, "panel", "w"].value == 0
    assert found[EQUAL, "panel", "w"].value is None  # no rival's answer was preferred


def test_a_judge_that_others_are_surer_than_is_not_called_biased() -> None:
    """Comparisons that one of the two leaves undecided say nothing."""

    def hesitant(first: str, second: str, showing: object) -> str:
        return "tie"

    found = asked([writer(hesitant), choosing(by_goodness, "other")], MANY)
    assert list(found) == [(OWN, None, "w")]
    assert found[OWN, None, "w"].value == 0.5


def test_the_panel_is_the_rest_of_the_judges() -> None:
    def contrary(first: str, second: str, showing: object) -> str:
        return {"first": "second", "second": "first"}.get(by_goodness(first, second, showing), "tie")  # type: ignore[arg-type]

    panel = [writer(vain), choosing(by_goodness, "a"), choosing(contrary, "b"), choosing(by_goodness, "c")]
    assert asked(panel, MANY)[SELF, "panel", "w"].n == 20
    assert (SELF, "panel", "w") not in asked(panel[:3], MANY)  # one says this, one says that


def test_two_judges_that_write_are_measured_by_their_own_answers() -> None:
    other = writer(by_goodness, "v", answer=lambda prompt: Written(text="as others write: good"))
    found = asked([writer(vain), other], MANY)
    assert found[SELF, "panel", "w"].value == 0.5
    assert found[OWN, None, "v"].n == 40
    assert found[OWN, None, "v"].value == 0.75


def people_of(own: OwnAnswers, side: Callable[[Comparison], Side]) -> list[Comparison]:
    """What people said of the same answers, shown the other way round."""
    return [
        replace(each, id=f"human/{n}", candidate=each.baseline, baseline=each.candidate, human=side(each))
        for n, each in enumerate(own.comparisons)
    ]


def test_people_are_asked_about_the_same_answers() -> None:
    judge = writer(vain)
    own = write_own(judge, MANY, number=40, seed=0)

    def fair(each: Comparison) -> Side:  # the own answer is the second one here
        own_good, rival_good = ("good" in side[0].content for side in (each.candidate, each.baseline))
        return "tie" if own_good == rival_good else "baseline" if own_good else "candidate"

    found = asked([judge], MANY, people_of(own, fair))
    assert {key[1] for key in found} == {None, "people"}
    assert (found[SELF, "people", "w"].value, found[SELF, "people", "w"].n) == (0.5, 20)
    assert found[EQUAL, "people", "w"].value == 1


def test_the_bias_is_that_of_wataoka() -> None:
    """30 own answers that others prefer, 24 of them seen; 20 of rivals, 10 of them seen: 0.8 − 0.5."""
    cells: list[tuple[Side, Side, int]] = [
        ("candidate", "candidate", 24),
        ("baseline", "candidate", 6),
        ("baseline", "baseline", 10),
        ("candidate", "baseline", 10),
    ]
    verdicts = [(mine, other) for mine, other, count in cells for _ in range(count)]
    pairs = tuple(comparison(n, "own", "rival") for n in range(50))

    def judged(name: str, sides: Sequence[Side]) -> OwnJudged:
        made = choosing(lambda *_: "tie", name)
        ties = judge_own(made, pairs)
        settled = [replace(one, outcome=side) for one, side in zip(ties.verdicts, sides, strict=True)]
        return replace(ties, verdicts=tuple(settled))

    own = OwnAnswers(judge="w", comparisons=pairs, left_out={}, written=50, cached=0)
    other = OwnAnswers(judge="o", comparisons=(), left_out={}, written=0, cached=0)
    both = [judged("w", [mine for mine, _ in verdicts]), judged("o", [side for _, side in verdicts])]
    found = {each.name: each for each in self_preference([own, other], both, [])}
    assert found[SELF].value == pytest.approx((10 - 6) / 50)
    assert found[EQUAL].value == pytest.approx(0.8 - 0.5)
    assert found[OWN].value == pytest.approx(34 / 50)


def test_what_cannot_be_compared_is_left_out_and_counted() -> None:
    odd = {0: Written(text=" "), 1: Written(text="half", fault="truncated"), 2: Written(text="fine")}
    judge = writer(vain, answer=lambda prompt: odd.get(int(prompt.split()[1].rstrip("?")), Written(text="other")))
    plain = [comparison(n, "fine", "fine") for n in range(5)]
    own = write_own(judge, plain, number=9, seed=0)
    assert own.left_out == {"blank": 1, "equal": 1, "truncated": 1}
    assert (own.written, len(own.comparisons)) == (5, 2)
    assert write_own(choosing(vain, "mute"), plain, number=9, seed=0).written == 0
    assert write_own(judge, plain, number=0, seed=0).written == 0


def test_prompts_are_drawn_once_each_and_without_tools() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}
    calling = (Message(role="assistant", content="", tool_calls=(call,)),)
    comparisons = [
        replace(comparison(0), prompt=(*turns("Question 0?", "user"), *calling)),
        replace(comparison(1, "x", "rival"), candidate=calling),
        comparison(2, " ", "rival"),
        comparison(3, "x", "y"),
        replace(comparison(3, "x", "z"), id="c3#1"),
    ]
    own = write_own(writer(vain), comparisons, number=9, seed=0)
    assert len(own.comparisons) == 3
    assert {each.baseline[0].content for each in own.comparisons} <= {"rival", "x", "y", "z"}
    assert [each.id for each in own.comparisons] == [
        each.id for each in write_own(writer(vain), comparisons[::-1], number=9, seed=0).comparisons
    ]
