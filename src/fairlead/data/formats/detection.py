"""Which format a row is of: decided by its keys, once per set of keys, and then by what keys alone do not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fairlead.data.contract import REQUIRED
from fairlead.data.formats import canonical
from fairlead.data.formats.shapes import Json, Shape
from fairlead.data.formats.table import FORMATS, Format
from fairlead.data.ledger import Rejected

MOST_REMEMBERED = 4096  # sets of keys; rows of one file have few
MEDIA = ("images", "videos", "audios")
CANONICAL_KEYS = ("canonical", "trl")  # formats whose rows may be of any kind that they are said to be


class Found(NamedTuple):
    """The format and the shape that a row has, and the kind that it becomes."""

    format: str
    shape: Shape
    kind: str


class Detector:
    """Says of each row which shape it has.

    format: the only one to be tried, or `auto`. kind: where given, a shape that becomes this kind is preferred to
    others that fit as well, and a row whose keys are no more particular is taken to be of this kind.
    """

    def __init__(self, format: str, kind: str | None, formats: Mapping[str, Format] | None = None) -> None:
        self.format, self.kind = format, kind
        self._formats = FORMATS if formats is None else formats
        self._remembered: dict[tuple[str, ...], tuple[Sequence[Found], Sequence[str]]] = {}

    def find(self, row: Json) -> Found:
        """The first shape that fits the row. Raises `Rejected`: `unknown_shape`, `not_only_text`."""
        keys = tuple(row)
        known = self._remembered.get(keys)
        if known is None:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            known = self._remembered[keys] = self._possible(keys)
        possible, media = known
        for key in media:
            if type(row[key]) is list and row[key]:
                raise Rejected("not_only_text", key)
        if self.kind is not None:
            return self._of_kind(row, self.kind, possible)
        for found in possible:
            if found.shape.fits is None or found.shape.fits(row):
                return found
        raise Rejected("unknown_shape", detail=nearest_shape(row))

    def _possible(self, keys: tuple[str, ...]) -> tuple[Sequence[Found], Sequence[str]]:
        """The shapes that these keys allow, in the order of the table, and the keys that hold more than text."""
        names = frozenset(keys)
        found = []
        for name, format in self._formats.items():
            if self.format not in ("auto", name):
                continue
            for shape in format.shapes:
                if shape.named and self.format == "auto":
                    continue
                if shape.keys <= names and shape.lacks.isdisjoint(names) and (shape.when is None or shape.when(names)):
                    found.append(Found(name, shape, shape.becomes))
        return found, [key for key in MEDIA if key in names]

    def _of_kind(self, row: Json, kind: str, possible: Sequence[Found]) -> Found:
        fitting = [found for found in possible if found.shape.fits is None or found.shape.fits(row)]
        for found in fitting:
            if found.kind == kind:
                return found
        particular = [found for found in fitting if found.format not in CANONICAL_KEYS]
        if not particular and self.format in ("auto", *CANONICAL_KEYS) and canonical.fits(row, kind):
            shape = next(shape for shape in canonical.SHAPES if shape.becomes == kind)
            return Found("canonical" if self.format == "auto" else self.format, shape, kind)
        if not fitting:
            raise Rejected("unknown_shape", detail=nearest_shape(row))
        return fitting[0]


def nearest_shape(row: Json) -> str:
    """The keys of a row, and the kind of canonical row that comes nearest to them."""
    keys = ", ".join(list(row)[:8]) or "none"
    kind = max(REQUIRED, key=lambda name: len(REQUIRED[name] & row.keys()) / len(REQUIRED[name]))
    lacking = sorted(REQUIRED[kind] - row.keys())
    nearest = f"; nearest is {kind}, which also needs {', '.join(lacking)}" if lacking else f"; it might be {kind}"
    return f"its keys: {keys}" + (nearest if REQUIRED[kind] & row.keys() else "")
