"""Is there a gap to learn from: ties, split votes, and how strong the preferences are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import above, finding, percent, share_finding
from fairlead.data.audit.items import Item
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.records import Preference
from fairlead.stats.intervals import wilson

KINDS = {
    "ties": Kind(
        title="Ties",
        meaning="share of judged comparisons whose verdict is a tie or both bad: they make no pair",
        remedy="Sample completions that differ more (hotter, or from two models), or say in the rubric what decides.",
    ),
    "split_votes": Kind(
        title="Split votes",
        meaning="share of comparisons with several votes where no label has more than half of them",
        remedy="Have these judged again by someone who settles them, and add the deciding criterion to the rubric.",
    ),
    "weak_preferences": Kind(
        title="Weak preferences",
        meaning="share of pairs won by at most three fifths of three votes or more, or by the smallest strength given",
        remedy="Prefer pairs with a clear winner; give the others a small margin or weight.",
    ),
    "label_balance": Kind(
        title="Balance of thumbs",
        meaning="share of thumbs that point the more frequent way",
        remedy="Collect more of the rarer label, or weight the two (desirable_weight, undesirable_weight).",
    ),
}

NARROW = 0.6
SCORES = ("score_chosen", "score_rejected")


def gap(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Ties, split votes and weak preferences of comparisons; the balance of thumbs."""
    yield from _ties(material, settings)
    yield from _split_votes(material, settings)
    yield from _weak(material, settings)
    yield from _balance(material, settings)


def _ties(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    if material.items and isinstance(material.rows[0], Preference):
        scored = [row for row in material.ordered_rows if isinstance(row, Preference) and _difference(row) is not None]
        tied = [row.id for row in scored if _difference(row) == 0]
        if scored:
            yield share_finding(
                "ties",
                len(tied),
                len(scored),
                warning=settings.ties_warning,
                error=settings.ties_error,
                rows=tied,
                detail="pairs whose margin is 0 or whose two scores are equal, of those that state them",
                data={"verdicts": {"tie": len(tied), "preferred": len(scored) - len(tied)}},
            )
        return
    verdicts = Counter(verdict for verdict in material.verdicts if verdict is not None)
    judged = verdicts.total()
    if not judged:
        return
    undecided = [
        item.row
        for item, verdict in zip(material.items, material.verdicts, strict=True)
        if verdict in ("tie", "both_bad")
    ]
    yield share_finding(
        "ties",
        verdicts["tie"] + verdicts["both_bad"],
        judged,
        warning=settings.ties_warning,
        error=settings.ties_error,
        rows=undecided,
        detail=f"{verdicts['tie']:,} ties and {verdicts['both_bad']:,} both bad of {judged:,} verdicts",
        data={"verdicts": dict(sorted(verdicts.items()))},
    )


def _difference(row: Preference) -> float | None:
    """By how much the chosen side is better, where the row says so."""
    if row.margin is not None:
        return row.margin
    scores = [row.meta.get(name) for name in SCORES]
    if all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores):
        return float(scores[0]) - float(scores[1])  # type: ignore[arg-type]
    return None


def _split_votes(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    several = [item for item in material.items if len(item.votes) > 1]
    if not several:
        return
    split = [
        item.row for item in several if 2 * max(Counter(vote.label for vote in item.votes).values()) <= len(item.votes)
    ]
    yield share_finding(
        "split_votes",
        len(split),
        len(several),
        warning=settings.split_votes_warning,
        error=settings.split_votes_error,
        rows=split,
        detail=f"{len(split):,} of {len(several):,} comparisons with two votes or more have no majority",
    )


def _weak(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Narrow majorities where items have three votes, else the smallest step of the strengths that were given."""
    pairs = [material.items[place] for place in material.pairs]
    voted = [(item, share) for item in pairs if (share := _winning_share(item)) is not None]
    if voted:
        weak = [item.row for item, share in sorted(voted, key=lambda each: each[1]) if share <= NARROW]
        n, how = len(voted), f"won by at most {percent(NARROW)} of three votes or more"
    else:
        strengths = {place: strength for place, item in enumerate(pairs) if (strength := _strength(item))}
        steps = sorted(set(strengths.values()))
        if not 2 <= len(steps) <= 10:  # one step, or a measure without steps, has no smallest one
            return
        weak = [pairs[place].row for place, strength in strengths.items() if strength == steps[0]]
        n, how = len(strengths), f"of strength {steps[0]:g}, the smallest of {len(steps)} that were given"
    graded = above(len(weak) / n, settings.weak_warning)
    yield finding(
        "weak_preferences",
        graded,
        len(weak) / n,
        n=n,
        interval=wilson(len(weak), n),
        rows=weak,
        detail=f"{len(weak):,} of {n:,} pairs are {how}",
    )


def _winning_share(item: Item) -> float | None:
    """The winner's share of the votes, from the annotations or from `meta.votes`; None with fewer than three."""
    counts = Counter(vote.label for vote in item.votes)
    given = item.meta.get("votes")
    if not counts and isinstance(given, dict) and all(type(count) is int for count in given.values()):
        counts = Counter(given)
    if counts.total() < 3:
        return None
    return max(counts["a"], counts["b"]) / counts.total()


def _strength(item: Item) -> float | None:
    given = [abs(vote.strength) for vote in item.votes if vote.strength]
    return float(np.mean(given)) if given else abs(item.margin) if item.margin else None


def _balance(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    thumbs = material.thumbs
    if not thumbs:
        return
    up = sum(thumb.up for thumb in thumbs)
    most = max(up, len(thumbs) - up)
    yield share_finding(
        "label_balance",
        most,
        len(thumbs),
        warning=settings.label_balance_warning,
        detail=f"{up:,} thumbs up, {len(thumbs) - up:,} down",
        data={"up": up, "down": len(thumbs) - up},
    )
