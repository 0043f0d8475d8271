"""Do training rows stand among the held-out ones: prompts, and prompts with an answer, word for word or nearly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairlead.data.audit.findings import MOST_EXAMPLES, Finding, Kind
from fairlead.data.audit.grading import percent, share_finding
from fairlead.data.audit.material import Floats, Indices, Material
from fairlead.data.audit.parts import Parts, answers, prompts
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.near_duplicates import SIMILAR, nearest
from fairlead.data.records import Row
from fairlead.progress import SILENT, Progress

APART = "Make the split anew with `fairlead split`, which keeps near-duplicates on one side and proves it."

KINDS = {
    "eval_prompts_in_train": Kind(
        title="Evaluation on training prompts",
        meaning="share of held-out rows whose prompt is trained on word for word (letter case and white space apart)",
        remedy=f"{APART} Figures on these rows say what was memorised, not what was learnt.",
    ),
    "eval_prompts_near_train": Kind(
        title="Evaluation on nearly the same prompts",
        meaning=f"share of held-out rows whose prompt is none of training, but shares {percent(SIMILAR)} of its word "
        "pairs with one (Jaccard similarity)",
        remedy=APART,
    ),
    "eval_answers_in_train": Kind(
        title="Evaluation on training answers",
        meaning="share of held-out rows of which a prompt with an answer is trained on word for word",
        remedy=APART,
    ),
    "eval_answers_near_train": Kind(
        title="Evaluation on nearly the same answers",
        meaning=f"share of held-out rows of which no prompt with an answer is trained on, but one that shares "
        f"{percent(SIMILAR)} of its word pairs",
        remedy="Where the prompts differ these are boilerplate answers, or one question in other words: look at them.",
    ),
}


class Match(NamedTuple):
    """A held-out row and the training row that it repeats, by id; similarity is 1 where nothing differs."""

    held_out: str
    train: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Held-out rows that repeat training rows, each named at its first match; near matches do not repeat exact ones.

    rows: how many are held out; answered: those of them with an answer.
    """

    rows: int
    answered: int
    prompts: tuple[Match, ...]
    near_prompts: tuple[Match, ...]
    answers: tuple[Match, ...]
    near_answers: tuple[Match, ...]


def leakage_between(
    train: Sequence[Row], held_out: Sequence[Row], *, near: bool = True, seed: int = 0, progress: Progress = SILENT
) -> Leakage:
    """Compares each held-out row with all training rows. near: false leaves near matches out, which take most time.

    Near matches are those of `fairlead.data.near_duplicates`; `seed` is that of its hash functions.
    """
    ours, theirs = ([*sorted(rows, key=lambda row: row.id)] for rows in (held_out, train))
    found: list[tuple[tuple[Match, ...], tuple[Match, ...]]] = []
    answered = 0
    for parts in (prompts, answers):
        own, given = parts(ours), parts(theirs)
        exact = _exact(own, given)
        close = _near(own, given, {match.held_out for match in exact}, seed, progress) if near else ()
        found.append((exact, close))
        answered = len(set(own.owners.tolist()))
    (same_prompts, near_prompts), (same_answers, near_answers) = found
    return Leakage(
        rows=len(ours),
        answered=answered,
        prompts=same_prompts,
        near_prompts=near_prompts,
        answers=same_answers,
        near_answers=near_answers,
    )


def _exact(own: Parts, given: Parts) -> tuple[Match, ...]:
    """The first match of each row by the hashes of keys."""
    if not len(own) or not len(given):
        return ()
    order = np.argsort(given.hashes, kind="stable")
    at = np.minimum(np.searchsorted(given.hashes[order], own.hashes), len(order) - 1)
    found = np.flatnonzero(given.hashes[order[at]] == own.hashes)
    return _first(own, given, found, order[at[found]], np.ones(len(found)))


def _near(own: Parts, given: Parts, exact: set[str], seed: int, progress: Progress) -> tuple[Match, ...]:
    """The nearest match of each row that has no exact one."""
    rest = own.only(np.array([own.rows[owner].id not in exact for owner in own.owners], dtype=bool).nonzero()[0])
    near = nearest(rest, given, seed=seed, progress=progress)
    found = near.found[np.argsort(-near.similarity[near.found], kind="stable")]
    return _first(rest, given, found, near.place[found], near.similarity[found])


def _first(own: Parts, given: Parts, places: Indices, others: Indices, similarity: Floats) -> tuple[Match, ...]:
    """Matches of parts as matches of rows, the first of each."""
    matches: dict[str, Match] = {}
    for place, other, value in zip(places, others, similarity.tolist(), strict=True):
        match = Match(own.rows[own.owners[place]].id, given.rows[given.owners[other]].id, value)
        matches.setdefault(match.held_out, match)
    return tuple(matches.values())


def leakage(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Rows of training among the held-out rows of the audit."""
    if not material.eval_rows or not material.rows:
        return
    found = leakage_between(material.rows, material.eval_rows, seed=material.seed)
    exact, near = settings.leakage_error, settings.near_leakage_error
    for code, matches, n, error in (
        ("eval_prompts_in_train", found.prompts, found.rows, exact),
        ("eval_prompts_near_train", found.near_prompts, found.rows, near),
        ("eval_answers_in_train", found.answers, found.answered, exact),
        ("eval_answers_near_train", found.near_answers, found.answered, None),
    ):
        if not n:
            continue
        shown = [{"held_out": held, "train": given, "similarity": round(share, 4)} for held, given, share in matches]
        yield share_finding(
            code,
            len(matches),
            n,
            warning=0.0,
            error=error,
            rows=[match.held_out for match in matches],
            detail=f"{len(matches):,} of {n:,} held-out rows",
            data={"matches": shown[:MOST_EXAMPLES]},
        )
