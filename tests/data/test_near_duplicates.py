"""Near-duplicates: planted ones are all found, what is found is true, and nothing depends on order."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.data import near_duplicates
from fairlead.data.near_duplicates import SIMILAR, cluster, nearest
from fairlead.data.shingles import jaccard

DICE = random.Random(7)
VOCABULARY = ["".join(DICE.choices("abcdefghijklmnopqrstuvwxyz", k=DICE.randint(2, 9))) for _ in range(3000)]
few_words = st.lists(st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join), max_size=14)


def sentence(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(VOCABULARY, k=words))


def changed(text: str, dice: random.Random, count: int) -> str:
    """The text with so many of its words replaced."""
    words = text.split()
    for place in dice.sample(range(len(words)), count):
        words[place] = dice.choice(VOCABULARY)
    return " ".join(words)


def planted(count: int, seed: int = 0) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts, and the places of pairs that are near-duplicates."""
    dice = random.Random(seed)
    texts = [sentence(dice, dice.randint(14, 60)) for _ in range(count)]
    pairs = []
    for place in range(0, count, 10):
        copy = changed(texts[place], dice, max(1, len(texts[place].split()) // 20))
        if jaccard(texts[place], copy) >= SIMILAR:
            pairs.append((place, len(texts)))
            texts.append(copy)
    return texts, pairs


def components(texts: Sequence[str]) -> list[int]:
    """The clusters by comparing each with each: the oracle."""
    first = list(range(len(texts)))
    for other in range(len(texts)):
        for one in range(other):
            if jaccard(texts[one], texts[other]) >= SIMILAR:
                low, high = sorted((first[one], first[other]))
                first = [low if each == high else each for each in first]
    return first


def test_every_planted_near_duplicate_is_found_and_nothing_else() -> None:
    texts, pairs = planted(4000)
    found = cluster(texts)
    assert len(pairs) > 350
    assert all(found[one] == found[other] == one for one, other in pairs)
    assert len(np.unique(found)) == len(texts) - len(pairs)


@given(few_words)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_clusters_are_those_of_comparing_each_with_each(texts: list[str]) -> None:
    assert cluster(texts).tolist() == components(texts)


@given(few_words, few_words)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_nearest_is_that_of_comparing_each_with_each(texts: list[str], others: list[str]) -> None:
    found = nearest(texts, others)
    for text, place, similarity in zip(texts, found.place, found.similarity, strict=True):
        best = max((jaccard(text, other) for other in others), default=0.0)
        assert (place >= 0) == (best >= SIMILAR)
        if place >= 0:
            assert similarity == pytest.approx(jaccard(text, others[place]))


def test_nearest_finds_every_planted_text_and_no_other() -> None:
    texts, pairs = planted(3000, seed=1)
    copies = [other for _, other in pairs]
    strangers = [sentence(random.Random(5), 20) for _ in range(200)]
    found = nearest([*(texts[other] for other in copies), *strangers], texts[: copies[0]])
    assert found.place.tolist() == [one for one, _ in pairs] + [-1] * 200
    assert found.found.tolist() == list(range(len(pairs)))
    assert found.similarity[: len(pairs)].min() >= SIMILAR


def test_a_chain_is_one_cluster() -> None:
    dice = random.Random(2)
    chain = [sentence(dice, 40)]
    while len(chain) < 12:
        chain.append(changed(chain[-1], dice, 2))
    assert jaccard(chain[0], chain[-1]) < 0.4
    assert set(cluster([*chain, sentence(dice, 40)]).tolist()) == {0, 12}


def test_thousands_of_one_template_are_one_cluster() -> None:
    text = sentence(random.Random(3), 40)
    texts = [f"{text} {name} {name}" for name in VOCABULARY]
    assert not cluster(texts).any()


def test_pairs_hidden_in_one_template_are_found() -> None:
    """Texts that share half of their words stand in the same bands; the pairs among them are found all the same."""
    dice = random.Random(4)
    template = sentence(dice, 15)
    texts = [f"{template} {sentence(dice, 25)}" for _ in range(1500)]
    copies = [changed(text, dice, 1) for text in texts[:300]]
    found = cluster([*texts, *copies])
    assert np.array_equal(found[1500:], np.arange(300))
    assert len(np.unique(found)) == 1500


def test_the_partition_does_not_depend_on_the_order() -> None:
    texts, _ = planted(600, seed=3)
    order = random.Random(1).sample(range(len(texts)), len(texts))
    one, other = cluster(texts), cluster([texts[place] for place in order])

    def partition(labels: Sequence[int], names: Sequence[int]) -> set[frozenset[int]]:
        groups: dict[int, set[int]] = {}
        for label, name in zip(labels, names, strict=True):
            groups.setdefault(label, set()).add(name)
        return {frozenset(group) for group in groups.values()}

    assert partition(one.tolist(), range(len(texts))) == partition(other.tolist(), order)


def test_memory_that_is_bounded_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = planted(500, seed=5)
    others, _ = planted(400, seed=6)
    others += [changed(text, random.Random(9), 1) for text in texts[:50]]
    before = cluster(texts), nearest(texts, others)
    for name, value in {"MOST_KEPT": 10, "MOST_COMPARED": 256, "MOST_LETTERS": 500}.items():
        monkeypatch.setattr(near_duplicates, name, value)
    after = cluster(texts), nearest(texts, others)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1].place, after[1].place)
    assert np.array_equal(before[1].similarity, after[1].similarity)


def test_other_seeds_find_the_same() -> None:
    texts, _ = planted(600, seed=8)
    assert np.array_equal(cluster(texts, seed=0), cluster(texts, seed=1))


def test_nothing_among_nothing() -> None:
    assert cluster([]).tolist() == []
    assert nearest([], ["a"]).place.tolist() == []
    assert nearest(["a"], []).place.tolist() == [-1]
    assert cluster(["", "  ", "!", "a"]).tolist() == [0, 0, 2, 3]


def test_the_result_is_the_same_in_every_process() -> None:
    program = (
        "from fairlead.data.shingles import hash_functions, hashed, signatures\n"
        "print(signatures(hashed(['one two three', 'é']), hash_functions(8, 1)).tolist())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
