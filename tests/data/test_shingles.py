"""Shingles: the vectorised sets and signatures against Python's own sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.data.shingles import hash_functions, hashed, jaccard, joined, shingles_of, signatures, words_of

few_words = st.lists(st.sampled_from(["a", "b", "c", "dd", "É", "世界", "!"]), max_size=8).map(" ".join)
some_texts = st.lists(
    st.one_of(st.text(max_size=20), few_words),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Where's my Order #12?", ["where", "s", "my", "order", "12"]),
        ("STRASSE Straße ﬁn", ["strasse", "strasse", "fin"]),
        ("東京 is かな", ["東", "京", "is", "か", "な"]),
        (" 👍  👍", ["\0👍 👍"]),
        ("", ["\0"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_text_that_is_composed_otherwise_has_the_same_words() -> None:
    assert words_of("caf\u00e9 noir") == words_of("cafe\u0301 noir")


def test_jaccard_by_hand() -> None:
    assert jaccard("one two three four", "One, two -- three; FOUR!") == 1
    assert jaccard("one two three four", "one two three five") == 2 / 4
    assert jaccard("one two", "two one") == 0
    assert jaccard("one", "one") == 1
    assert jaccard("👍", "👎") == 0


@given(some_texts)
@settings(max_examples=150, deadline=None)
def test_hashed_sets_are_the_sets(texts: list[str]) -> None:
    found = hashed(texts)
    by_text = [set(found.hashes[start : start + size]) for start, size in zip(found.starts, found.sizes, strict=True)]
    sets = [shingles_of(text) for text in texts]
    assert [len(each) for each in by_text] == [len(each) for each in sets] == found.sizes.tolist()
    content = found.content()
    for one in range(len(texts)):
        for other in range(one):
            assert len(by_text[one] & by_text[other]) == len(sets[one] & sets[other])
            assert (content[one] == content[other]) == (sets[one] == sets[other])


def test_hashes_do_not_depend_on_what_stands_beside() -> None:
    texts = [f"word{n} and word{n + 1} or {'x' * (n % 90)}" for n in range(200)]
    together = hashed(texts)
    apart = joined([hashed([text]) for text in texts])
    assert np.array_equal(together.hashes, apart.hashes)
    assert np.array_equal(together.starts, apart.starts)
    assert np.array_equal(together.numbered(np.array([3, 1])), apart.numbered(np.array([3, 1])))


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8])
def test_signatures_agree_as_often_as_the_sets_are_similar(similarity: float) -> None:
    shared, own = round(200 * similarity), round(100 * (1 - similarity))
    common = [f"s{n} t{n}" for n in range(shared)]
    one, other = (" ".join([*common, *(f"{side}{n} {side}" for n in range(own))]) for side in "ab")
    shingles = hashed([one, other])
    agreeing = signatures(shingles, hash_functions(4096, seed=3))
    true = jaccard(one, other)
    expected = true + (1 - true) / 256
    error = np.sqrt(expected * (1 - expected) / 4096)
    assert abs(np.mean(agreeing[0] == agreeing[1]) - expected) < 4 * error


def test_words_longer_than_the_table_of_factors_differ_by_their_order() -> None:
    one, other = "a" * 64 + "b" * 64 + "c", "b" * 64 + "a" * 64 + "d"
    assert hashed([one]).hashes != hashed([other]).hashes
