"""Fairlead's own rows: nothing to rename, the keys say which kind a row is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.data.contract import KNOWN, REQUIRED
from fairlead.data.ledger import Note

# What makes of `messages` something else than a dialogue to imitate; read as one, bad answers would be trained on.
NOT_A_DEMONSTRATION = frozenset({"label", "kto_tag", "chosen", "rejected", "completion", "score"})
ANSWERS = frozenset({"chosen", "rejected", "completion", "response_a", "response_b", "draft", "edited"})
PLACES = frozenset({"annotations", "ranking", "best", "worst"})  # what makes a ranking of candidates


def fits(row: dict[str, Any], kind: str) -> bool:
    """Whether a row has what `kind` needs, where the user says that it is of this kind."""
    return REQUIRED[kind] <= row.keys() and (kind != "candidates" or (ANSWERS | PLACES).isdisjoint(row))


def kind_of(row: dict[str, Any]) -> str | None:
    """The kind whose keys the row has; of several the first in the order of `REQUIRED`; None where there is none."""
    for kind, required in REQUIRED.items():
        if required <= row.keys():
            if kind == "ranking" and PLACES.isdisjoint(row):
                continue
            if kind == "candidates" and not ("candidates" in row or row.keys() <= KNOWN[kind]):
                continue  # a prompt beside keys we do not know: probably an answer under another name
            if kind == "demonstration" and not NOT_A_DEMONSTRATION.isdisjoint(row):
                continue
            return kind
    return None


def detect(row: dict[str, Any]) -> bool:
    """Whether the row is in canonical shape."""
    return kind_of(row) is not None


def to_canonical(row: dict[str, Any]) -> tuple[dict[str, Any], Sequence[Note]]:
    """The row itself, unchanged."""
    return row, ()
