"""Texts as sets of shingles, pairs of neighbouring words, and MinHash signatures of these sets; by numpy, in blocks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from fairlead.data.texts import normalized

Indices = NDArray[np.int64]
Hashes = NDArray[np.uint64]

MOST_TEXTS = 4096  # at a time: their numbers are the upper 12 bits of a key, the hash of a shingle the lower 52
HASH = np.uint64(52)
HASH_MASK = np.uint64((1 << 52) - 1)

_ASCII_WORD = re.compile(r"\w+")
# Chinese and Japanese put no spaces between words: each of their characters is taken for one.
_SPACELESS = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+")
_LETTER_FACTORS = np.random.default_rng(0x776F7264).integers(0, 1 << 64, size=64, dtype=np.uint64) | np.uint64(1)


def words_of(text: str) -> list[str]:
    """The words that shingles are made of: runs of letters, digits and _, in small letters.

    A text without any is one word as a whole, so that 👍 is like itself alone.
    """
    if text.isascii():
        found = _ASCII_WORD.findall(text.lower())
    else:
        found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return found or ["\0" + normalized(text)]


def shingles_of(text: str) -> frozenset[tuple[str, ...]]:
    """The pairs of neighbouring words of a text; of a text with one word, that word.

    Single words would forget their order, and of three, one other word takes half of a prompt of ten.
    """
    words = words_of(text)
    return frozenset(pairwise(words)) if len(words) > 1 else frozenset([tuple(words)])


def jaccard(one: str, other: str) -> float:
    """The Jaccard similarity |A ∩ B| / |A ∪ B| of two texts' shingles: 0 where none is shared, 1 where all are."""
    left, right = shingles_of(one), shingles_of(other)
    return len(left & right) / len(left | right)


@dataclass(frozen=True)
class Shingles:
    """The shingles of some texts as 52-bit hashes, sorted and each once, text after text.

    Those of text t are hashes[starts[t] : starts[t] + sizes[t]]; each text has one at least.
    """

    hashes: Hashes
    starts: Indices
    sizes: Indices

    def content(self) -> Hashes:
        """A 64-bit hash of each set, the same for equal sets, [n]."""
        return np.asarray(np.add.reduceat(_mixed(self.hashes), self.starts))

    def numbered(self, texts: Indices) -> Hashes:
        """The shingles of at most `MOST_TEXTS` texts, each with the number of its text in the list above its hash."""
        sizes = self.sizes[texts]
        ends = np.cumsum(sizes)
        numbers = np.repeat(np.arange(len(texts)), sizes)
        places = np.arange(ends[-1]) + (self.starts[texts] + sizes - ends)[numbers]
        return np.asarray((numbers.astype(np.uint64) << HASH) | self.hashes[places])


def hashed(texts: Sequence[str]) -> Shingles:
    """The shingles of at most `MOST_TEXTS` texts."""
    assert 0 < len(texts) <= MOST_TEXTS
    words = [words_of(text) for text in texts]
    counts = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    hashes = _hashed_words("\n".join([*chain.from_iterable(words), ""]).encode("utf-8", "surrogatepass"))
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64) << HASH, counts)
    within = np.flatnonzero(owner[1:] == owner[:-1])
    lone = np.flatnonzero((counts == 1)[(owner >> HASH).astype(np.int64)])
    pairs = _mixed(hashes[within] * np.uint64(0x9E3779B97F4A7C15) + hashes[within + 1])
    keys = np.concatenate([owner[within] | (pairs & HASH_MASK), owner[lone] | (_mixed(hashes[lone]) & HASH_MASK)])
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    sizes = np.bincount((keys >> HASH).astype(np.int64), minlength=len(texts))
    return Shingles(keys & HASH_MASK, np.cumsum(sizes) - sizes, sizes)


def joined(parts: Sequence[Shingles]) -> Shingles:
    """The shingles of all these texts, one after another."""
    before = np.cumsum([0, *(len(part.hashes) for part in parts)])
    return Shingles(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.starts + start for part, start in zip(parts, before[:-1], strict=True)]),
        np.concatenate([part.sizes for part in parts]),
    )


def _hashed_words(lines: bytes) -> Hashes:
    """64-bit hashes of words, each in a line: the sum of its bytes, each times a number that depends on its place."""
    letters = np.frombuffer(lines, dtype=np.uint8)
    ends = np.flatnonzero(letters == ord("\n")) + 1
    starts = np.concatenate([[0], ends[:-1]])
    offsets = np.arange(len(letters)) - np.repeat(starts, ends - starts)
    weighed = _LETTER_FACTORS[offsets % len(_LETTER_FACTORS)] * letters
    return _mixed(np.add.reduceat(weighed, starts))


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of splitmix64: each bit of what comes out depends on all that go in."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def hash_functions(count: int, seed: int) -> NDArray[np.uint32]:
    """Factors, odd, and summands of functions ax + b mod 2³², [2, count]."""
    drawn = np.random.default_rng([seed, 0x6D696E68]).integers(0, 1 << 32, size=(2, count), dtype=np.uint32)
    drawn[0] |= 1
    return drawn


def signatures(shingles: Shingles, functions: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """MinHash signatures [n, count]: one byte of each function's smallest hash (b-bit minwise hashing, Li, König 2010).

    Two texts of Jaccard similarity s agree in each byte with probability s + (1 − s) / 256.
    """
    values = (shingles.hashes >> np.uint64(20)).astype(np.uint32)
    found = np.empty((functions.shape[1], len(shingles.starts)), dtype=np.uint8)
    for row, factor, summand in zip(found, *functions, strict=True):
        smallest = np.minimum.reduceat(values * factor + summand, shingles.starts)
        row[:] = (smallest * np.uint32(0x9E3779B1)) >> np.uint32(24)
    return np.ascontiguousarray(found.T)
