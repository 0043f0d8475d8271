"""Each annotator against the rest: who labels otherwise than others, always the same, or not twice alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import Graded, below, finding, percent
from fairlead.data.audit.items import LABELS
from fairlead.data.audit.material import Indices, Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.audit.votes import Votes
from fairlead.data.records import Preference
from fairlead.stats.agreement import cohen
from fairlead.stats.intervals import wilson

KINDS = {
    "annotator_disagrees": Kind(
        title="Annotators against the rest",
        meaning="lowest agreement of one person with what most others said of the same comparisons",
        remedy="Look at the rows with that person: they may follow another rubric, or click at random. Re-label them.",
    ),
    "annotator_constant": Kind(
        title="Annotators with one answer",
        meaning="largest share of one label among a person's votes, where sides are in random order",
        remedy="Leave these votes out, and have the rows judged by someone else.",
    ),
    "self_agreement": Kind(
        title="Agreement with oneself",
        meaning="share of comparisons judged twice by one person that got the same label both times",
        remedy="Where people do not agree with themselves, the question has no stable answer: sharpen the rubric.",
    ),
}

MOST_LISTED = 50
ALPHA = 0.05
SELF_WARNING = 0.80
"""A person who labels one in five otherwise the second time cannot agree with others better than that."""


def annotators(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """What stands out about single annotators."""
    votes = material.votes
    if not votes.item.size:
        return
    yield from _against_the_rest(material, votes, settings)
    if not isinstance(material.rows[0], Preference):  # there side a is the chosen one, for everybody
        yield from _constant(material, votes, settings)
    yield from _with_themselves(votes, settings)


def _against_the_rest(material: Material, votes: Votes, settings: AuditSettings) -> Iterator[Finding]:
    place, said, others = _beside_others(votes)
    people = len(votes.annotators)
    who = votes.annotator[place]
    n = np.bincount(who, minlength=people)
    k = np.bincount(who, weights=said == others, minlength=people).astype(np.int64)
    (looked_at,) = np.nonzero(n >= settings.min_votes)
    if looked_at.size < 2:
        return
    overall = float(k.sum() / n.sum())
    bar = overall - settings.annotator_gap
    level = 1 - ALPHA / looked_at.size  # of a thousand people, fifty would stand out by chance at 95 %
    order = looked_at[np.argsort(k[looked_at] / n[looked_at], kind="stable")]
    flagged = [person for person in order if wilson(int(k[person]), int(n[person]), level).high < bar]
    size = len(LABELS)
    cells = np.bincount((who * size + said) * size + others, minlength=people * size**2)
    kappas = cohen(cells.reshape(people, size, size).astype(np.float64))
    rank = {person: position for position, person in enumerate(flagged)}
    against = [vote for vote in np.nonzero(said != others)[0] if who[vote] in rank]
    against.sort(key=lambda vote: rank[who[vote]])
    lowest = int(order[0])
    names = ", ".join(
        f"{votes.annotators[person]} {percent(k[person] / n[person])} of {n[person]:,}" for person in flagged[:5]
    )
    more = f" and {len(flagged) - 5:,} more" if len(flagged) > 5 else ""
    yield finding(
        "annotator_disagrees",
        ("warning" if flagged else "note", bar),
        float(k[lowest] / n[lowest]),
        n=int(n[lowest]),
        interval=wilson(int(k[lowest]), int(n[lowest]), level),
        rows=[material.items[votes.item[place[vote]]].row for vote in against],
        detail=f"all together agree with most others in {percent(overall)}; "
        + (f"far below: {names}{more}" if flagged else f"of {looked_at.size:,} people none stands out"),
        data={
            "overall": overall,
            "annotators": [_listed(votes, person, k, n, kappas, rank) for person in order[:MOST_LISTED]],
        },
    )


def _beside_others(votes: Votes) -> tuple[Indices, Indices, Indices]:
    """Votes on items where the other votes have one most frequent label: their places, their labels, and that label."""
    others = votes.counts[votes.item]
    others[np.arange(len(votes.item)), votes.label] -= 1
    most = others.max(axis=1)
    (place,) = np.nonzero((most > 0) & ((others == most[:, None]).sum(axis=1) == 1))
    return place, votes.label[place], others[place].argmax(axis=1)


def _listed(votes: Votes, person: int, k: Indices, n: Indices, kappas: Any, rank: dict[int, int]) -> dict[str, Any]:
    interval = wilson(int(k[person]), int(n[person]))
    kappa = float(kappas[person])
    return {
        "annotator": votes.annotators[person],
        "agreement": float(k[person] / n[person]),
        "interval": [interval.low, interval.high],
        "n": int(n[person]),
        "kappa": kappa if np.isfinite(kappa) else None,
        "flagged": person in rank,
    }


def _constant(material: Material, votes: Votes, settings: AuditSettings) -> Iterator[Finding]:
    size, people = len(LABELS), len(votes.annotators)
    given = np.bincount(votes.annotator * size + votes.label, minlength=people * size).reshape(people, size)
    n, most = given.sum(axis=1), given.max(axis=1)
    (looked_at,) = np.nonzero(n >= settings.min_votes)
    if not looked_at.size:
        return
    order = looked_at[np.argsort(-(most[looked_at] / n[looked_at]), kind="stable")]
    usual = given.sum(axis=0) / given.sum()
    # Where nearly everything is one label, giving it always is no sign of inattention.
    flagged = [
        person
        for person in order
        if most[person] / n[person] >= settings.constant_warning
        and wilson(int(most[person]), int(n[person])).low > usual[given[person].argmax()] + settings.annotator_gap
    ]
    rank = {person: position for position, person in enumerate(flagged)}
    concerned = [vote for vote in range(len(votes.item)) if votes.annotator[vote] in rank] if flagged else []
    concerned.sort(key=lambda vote: rank[votes.annotator[vote]])
    highest = int(order[0])
    names = ", ".join(
        f"{votes.annotators[person]} {LABELS[given[person].argmax()]} in {most[person]:,} of {n[person]:,}"
        for person in flagged[:5]
    )
    more = f" and {len(flagged) - 5:,} more" if len(flagged) > 5 else ""
    yield finding(
        "annotator_constant",
        ("warning" if flagged else "note", settings.constant_warning),
        float(most[highest] / n[highest]),
        n=int(n[highest]),
        interval=wilson(int(most[highest]), int(n[highest])),
        rows=[material.items[votes.item[vote]].row for vote in concerned],
        detail=f"{names}{more}" if flagged else f"none of {looked_at.size:,} people gives one label throughout",
    )


def _with_themselves(votes: Votes, settings: AuditSettings) -> Iterator[Finding]:
    if not votes.repeats:
        return
    n, k = len(votes.repeats), sum(same for _, same in votes.repeats)
    graded: Graded = below(k / n, SELF_WARNING) if n >= settings.min_votes else "note"
    yield finding(
        "self_agreement",
        graded,
        k / n,
        n=n,
        interval=wilson(k, n),
        rows=[row for row, same in votes.repeats if not same],
        detail=f"{n:,} comparisons were judged more than once by one person",
    )
