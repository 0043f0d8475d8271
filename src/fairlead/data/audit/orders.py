"""Do the preferences contradict each other: A over B and B over A, or A over B over C over A, under one prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import share_finding
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.texts import normalized

KINDS = {
    "contradictory_pairs": Kind(
        title="Contradictory pairs",
        meaning="share of the compared pairs of completions, or of the completions with thumbs, decided both ways",
        remedy="Have these judged again, or drop both: they teach the opposite of each other.",
    ),
    "preference_cycles": Kind(
        title="Preference cycles",
        meaning="share of decided comparisons that would have to be turned so that none lies on a cycle (A over B over C "
        "over A) under one prompt; an upper bound",
        remedy="Have the rows judged again, from the first that is named: with so many turned, the rest has an order.",
    ),
}

Answer = tuple[str, str]
"""A completion under its prompt, both normalised."""


def orders(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Contradictions and cycles among the comparisons with a winner, contradictions among thumbs."""
    if material.thumbs:
        yield from _thumbs(material, settings)
        return
    decided = _decided(material)
    if not decided:
        return
    yield from _contradictions(decided, settings)
    yield from _cycles(decided, settings)


@dataclass(frozen=True)
class _Pair:
    """Two completions of one prompt: the rows that say that the first is better, and those of the second."""

    first: list[str] = field(default_factory=list)
    second: list[str] = field(default_factory=list)


def _decided(material: Material) -> dict[tuple[Answer, Answer], _Pair]:
    pairs: dict[tuple[Answer, Answer], _Pair] = {}
    for place, a_wins in zip(material.pairs, material.a_wins, strict=True):
        item = material.items[place]
        prompt, a, b = normalized(item.prompt), normalized(item.a), normalized(item.b)
        if a == b:
            continue
        low, high = sorted((a, b))
        pair = pairs.setdefault(((prompt, low), (prompt, high)), _Pair())
        (pair.first if (a == low) == a_wins else pair.second).append(item.row)
    return pairs


def _contradictions(decided: dict[tuple[Answer, Answer], _Pair], settings: AuditSettings) -> Iterator[Finding]:
    torn = [pair for pair in decided.values() if pair.first and pair.second]
    often = sum(len(pair.first) + len(pair.second) > 1 for pair in decided.values())
    yield share_finding(
        "contradictory_pairs",
        len(torn),
        len(decided),
        warning=settings.contradictions_warning,
        error=settings.contradictions_error,
        rows=[row for pair in torn for row in (*pair.first, *pair.second)],
        detail=f"{len(torn):,} of {len(decided):,} compared pairs; {often:,} were decided more than once",
        data={"contradictory": len(torn), "decided_more_than_once": often},
    )


def _thumbs(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    said: dict[Answer, _Pair] = {}
    for thumb in material.thumbs:
        pair = said.setdefault((normalized(thumb.prompt), normalized(thumb.text)), _Pair())
        (pair.first if thumb.up else pair.second).append(thumb.row)
    torn = [pair for pair in said.values() if pair.first and pair.second]
    yield share_finding(
        "contradictory_pairs",
        len(torn),
        len(said),
        warning=settings.contradictions_warning,
        error=settings.contradictions_error,
        rows=[row for pair in torn for row in (*pair.first, *pair.second)],
        detail=f"{len(torn):,} of {len(said):,} completions have thumbs of both kinds",
    )


def _cycles(decided: dict[tuple[Answer, Answer], _Pair], settings: AuditSettings) -> Iterator[Finding]:
    """Of the pairs with more decisions for one side than for the other: two that are even say nothing."""
    edges: dict[tuple[Answer, Answer], list[str]] = {}
    for (one, other), pair in decided.items():
        if len(pair.first) > len(pair.second):
            edges[one, other] = pair.first
        elif len(pair.first) < len(pair.second):
            edges[other, one] = pair.second
    if not edges:
        return
    component = {answer: number for number, part in enumerate(cyclic_parts(edges)) for answer in part}
    within = [edge for edge in edges if edge[0] in component and component[edge[0]] == component.get(edge[1])]
    score = Counter(winner for winner, _ in within)
    score.subtract(loser for _, loser in within)
    # By wins less losses, then by text: what was decided against this order could be turned, and no cycle would be left.
    against = {edge for edge in within if (-score[edge[0]], edge[0]) > (-score[edge[1]], edge[1])}
    within.sort(key=lambda edge: edge not in against)
    prompts = len({winner[0] for winner, _ in within})
    yield share_finding(
        "preference_cycles",
        len(against),
        len(edges),
        warning=settings.cycles_warning,
        error=settings.cycles_error,
        rows=[row for edge in within for row in edges[edge]],
        detail=f"{len(against):,} of the {len(within):,} comparisons on cycles, of {prompts:,} prompts and {len(edges):,} "
        "comparisons in all; the rows to turn are named first",
        data={"to_turn": len(against), "on_cycles": len(within)},
    )


def cyclic_parts(edges: Iterable[tuple[Answer, Answer]]) -> list[list[Answer]]:
    """The strongly connected components with more than one member (Kosaraju's two passes), members sorted.

    Every edge within one of them lies on a cycle, and no other does.
    """
    ahead: dict[Answer, list[Answer]] = {}
    behind: dict[Answer, list[Answer]] = {}
    for one, other in edges:
        ahead.setdefault(one, []).append(other)
        behind.setdefault(other, []).append(one)
    placed: set[Answer] = set()
    found = []
    for start in reversed(_finished(ahead)):
        if start in placed:
            continue
        placed.add(start)
        part = [start]
        for here in part:  # grows while it is walked
            new = [each for each in behind.get(here, ()) if each not in placed]
            placed.update(new)
            part += new
        if len(part) > 1:
            found.append(sorted(part))
    return found


def _finished(ahead: Mapping[Answer, Sequence[Answer]]) -> list[Answer]:
    """Every answer, after all that can be reached from it and not before (depth first, without recursion)."""
    seen: set[Answer] = set()
    finished = []
    for start in ahead:
        path = [] if start in seen else [(start, iter(ahead[start]))]
        seen.add(start)
        while path:
            here, rest = path[-1]
            new = next((each for each in rest if each not in seen), None)
            if new is None:
                finished.append(here)
                path.pop()
            else:
                seen.add(new)
                path.append((new, iter(ahead.get(new, ()))))
    return finished
