"""What people said of a comparison, found by its content: the same prompt and the same two answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fairlead.evaluation.judging.contract import Comparison, Side
from fairlead.evaluation.judging.prompt import said

Content = tuple[str, str, str]
OTHER: dict[Side, Side] = {"candidate": "baseline", "baseline": "candidate", "tie": "tie"}


def content(each: Comparison) -> Content:
    """The prompt and both answers as texts; equal for comparisons that a judge cannot tell apart."""
    return said(each.prompt), said(each.candidate), said(each.baseline)


def with_people(
    comparisons: Sequence[Comparison], people: Sequence[Comparison]
) -> tuple[tuple[Comparison, ...], tuple[Comparison, ...]]:
    """The comparisons with the side that people prefer where they judged the same, and the judgements of nothing here.

    The sides of a judgement may be exchanged. Where several judgements are of one comparison, more than half of them
    decide, else it is a tie. What a comparison already says of people stays.
    """
    votes: dict[Content, list[Side]] = {}
    for each in people:
        if each.human is not None:
            prompt, candidate, baseline = content(each)
            votes.setdefault((prompt, candidate, baseline), []).append(each.human)
            if candidate != baseline:
                votes.setdefault((prompt, baseline, candidate), []).append(OTHER[each.human])
    settled = tuple(
        replace(each, human=most(votes[content(each)])) if each.human is None and content(each) in votes else each
        for each in comparisons
    )
    known = {key for each in comparisons for key in _either_way(each)}
    return settled, tuple(each for each in people if content(each) not in known)


def most(votes: Iterable[Side]) -> Side | None:
    """The side with more than half of the votes, else a tie; None without any vote."""
    counts = Counter(votes)
    won = [side for side, number in counts.items() if 2 * number > counts.total()]
    return won[0] if won else "tie" if counts else None


def _either_way(each: Comparison) -> tuple[Content, Content]:
    prompt, candidate, baseline = content(each)
    return (prompt, candidate, baseline), (prompt, baseline, candidate)
