"""The formats that are read, in one table: a new one is a module with `detect` and `to_canonical`, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.data.formats import canonical, trl
from fairlead.data.ledger import Note


@dataclass(frozen=True, kw_only=True)
class Format:
    """How rows of one format are recognised and brought into canonical shape.

    detect: whether a row is of this format; looks at keys and types, never raises. to_canonical: the row in canonical
    shape and what was changed in it; pure, leaves its argument alone, raises `Rejected` where it would have to guess.
    Neither checks what `fairlead.data.contract` checks.
    """

    detect: Callable[[dict[str, Any]], bool]
    to_canonical: Callable[[dict[str, Any]], tuple[dict[str, Any], Sequence[Note]]]


# In the order in which they are tried: the more particular first.
FORMATS: dict[str, Format] = {
    "canonical": Format(detect=canonical.detect, to_canonical=canonical.to_canonical),
    "trl": Format(detect=trl.detect, to_canonical=trl.to_canonical),
}
