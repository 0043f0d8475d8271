"""Rows that hold pieces of public test sets: training on them makes the test worthless."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import share_finding
from fairlead.data.audit.items import texts_of
from fairlead.data.audit.material import Material
from fairlead.data.audit.ngrams import HashedWords, Hashes, Words, chunks, hashed
from fairlead.data.audit.settings import AuditSettings

KINDS = {
    "contamination": Kind(
        title="Contamination with test sets",
        meaning="share of rows with an n-gram of words in common with a file of --against, or a text of it whole",
        remedy="Leave these rows out before training, or do not report the test.",
    ),
}

LEAST_WORDS = 5
"""Words of a test text that must stand in a row whole to count where it is shorter than the n-gram."""


def contamination(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Rows that overlap with the texts of `material.against`."""
    if not material.against or not material.rows:
        return
    n, memory = settings.overlap_words, Words()
    parts: dict[int, list[Hashes]] = {}
    for texts in chunks(material.against):
        for size, fingerprints in _fingerprints(hashed(texts, memory), n).items():
            parts.setdefault(size, []).append(fingerprints)
    known = {size: np.unique(np.concatenate(each)) for size, each in parts.items()}
    found: dict[str, int] = {}
    rows = material.ordered_rows
    for start in range(0, len(rows), 500):
        part = rows[start : start + 500]
        owners = [row.id for row in part for _ in texts_of(row)]
        words = hashed([text for row in part for text in texts_of(row)], memory)
        for size, fingerprints in known.items():
            grams = words.grams(size)
            hits = grams.text[_is_in(grams.word, fingerprints)]
            for place, count in zip(*np.unique(hits, return_counts=True), strict=True):
                found[owners[place]] = found.get(owners[place], 0) + int(count) * size
    worst = sorted(found, key=lambda name: (-found[name], name))
    yield share_finding(
        "contamination",
        len(worst),
        len(rows),
        warning=settings.contamination_warning,
        error=settings.contamination_error,
        rows=worst,
        detail=f"{len(worst):,} rows share {n} words in a row with one of {len(material.against):,} texts, or hold a "
        f"shorter one of at least {LEAST_WORDS} words whole",
    )


def _fingerprints(words: HashedWords, n: int) -> dict[int, Hashes]:
    """Hashes to look for, by the number of words they are of: all n-grams, and texts shorter than that whole."""
    lengths = np.bincount(words.text) if words.text.size else np.empty(0, dtype=np.int64)
    found = {n: words.grams(n).word}
    for size in range(LEAST_WORDS, n):
        grams = words.grams(size)
        found[size] = grams.word[lengths[grams.text] == size]
    return {size: hashes for size, hashes in found.items() if hashes.size}


def _is_in(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    place = np.minimum(np.searchsorted(known, hashes), known.size - 1)
    return np.asarray(known[place] == hashes)
