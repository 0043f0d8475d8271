"""Votes as columns: who said what of which item, when and by which rubric, for checks that count over all of them.

V votes, U items, C labels, A annotators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.data.audit.items import LABELS, Item

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

CODES = {label: code for code, label in enumerate(LABELS)}


class VotePairs(NamedTuple):
    """Places of every two votes on one item, earlier first."""

    one: Indices
    other: Indices


@dataclass(frozen=True, kw_only=True)
class Votes:
    """Each annotator's first vote on each item, item by item; `item` [V] is a place in the items.

    annotator, rubric: places in `annotators` and `rubrics`, which are in the order of the alphabet; a rubric of −1 is
    none. label: a place in `LABELS`. strength: from −s for a to s for b, 0 for a tie; nan where a winner has none, and
    for both_bad. time: seconds since 1970; nan where none was given or could be read. repeats: of votes after the
    first of one annotator on one item, (row, whether it is the first one's label).
    """

    items: int
    item: Indices
    annotator: Indices
    annotators: Sequence[str]
    label: Indices
    strength: Floats
    time: Floats
    rubric: Indices
    rubrics: Sequence[str]
    repeats: Sequence[tuple[str, bool]]

    @property
    def counts(self) -> Floats:
        """How many votes of each label each item got, [U, C]."""
        flat = np.bincount(self.item * len(LABELS) + self.label, minlength=self.items * len(LABELS))
        return flat.reshape(self.items, len(LABELS)).astype(np.float64)

    def pairs(self) -> VotePairs:
        """Every two votes on one item."""
        return VotePairs(*(np.concatenate(parts) for parts in zip(*self._lagged(), strict=True)))

    def _lagged(self) -> Iterator[tuple[Indices, Indices]]:
        yield np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        for lag in range(1, len(self.item)):
            (one,) = np.nonzero(self.item[:-lag] == self.item[lag:])
            if not one.size:
                return
            yield one, one + lag


def columns(items: Sequence[Item]) -> Votes:
    """The votes on these items."""
    found: list[tuple[int, str, int, float, float, str | None]] = []
    repeats = []
    for place, item in enumerate(items):
        first: dict[str, str] = {}
        for vote in item.votes:
            if vote.annotator in first:
                repeats.append((item.row, first[vote.annotator] == vote.label))
                continue
            first[vote.annotator] = vote.label
            strength = _signed(vote.label, vote.strength)
            found.append((place, vote.annotator, CODES[vote.label], strength, seconds(vote.at), vote.rubric))
    annotators = sorted({each[1] for each in found})
    rubrics = sorted({each[5] for each in found if each[5] is not None})
    annotator_place = {name: place for place, name in enumerate(annotators)}
    rubric_place: dict[str | None, int] = {name: place for place, name in enumerate(rubrics)}
    return Votes(
        items=len(items),
        item=np.array([each[0] for each in found], dtype=np.int64),
        annotator=np.array([annotator_place[each[1]] for each in found], dtype=np.int64),
        annotators=annotators,
        label=np.array([each[2] for each in found], dtype=np.int64),
        strength=np.array([each[3] for each in found], dtype=np.float64),
        time=np.array([each[4] for each in found], dtype=np.float64),
        rubric=np.array([rubric_place.get(each[5], -1) for each in found], dtype=np.int64),
        rubrics=rubrics,
        repeats=repeats,
    )


def _signed(label: str, strength: float | None) -> float:
    if label == "tie":
        return 0.0
    if strength is None or label == "both_bad":
        return nan
    return abs(strength) if label == "b" else -abs(strength)


def seconds(at: str | None) -> float:
    """A time in ISO 8601 as seconds since 1970, in UTC where it names no zone; nan where there is none to be read."""
    if at is None:
        return nan
    try:
        moment = datetime.fromisoformat(at.strip().removesuffix(" UTC"))
    except ValueError:
        return nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
