"""The audit slice: comparisons drawn for a second labelling, blind, so that agreement is known."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from fairlead.data.audit.items import items_of
from fairlead.data.audit.material import Material, hash_of
from fairlead.data.records import Edit, Judgement, Preference, Ranking, Row, Turns


def audit_slice(material: Material, size: int) -> tuple[list[Judgement], list[dict[str, Any]]]:
    """At most `size` comparisons as judgements without labels, in a random order of sides; and their labels apart.

    One comparison of a row; of a ranking, two of its candidates. All draws are hashes of the row's id and the seed:
    the slice does not depend on the order of rows, and rows that are added later leave most of it as it is.
    """
    rows = [row for row in material.ordered_rows if isinstance(row, Preference | Judgement | Edit | Ranking)]
    drawn = sorted(rows, key=lambda row: (hash_of(material.seed, row.id), row.id))[:size]
    found = [_blind(row, material.seed) for row in drawn]
    return [judgement for judgement, _ in found], [label for _, label in found]


def _blind(row: Preference | Judgement | Edit | Ranking, seed: int) -> tuple[Judgement, dict[str, Any]]:
    choices = _choices(row)
    place = hash_of(seed, f"{row.id} which") % len(choices)
    first, second = choices[place]
    verdict = items_of([row])[place].verdict
    if hash_of(seed, f"{row.id} order") % 2:
        first, second = second, first
        verdict = {"a": "b", "b": "a"}.get(verdict or "", verdict)
    judgement = Judgement(
        id=row.id,
        prompt=row.prompt,
        response_a=first,
        response_b=second,
        tools=row.tools,
        meta={key: row.meta[key] for key in ("segment",) if key in row.meta},
    )
    return judgement, {"id": row.id, "label": verdict}


def _choices(row: Row) -> list[tuple[Turns, Turns]]:
    """Every comparison of a row, in the order of its items."""
    match row:
        case Preference():
            return [(row.chosen, row.rejected)]
        case Judgement():
            return [(row.response_a, row.response_b)]
        case Edit():
            return [(row.edited, row.draft)]
        case Ranking():
            return [(one.messages, other.messages) for one, other in combinations(row.candidates, 2)]
    return []
