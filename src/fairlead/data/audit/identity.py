"""What stands in a set more than once: rows, prompts, the two sides of a pair; word for word, or nearly.

Nearly is a Jaccard similarity of `SIMILAR` over pairs of words, directly or through others (`near_duplicates`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import percent, share_finding
from fairlead.data.audit.items import completions_of
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.near_duplicates import SIMILAR, cluster
from fairlead.data.records import Candidates, Feedback, Judgement, Ranking, Row
from fairlead.data.shingles import jaccard
from fairlead.data.split import prompt_key, prompt_text, segment_of
from fairlead.data.texts import normalized

NEARLY = f"share {percent(SIMILAR)} of their word pairs (Jaccard similarity)"

KINDS = {
    "duplicate_rows": Kind(
        title="Duplicate rows",
        meaning="share of rows that repeat another: prompt, completions and label, letter case and white space apart",
        remedy="Keep one of each, or make the weight of a row say how often it counts.",
    ),
    "near_duplicate_rows": Kind(
        title="Near-duplicate rows",
        meaning=f"share of different rows whose prompt and completions each {NEARLY} with those of an earlier row",
        remedy="Keep one of each group; collect other prompts instead of more of these.",
    ),
    "near_duplicate_prompts": Kind(
        title="Near-duplicate prompts",
        meaning=f"share of different prompts that {NEARLY} with an earlier one",
        remedy="Cap the rows of a cluster, and split with `fairlead split`: it keeps a cluster on one side.",
    ),
    "prompts_across_segments": Kind(
        title="Prompts in several segments",
        meaning="share of different prompts that stand, the same or nearly, in more than one segment",
        remedy="Give a prompt one segment. Figures by segment are apart only after `fairlead split --by segment`.",
    ),
    "identical_pairs": Kind(
        title="Identical pairs",
        meaning="share of comparisons whose two completions are the same, letter case and white space apart",
        remedy="Drop them: there is nothing to learn, and the optimizer makes a full step of the noise.",
    ),
    "close_pairs": Kind(
        title="Nearly identical pairs",
        meaning=f"share of comparisons with different completions that {NEARLY}",
        remedy="Sample completions that differ more, or train with dpop, which keeps the chosen side likely.",
    ),
}

MOST_SIZES = 20


class _Prompts(NamedTuple):
    """Different prompts: `first`, the place of a row of each, and its `cluster`, [p]; `of`, that of each row, [n]."""

    first: list[int]
    cluster: list[int]
    of: list[int]


def identity(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Duplicates and near-duplicates of rows and prompts, prompts of several segments, and pairs of two alike."""
    rows = material.ordered_rows
    if not rows:
        return
    prompts = _prompts(rows, material.seed)
    different = _different(rows)
    again = sorted(set(range(len(rows))) - set(different))
    yield share_finding(
        "duplicate_rows",
        len(again),
        len(rows),
        warning=settings.duplicates_warning,
        error=settings.duplicates_error,
        rows=[rows[place].id for place in again],
        detail=f"{len(different):,} different rows among {len(rows):,}",
    )
    yield from _near_rows(rows, different, prompts, material.seed, settings)
    yield from _near_prompts(rows, prompts, settings)
    yield from _across_segments(rows, prompts, settings)
    yield from _alike(material, settings)


def _prompts(rows: Sequence[Row], seed: int) -> _Prompts:
    numbers: dict[str, int] = {}
    of = [numbers.setdefault(prompt_key(row), len(numbers)) for row in rows]
    first: dict[int, int] = {}
    for place, number in enumerate(of):
        first.setdefault(number, place)
    texts = [prompt_text(rows[place]) for place in first.values()]
    return _Prompts([*first.values()], cluster(texts, seed=seed).tolist(), of)


def _different(rows: Sequence[Row]) -> list[int]:
    """The places of the rows that repeat none before them."""
    seen: dict[tuple[object, ...], int] = {}
    for place, row in enumerate(rows):
        seen.setdefault((prompt_key(row), *_sides(row), *_said(row)), place)
    return [*seen.values()]


def _sides(row: Row) -> list[str]:
    """The completions, in an order of their own where the row's says nothing of their worth."""
    texts = [normalized(text) for text in completions_of(row)]
    return sorted(texts) if _is_unordered(row) else texts


def _is_unordered(row: Row) -> bool:
    return isinstance(row, Judgement | Ranking | Candidates)


def _said(row: Row) -> tuple[object, ...]:
    """What rows on the same completions may differ in without being the same twice: who judged, and a thumb."""
    if isinstance(row, Judgement | Ranking):
        return tuple(sorted(annotation.annotator for annotation in row.annotations))
    named = row.meta.get("annotator")
    who = () if named is None else (str(named),)
    return (row.label, *who) if isinstance(row, Feedback) else who


def _near_rows(
    rows: Sequence[Row], different: Sequence[int], prompts: _Prompts, seed: int, settings: AuditSettings
) -> Iterator[Finding]:
    """Of the rows that differ in what they say, those that nearly repeat one before them, part for part."""
    numbers: dict[str, int] = {}
    parts = {place: [numbers.setdefault(text, len(numbers)) for text in _sides(rows[place])] for place in different}
    clusters = cluster([*numbers], seed=seed).tolist()
    exact: set[tuple[int, ...]] = set()
    near: set[tuple[int, ...]] = set()
    repeats = []
    for place, sides in parts.items():
        prompt = prompts.of[place]
        if (prompt, *sides) in exact:
            continue
        exact.add((prompt, *sides))
        alike = [clusters[side] for side in sides]
        name = (prompts.cluster[prompt], *(sorted(alike) if _is_unordered(rows[place]) else alike))
        if name in near:
            repeats.append(rows[place].id)
        near.add(name)
    yield share_finding(
        "near_duplicate_rows",
        len(repeats),
        len(exact),
        warning=settings.near_duplicates_warning,
        error=settings.near_duplicates_error,
        rows=repeats,
        detail=f"{len(exact):,} rows that differ in their texts are of {len(near):,} groups",
    )


def _near_prompts(rows: Sequence[Row], prompts: _Prompts, settings: AuditSettings) -> Iterator[Finding]:
    sizes = Counter(prompts.cluster)
    repeats = [number for number, first in enumerate(prompts.cluster) if first != number]
    repeats.sort(key=lambda number: -sizes[prompts.cluster[number]])
    n = len(prompts.first)
    largest = max(sizes.values())
    yield share_finding(
        "near_duplicate_prompts",
        len(repeats),
        n,
        warning=settings.near_prompts_warning,
        error=settings.near_prompts_error,
        rows=[rows[prompts.first[number]].id for number in repeats],
        detail=f"{n:,} different prompts of {len(rows):,} rows are {len(sizes):,} clusters, the largest of {largest:,}",
        data={
            "rows": len(rows),
            "prompts": n,
            "clusters": len(sizes),
            "largest": sorted(sizes.values(), reverse=True)[:MOST_SIZES],
        },
    )


def _across_segments(rows: Sequence[Row], prompts: _Prompts, settings: AuditSettings) -> Iterator[Finding]:
    segments: dict[int, set[str]] = {}
    for row, prompt in zip(rows, prompts.of, strict=True):
        segment = segment_of(row)
        if segment is not None:
            segments.setdefault(prompts.cluster[prompt], set()).add(segment)
    if len(set().union(*segments.values())) < 2:
        return
    several = [number for number, name in enumerate(prompts.cluster) if len(segments.get(name, ())) > 1]
    pairs = Counter(" + ".join(sorted(names)) for names in segments.values() if len(names) > 1)
    often = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    yield share_finding(
        "prompts_across_segments",
        len(several),
        len(prompts.first),
        warning=settings.shared_segments_warning,
        rows=[rows[prompts.first[number]].id for number in several],
        detail=f"most often {often[0][0]}" if often else "",
        data={"segments": dict(often[:MOST_SIZES])},
    )


def _alike(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    items = material.items
    if not items:
        return
    same = [normalized(item.a) == normalized(item.b) for item in items]
    yield share_finding(
        "identical_pairs",
        sum(same),
        len(items),
        warning=settings.identical_warning,
        error=settings.identical_error,
        rows=[item.row for item, alike in zip(items, same, strict=True) if alike],
        detail=f"{sum(same):,} of {len(items):,} comparisons",
    )
    rest = [item for item, alike in zip(items, same, strict=True) if not alike]
    if not rest:
        return
    close = {place: share for place, item in enumerate(rest) if (share := jaccard(item.a, item.b)) >= SIMILAR}
    yield share_finding(
        "close_pairs",
        len(close),
        len(rest),
        warning=settings.close_pairs_warning,
        rows=[rest[place].row for place in sorted(close, key=lambda place: -close[place])],
        detail=f"{len(close):,} of {len(rest):,} comparisons",
    )
