"""Splits: stable, without leakage, by prompt and by segment."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.data.near_duplicates import nearest
from fairlead.data.records import Demonstration, Edit, Message, Preference
from fairlead.data.split import Split, count_shared_prompts, prompt_key, prompt_of, prompt_text, split
from fairlead.errors import ConfigError, DataError


def turn(role: str, content: str) -> tuple[Message, ...]:
    return (Message(role=role, content=content),)


def pair(name: str, prompt: str, segment: str | None = None) -> Preference:
    meta = {} if segment is None else {"segment": segment}
    return Preference(
        id=name, prompt=turn("user", prompt), chosen=turn("assistant", "a"), rejected=turn("assistant", name), meta=meta
    )


ROWS = [pair(f"r{n}", f"question {n % 400}", f"s{n % 7}") for n in range(1000)]
some_rows = st.lists(
    st.builds(pair, st.text(max_size=3), st.sampled_from(["A  b", "a B", "c", "d", "E", "f"]), st.sampled_from("xyz"))
)


def test_about_the_fraction_asked_for_and_nothing_lost() -> None:
    parts = split(ROWS, fraction=0.2)
    assert sorted(row.id for row in parts.train + parts.held_out) == sorted(row.id for row in ROWS)
    assert 0.14 < len(parts.held_out) / len(ROWS) < 0.26
    train = {row.id for row in parts.train}
    assert list(parts.train) == [row for row in ROWS if row.id in train]


@given(some_rows, st.floats(0, 0.99), st.integers(0, 3), st.sampled_from(["prompt", "segment"]))
@settings(max_examples=80, deadline=None)
def test_equal_prompts_never_straddle(rows: list[Preference], fraction: float, seed: int, by: str) -> None:
    parts = split(rows, fraction=fraction, seed=seed, by=by)  # type: ignore[arg-type]
    assert count_shared_prompts(parts.train, parts.held_out) == 0
    assert len(parts.train) + len(parts.held_out) == len(rows)


def test_a_row_stays_on_its_side_when_others_are_added_or_shuffled() -> None:
    small = {row.id for row in split(ROWS[:300], fraction=0.3, seed=5).held_out}
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    large = {row.id for row in split(shuffled, fraction=0.3, seed=5).held_out}
    assert small == large & {row.id for row in ROWS[:300]}


def test_sides_are_fixed_across_versions_and_machines() -> None:
    held = [row.id for row in split(ROWS[:40], fraction=0.1, seed=0).held_out]
    assert held == ["r1", "r2", "r26", "r32", "r34", "r36", "r37"]


def test_another_seed_gives_another_split() -> None:
    one, other = split(ROWS, fraction=0.3, seed=0), split(ROWS, fraction=0.3, seed=1)
    assert {row.id for row in one.held_out} != {row.id for row in other.held_out}


def test_a_larger_fraction_holds_out_more_of_the_same() -> None:
    small, large = ({row.id for row in split(ROWS, fraction=fraction).held_out} for fraction in (0.1, 0.4))
    assert small < large


def test_whole_segments_are_held_out() -> None:
    rows = [pair(f"r{n}", f"question {n}", f"s{n % 50}") for n in range(500)]
    parts = split(rows, fraction=0.3, by="segment")
    segments = {row.meta["segment"] for row in parts.held_out}
    assert 5 < len(segments) < 27
    assert segments.isdisjoint({row.meta["segment"] for row in parts.train})


def test_a_prompt_of_a_held_out_segment_is_held_out_everywhere() -> None:
    rows = [
        pair("a", "Shared  prompt", "billing"),
        pair("b", "shared prompt", "delivery"),
        pair("c", "own", "delivery"),
    ]
    parts = split(rows, fraction=0.0, by="segment", held_out_segments=["billing"])
    assert [row.id for row in parts.held_out] == ["a", "b"]


def test_segments_and_prompts_together() -> None:
    parts = split(ROWS, fraction=0.2, held_out_segments=["s3"])
    assert {row.id for row in split(ROWS, fraction=0.2).held_out} < {row.id for row in parts.held_out}
    assert "s3" not in {row.meta["segment"] for row in parts.train}


def test_the_prompt_of_a_demonstration_ends_before_its_first_trained_turn() -> None:
    messages = (
        *turn("user", "a"),
        Message(role="assistant", content="b", train=False),
        *turn("user", "c"),
        *turn("assistant", "d"),
    )
    row = Demonstration(id="x", messages=messages)
    assert prompt_of(row) == messages[:3]


def test_the_key_folds_case_and_white_space_and_nothing_else() -> None:
    edit = Edit(id="x", prompt=turn("user", " A\tb\n"), draft=turn("assistant", "c"), edited=turn("assistant", "d"))
    assert prompt_key(edit) == prompt_key(pair("y", "a B"))
    assert prompt_key(edit) != prompt_key(pair("y", "ab"))


def question(number: int, variant: int) -> str:
    """A question of 16 words; its variants differ in one word and are near-duplicates of each other."""
    words = [f"w{number}x{place}" for place in range(16)]
    words[15] += f"v{variant}" if variant else ""
    return " ".join(words)


FAMILIES = [pair(f"{n}-{v}", question(n, v), f"s{n % 5}") for n in range(300) for v in range(1 + n % 4)]


def sides(parts: Split[Preference]) -> dict[str, bool]:
    """Whether each row is held out, by id."""
    return {row.id: held for held, rows in enumerate((parts.train, parts.held_out)) for row in rows}


def moved(before: Split[Preference], after: Split[Preference]) -> int:
    """How many rows changed sides."""
    earlier, later = sides(before), sides(after)
    return sum(later[name] != held for name, held in earlier.items())


@pytest.mark.parametrize("options", [{}, {"stratify": True}, {"by": "segment"}, {"held_out_segments": ["s3"]}])
def test_near_duplicates_stay_together(options: dict[str, Any]) -> None:
    parts = split(FAMILIES, fraction=0.3, near_duplicates=True, **options)
    assert len(parts.train) + len(parts.held_out) == len(FAMILIES)
    assert parts.held_out
    assert (parts.prompts, parts.clusters, parts.largest_cluster) == (len(FAMILIES), 300, 4)
    texts = [[prompt_text(row) for row in rows] for rows in (parts.held_out, parts.train)]
    assert not len(nearest(*texts, seed=9).found)
    apart = split(FAMILIES, fraction=0.3)
    texts = [[prompt_text(row) for row in rows] for rows in (apart.held_out, apart.train)]
    assert len(nearest(*texts, seed=9).found) > 50
    assert (apart.prompts, apart.clusters, apart.largest_cluster) == (len(FAMILIES), len(FAMILIES), 1)


def test_a_prompt_without_near_duplicates_has_the_same_side_with_and_without_them() -> None:
    lone = {row.id for row in FAMILIES if row.id.endswith("-0") and int(row.id[:-2]) % 4 == 0}
    near, exact = (sides(split(FAMILIES, fraction=0.3, near_duplicates=choice)) for choice in (True, False))
    assert {name: near[name] for name in lone} == {name: exact[name] for name in lone}


def test_the_order_of_rows_decides_nothing() -> None:
    shuffled = random.Random(4).sample(FAMILIES, len(FAMILIES))
    for options in ({"near_duplicates": True}, {"near_duplicates": True, "stratify": True}):
        assert sides(split(FAMILIES, fraction=0.3, **options)) == sides(split(shuffled, fraction=0.3, **options))


def test_prompts_of_other_clusters_move_none() -> None:
    """Stable: rows that are no near-duplicates of a cluster never move it."""
    added = [pair(f"new{n}", question(1000 + n, 0)) for n in range(400)]
    before = split(FAMILIES, fraction=0.3, near_duplicates=True)
    assert moved(before, split([*FAMILIES, *added], fraction=0.3, near_duplicates=True)) == 0


def test_a_cluster_moves_only_if_a_prompt_that_is_added_comes_first_in_it() -> None:
    """One more in each cluster of m comes first with probability 1 / (m + 1), and moves it with 2 · 0.3 · 0.7."""
    added = [pair(f"new{n}", question(n, 9)) for n in range(300)]
    before = split(FAMILIES, fraction=0.3, near_duplicates=True)
    after = split([*FAMILIES, *added], fraction=0.3, near_duplicates=True)
    firsts: dict[int, str] = {}
    for n in range(300):
        keys = {prompt_key(row): row.id for row in [*FAMILIES, *added] if row.id.split("-")[0] in (f"{n}", f"new{n}")}
        firsts[n] = keys[min(keys)]
    earlier, later = sides(before), sides(after)
    gone = {int(name.split("-")[0]) for name in earlier if earlier[name] != later[name]}
    assert gone
    assert all(firsts[n] == f"new{n}" for n in gone)
    assert len(gone) < 0.25 * 300


def test_the_same_fraction_of_each_segment() -> None:
    rows = [pair(f"r{n}", f"question {n}", f"s{n % 10 // 4}") for n in range(500)]
    parts = split(rows, fraction=0.1, stratify=True)
    held = Counter(row.meta["segment"] for row in parts.held_out)
    assert held == {"s0": 20, "s1": 20, "s2": 10}


def test_each_prompt_added_to_a_segment_moves_at_most_one_other() -> None:
    rows = [pair(f"r{n}", f"question {n}", f"s{n % 3}") for n in range(200)]
    before = split(rows, fraction=0.25, stratify=True)
    total = 0
    for number in range(60):
        rows.append(pair(f"r{200 + number}", f"question {200 + number}", f"s{number % 4}"))
        after = split(rows, fraction=0.25, stratify=True)
        assert moved(before, after) <= 1
        total += moved(before, after)
        before = after
    assert total < 30


def test_the_text_of_a_prompt_leaves_the_system_turn_out() -> None:
    prompt = (*turn("system", "Be kind."), *turn("user", "a"), *turn("assistant", "b"), *turn("user", "c"))
    row = Edit(id="x", prompt=prompt, draft=turn("assistant", "d"), edited=turn("assistant", "e"))
    assert prompt_text(row) == "a\nb\nc"
    assert prompt_text(pair("y", " A ")) == " A "


def test_all_faults_of_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match=r"2 faults\n.*fraction: 2(.|\n)*stratify: whole segments"):
        split(ROWS, fraction=2, by="segment", stratify=True)
    with pytest.raises(DataError, match="row 'q' has no segment"):
        split([pair("q", "x")], fraction=0.1, stratify=True)


def test_arguments_out_of_range() -> None:
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="fraction"):
            split(ROWS, fraction=fraction)
    with pytest.raises(ConfigError, match="'day' is not known"):
        split(ROWS, fraction=0.1, by="day")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"no row is in the segment 's33'\. Did you mean 's3'\?"):
        split(ROWS, fraction=0.1, held_out_segments=["s33"])
    with pytest.raises(DataError, match="row 'q' has no segment"):
        split([*ROWS, pair("q", "x")], fraction=0.1, by="segment")
