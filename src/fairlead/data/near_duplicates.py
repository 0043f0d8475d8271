"""Near-duplicates: texts that share most of their word pairs, found without comparing each text with each other.

Two texts are near duplicates from a Jaccard similarity |A ∩ B| / |A ∪ B| of `SIMILAR` on, of the sets of their pairs of
neighbouring words, letter case and punctuation apart. Candidates come from MinHash signatures (Broder 1997) in bands
(Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4); a candidate counts only if its Jaccard similarity,
computed over the whole sets, is large enough. So what is found is right, and what is missed is known: bands miss a pair
of similarity s with probability (1 − s⁴)³²: 0.02 % at 0.7, 0.0005 % at 0.75, 0.000005 % at 0.8.

What is found depends on the texts and the seed, not on the order of the texts nor on the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.data.shingles import HASH, MOST_TEXTS, Indices, Shingles, hash_functions, hashed, joined, signatures
from fairlead.progress import SILENT, Progress

Pairs = tuple[Indices, Indices]

SIMILAR = 0.7  # one word in 13 is another, or two in 26; a lower one joins texts that only share a template
BAND = 4  # signatures are bytes, so that a band is one 32-bit number
BANDS = 32  # with four to a band: see the probabilities above; twice as many would double the time for little
HASHES = BAND * BANDS
PLAUSIBLE = HASHES // 2  # equal hashes from which a pair is looked at: 5 standard errors under what 0.7 gives
NEIGHBOURS = 16  # compared with each text in each band: bounds the work where thousands share a template
MOST_LETTERS = 1 << 22  # hashed at a time
MOST_KEPT = 1 << 25  # shingles kept to compare (256 MiB); those of larger collections are made again
MOST_COMPARED = 1 << 21  # shingles, or bytes of signatures, compared at a time, but for a pair that has more


def cluster(texts: Sequence[str], *, seed: int = 0, progress: Progress = SILENT) -> Indices:
    """For each text the place of the first text of its cluster, [n]: near-duplicates, and theirs, are one cluster.

    seed: of the hash functions. `texts` may make each text when it is asked for; beside it, about 200 bytes per text
    are held, and 8 per shingle up to `MOST_KEPT` of them.
    """
    if not len(texts):
        return np.zeros(0, dtype=np.int64)
    index = _Index(texts, seed, progress)
    roots = np.arange(len(index.first))
    for band in range(BANDS):
        for left, right in index.neighbours(band):
            apart = roots[left] != roots[right]
            left, right = index.plausible(left[apart], right[apart])
            similar = index.similarities(left, right) >= SIMILAR
            roots = _merged(roots, left[similar], right[similar])
    members = roots[index.place]
    first = np.full(len(roots), len(texts))
    np.minimum.at(first, members, np.arange(len(texts)))
    return np.asarray(first[members])


def _merged(roots: Indices, left: Indices, right: Indices) -> Indices:
    """The smallest member of the component of each, where left and right are joined to those that `roots` says."""
    while True:
        one, other = roots[left], roots[right]
        apart = one != other
        if not apart.any():
            return roots
        roots = roots.copy()
        np.minimum.at(roots, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
        while not np.array_equal(further := roots[roots], roots):
            roots = further


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """For each text the place of a near-duplicate among the others, −1 where none was found, and their similarity."""

    place: Indices
    similarity: NDArray[np.float64]

    @property
    def found(self) -> Indices:
        """Places of the texts that have one."""
        return np.flatnonzero(self.place >= 0)


def nearest(texts: Sequence[str], others: Sequence[str], *, seed: int = 0, progress: Progress = SILENT) -> Nearest:
    """For each of `texts` a near-duplicate among `others`: the most similar one of the first band that holds any.

    seed and memory as in `cluster`, of texts and others together.
    """
    if not len(texts) or not len(others):
        return Nearest(place=np.full(len(texts), -1), similarity=np.zeros(len(texts)))
    index = _Index(_Both(texts, others), seed, progress)
    own, given = index.place[: len(texts)], index.place[len(texts) :]
    first = np.full(len(index.first), len(others))
    np.minimum.at(first, given, np.arange(len(others)))
    is_own, is_given = np.zeros(len(first), dtype=bool), first < len(others)
    is_own[own] = True
    found = np.where(is_own & is_given, np.arange(len(first)), -1)
    similarity = np.where(found >= 0, 1.0, 0.0)
    for band in range(BANDS):
        left, right = index.across(band, np.flatnonzero(is_own & (found < 0)), np.flatnonzero(is_given))
        left, right = index.plausible(left, right)
        shared = index.similarities(left, right)
        order = np.lexsort((-right, shared))  # of several for one, the last is kept: the most similar
        order = order[shared[order] >= SIMILAR]
        found[left[order]], similarity[left[order]] = right[order], shared[order]
    return Nearest(place=np.where(found[own] >= 0, first[found[own]], -1), similarity=similarity[own])


class _Both(Sequence[str]):
    """Two sequences laid end to end, without a copy."""

    def __init__(self, one: Sequence[str], other: Sequence[str]) -> None:
        self._one, self._other = one, other

    def __len__(self) -> int:
        return len(self._one) + len(self._other)

    def __getitem__(self, place: Any) -> Any:
        assert isinstance(place, int)
        return self._one[place] if place < len(self._one) else self._other[place - len(self._one)]


class _Index:
    """The distinct sets of shingles of some texts, in an order that depends on the sets alone, with signatures.

    place: the number of each text's set, [n]. first: a text of each set, [u]. The methods speak of sets by number.
    """

    def __init__(self, texts: Sequence[str], seed: int, progress: Progress) -> None:
        self._texts = texts
        self._sizes = np.empty(len(texts), dtype=np.int64)
        self._signatures = np.empty((len(texts), HASHES), dtype=np.uint8)
        self._kept: Shingles | None = None
        content = self._hash(seed, progress)
        self._keys = self._signatures.view(np.uint32)
        _, first, place = np.unique(content, return_index=True, return_inverse=True)
        self.first, self.place = first.astype(np.int64), place.astype(np.int64)

    def _hash(self, seed: int, progress: Progress) -> NDArray[np.uint64]:
        """A hash of each text's set; fills what the index holds of it."""
        content = np.empty(len(self._texts), dtype=np.uint64)
        functions = hash_functions(HASHES, seed)
        kept: list[Shingles] = []
        start = held = 0
        with progress.task("compare texts", total=len(self._texts), unit="texts") as task:
            for block in _blocks(self._texts):
                shingles, end = hashed(block), start + len(block)
                content[start:end], self._sizes[start:end] = shingles.content(), shingles.sizes
                self._signatures[start:end] = signatures(shingles, functions)
                held += len(shingles.hashes)
                if held <= MOST_KEPT:
                    kept.append(shingles)
                else:
                    kept.clear()
                start = end
                task.advance(len(block))
        if held <= MOST_KEPT:
            self._kept = joined(kept)
        return content

    def _key(self, band: int, sets: Indices) -> NDArray[np.uint32]:
        return np.asarray(self._keys[self.first[sets], band % BANDS])

    def neighbours(self, band: int) -> Iterator[Pairs]:
        """Sets that are alike in a band: each with the next few of them, those first that the next bands hold alike."""
        key = self._keys[self.first, band]
        order = np.argsort(key)
        again = key[order[1:]] == key[order[:-1]]
        members = order[np.append(again, False) | np.insert(again, 0, False)]
        members = members[np.lexsort((self._key(band + 2, members), self._key(band + 1, members), key[members]))]
        key = key[members]
        for distance in range(1, NEIGHBOURS + 1):
            same = key[distance:] == key[:-distance]
            if not same.any():
                return
            yield members[:-distance][same], members[distance:][same]

    def across(self, band: int, left: Indices, right: Indices) -> Pairs:
        """Sets on the left, each with sets on the right that are alike in a band, by the next band the nearest."""
        own, other = (
            self._key(band, side).astype(np.uint64) << np.uint64(32) | self._key(band + 1, side)
            for side in (left, right)
        )
        order = np.argsort(other)
        other = other[order]
        at = np.searchsorted(other, own)
        found: list[Pairs] = []
        for distance in range(-NEIGHBOURS // 2, NEIGHBOURS // 2):
            mine = np.flatnonzero((at + distance >= 0) & (at + distance < len(other)))
            theirs = at[mine] + distance
            alike = own[mine] >> np.uint64(32) == other[theirs] >> np.uint64(32)
            found.append((left[mine[alike]], right[order[theirs[alike]]]))
        lefts, rights = (np.concatenate(side) for side in zip(*found, strict=True))
        return lefts, rights

    def plausible(self, left: Indices, right: Indices) -> Pairs:
        """The pairs whose signatures do not speak against them."""
        keep = np.empty(len(left), dtype=bool)
        step = MOST_COMPARED // HASHES
        for start in range(0, len(left), step):
            one, other = (self._signatures[self.first[side[start : start + step]]] for side in (left, right))
            keep[start : start + step] = np.count_nonzero(one == other, axis=1) >= PLAUSIBLE
        return left[keep], right[keep]

    def similarities(self, left: Indices, right: Indices) -> NDArray[np.float64]:
        """The Jaccard similarity of each pair."""
        total = np.cumsum(self._sizes[self.first[left]] + self._sizes[self.first[right]])
        found = np.empty(len(left))
        start = done = 0
        while start < len(left):
            end = max(start + 1, min(start + MOST_TEXTS, int(np.searchsorted(total, done + MOST_COMPARED))))
            found[start:end] = self._compare(self.first[left[start:end]], self.first[right[start:end]])
            start, done = end, int(total[end - 1])
        return found

    def _compare(self, left: Indices, right: Indices) -> NDArray[np.float64]:
        """The same of texts, a few at a time."""
        one, other = self._numbered(left), self._numbered(right)
        keys = np.sort(np.concatenate([one, other]))
        again = keys[1:] == keys[:-1]
        shared = np.bincount((keys[1:][again] >> HASH).astype(np.int64), minlength=len(left))
        return np.asarray(shared / (self._sizes[left] + self._sizes[right] - shared))

    def _numbered(self, texts: Indices) -> NDArray[np.uint64]:
        if self._kept is not None:
            return self._kept.numbered(texts)
        return hashed([self._texts[place] for place in texts.tolist()]).numbered(np.arange(len(texts)))


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    block: list[str] = []
    letters = 0
    for place in range(len(texts)):
        block.append(texts[place])
        letters += len(block[-1])
        if len(block) == MOST_TEXTS or letters > MOST_LETTERS:
            yield block
            block, letters = [], 0
    if block:
        yield block
