"""Rows as comparisons of two texts, with what each annotator said of them.

Judgements, rankings, preferences and edits all become `Item`s: two completions of one prompt, the settled label if
there is one, and the votes. Thumbs become `Thumb`s. Other kinds hold no judgement and become neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple
from zlib import crc32

from fairlead.data.records import (
    Candidates,
    Common,
    Demonstration,
    Edit,
    Feedback,
    Judgement,
    Preference,
    Ranking,
    RankingAnnotation,
    Row,
)
from fairlead.data.split import prompt_of
from fairlead.data.texts import normalized, text_of

LABELS = ("a", "tie", "b", "both_bad")
"""In the order of preference; both_bad, which is no degree of preference, last."""


class Vote(NamedTuple):
    """What one person said of an item. `at` is a time as it was written."""

    annotator: str
    label: str
    strength: float | None = None
    at: str | None = None
    rubric: str | None = None


class Item(NamedTuple):
    """Two completions of one prompt, of the row with the id `row`; `label` is the settled one, `margin` the row's."""

    row: str
    prompt: str
    a: str
    b: str
    label: str | None
    votes: tuple[Vote, ...]
    meta: Mapping[str, Any]
    margin: float | None = None

    @property
    def verdict(self) -> str | None:
        """The settled label, else the label with more than half of the votes; None where there is neither."""
        if self.label is not None or not self.votes:
            return self.label
        label, count = Counter(vote.label for vote in self.votes).most_common(1)[0]
        return label if 2 * count > len(self.votes) else None


class Thumb(NamedTuple):
    """One completion with its label."""

    row: str
    prompt: str
    text: str
    up: bool
    meta: Mapping[str, Any]


def completions_of(row: Row) -> list[str]:
    """The texts of every completion of a row; of a demonstration, its assistant turns as one."""
    match row:
        case Preference():
            sides = (row.chosen, row.rejected)
        case Judgement():
            sides = (row.response_a, row.response_b)
        case Feedback():
            return [text_of(row.completion)]
        case Edit():
            sides = (row.draft, row.edited)
        case Candidates() | Ranking():
            return [text_of(candidate.messages) for candidate in row.candidates]
        case Demonstration():
            return ["\n".join(turn.content for turn in row.messages if turn.role == "assistant")]
    return [text_of(side) for side in sides]


def texts_of(row: Row) -> list[str]:
    """The prompt and every completion of a row, as texts."""
    if isinstance(row, Demonstration):
        return [text_of(row.messages)]
    return [text_of(prompt_of(row)), *completions_of(row)]


def items_of(rows: Sequence[Row]) -> list[Item]:
    """Every comparison that the rows hold, settled or not, in their order.

    Preferences that several people gave on the same two completions are one item with all their votes.
    """
    found = [item for row in rows for item in _items(row)]
    return list(_merged(found)) if found and isinstance(rows[0], Preference) else found


def thumbs_of(rows: Sequence[Row]) -> list[Thumb]:
    """The rows of feedback, in their order."""
    return [
        Thumb(row.id, text_of(row.prompt), text_of(row.completion), row.label, row.meta)
        for row in rows
        if isinstance(row, Feedback)
    ]


def _items(row: Row) -> Iterator[Item]:
    match row:
        case Preference():
            sides = (text_of(row.chosen), text_of(row.rejected))
            yield Item(row.id, text_of(row.prompt), *sides, "a", _meta_votes(row), row.meta, row.margin)
        case Edit():
            yield Item(row.id, text_of(row.prompt), text_of(row.edited), text_of(row.draft), "a", (), row.meta)
        case Judgement():
            said = row.annotations
            given = row.meta.get("rubric")
            rubric = None if given is None else str(given)
            votes = tuple(
                [Vote(each.annotator, each.label, each.strength, each.at, each.rubric or rubric) for each in said]
            )
            sides = (text_of(row.response_a), text_of(row.response_b))
            yield Item(row.id, text_of(row.prompt), *sides, row.label, votes, row.meta)
        case Ranking():
            yield from _compared(row)


def _meta_votes(row: Common) -> tuple[Vote, ...]:
    """The vote for `a` of the annotator that meta names, if it names one; of the rubric and time that it names."""
    found = {key: row.meta.get(key) for key in ("annotator", "at", "rubric")}
    if found["annotator"] is None:
        return ()
    at, rubric = (None if found[key] is None else str(found[key]) for key in ("at", "rubric"))
    return (Vote(str(found["annotator"]), "a", None, at, rubric),)


def _compared(row: Ranking) -> Iterator[Item]:
    """A ranking as comparisons of each two of its candidates."""
    prompt = text_of(row.prompt)
    for one, other in combinations(row.candidates, 2):
        votes = []
        for each in row.annotations:
            label = order(each, one.id, other.id)
            if label is not None:
                votes.append(Vote(each.annotator, label, None, each.at, each.rubric))
        settled = order(row, one.id, other.id)
        yield Item(row.id, prompt, text_of(one.messages), text_of(other.messages), settled, tuple(votes), row.meta)


def order(placed: Ranking | RankingAnnotation, one: str, other: str) -> str | None:
    """a where `one` stands before `other`, b where behind, tie in one place; None where they were not compared."""
    place = {name: position for position, names in enumerate(placed.ranking) for name in names}
    if one in place and other in place:
        first, second = place[one], place[other]
        return "tie" if first == second else "a" if first < second else "b"
    if placed.best in (one, other) or placed.worst in (one, other):
        return "a" if placed.best == one or placed.worst == other else "b"
    return None


def _merged(items: Sequence[Item]) -> Iterator[Item]:
    """Preferences that different people gave on the same two completions, joined into one item with all their votes.

    A set of one row per annotator becomes what it is: several votes on one pair. Rows that name no annotator stay.
    """
    together: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        if item.votes:
            first, second = sorted((normalized(item.a), normalized(item.b)))
            together.setdefault((normalized(item.prompt), first, second), []).append(item)
        else:
            yield item
    for group in together.values():
        yield _joined(group) if len(group) > 1 else group[0]


def _joined(group: Sequence[Item]) -> Item:
    """Side a is drawn by the texts: were it the winner of the first row, that label would be too frequent for chance,
    and agreement beyond chance would be too low.
    """
    first = group[0]
    if _draw(first.a) > _draw(first.b):
        first = first._replace(a=first.b, b=first.a)
    votes = []
    for item in group:
        label = "a" if normalized(item.a) == normalized(first.a) else "b"
        votes += [vote._replace(label=label) for vote in item.votes]
    return first._replace(label=None, votes=tuple(votes))


def _draw(text: str) -> int:
    return crc32(normalized(text).encode(errors="replace"))
