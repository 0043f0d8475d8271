"""Splits: stable, without leakage, by prompt and by segment."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.data.records import Demonstration, Edit, Message, Preference
from fairlead.data.split import count_shared_prompts, prompt_key, prompt_of, split
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
