from __future__ import annotations

from dataclasses import replace

from fairlead.evaluation.judging.contract import Comparison, Side
from fairlead.evaluation.judging.people import most, with_people
from tests.evaluation.judging.small import comparison


def said_by_people(number: int, side: Side, candidate: str = "x", baseline: str = "y") -> Comparison:
    return replace(comparison(number, candidate, baseline, human=side), id=f"human/{number}-{side}")


def test_most_of_the_votes_decide() -> None:
    assert most(["candidate", "candidate", "tie"]) == "candidate"
    assert most(["candidate", "baseline"]) == "tie"
    assert most([]) is None


def test_judgements_are_found_by_their_content_whatever_the_sides() -> None:
    comparisons = [comparison(n, "x", "y") for n in range(4)]
    people = [
        said_by_people(0, "candidate"),
        said_by_people(1, "candidate", "y", "x"),  # exchanged
        said_by_people(2, "tie", "y", "x"),
        said_by_people(3, "candidate", "x", "z"),  # other answers
        said_by_people(9, "candidate"),  # another prompt
    ]
    settled, rest = with_people(comparisons, people)
    assert [each.human for each in settled] == ["candidate", "baseline", "tie", None]
    assert [each.id for each in settled] == [each.id for each in comparisons]
    assert rest == tuple(people[3:])


def test_several_judgements_of_one_comparison_vote() -> None:
    people = [
        said_by_people(0, "candidate"),
        said_by_people(0, "baseline"),
        said_by_people(0, "candidate", "y", "x"),
    ]
    settled, rest = with_people([comparison(0, "x", "y")], people)
    assert (settled[0].human, rest) == ("baseline", ())
    assert with_people([comparison(0, "x", "y")], people[::-1]) == (settled, ())


def test_what_a_comparison_says_of_people_stays() -> None:
    given = comparison(0, "x", "y", human="tie")
    assert with_people([given], [said_by_people(0, "candidate")]) == ((given,), ())
