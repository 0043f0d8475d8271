"""Which rows make up a step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.engine.groups import PromptGroup
from fairlead.training.sources import SHARED_RUN, OfflineRows
from tests.training.small import make_groups


def opened(*sizes: int) -> list[PromptGroup]:
    """Groups with as many openings as sizes, the rows of all openings mixed."""
    openings = [f"opening {i}" for i, size in enumerate(sizes) for _ in range(size)]
    mixed = [openings[index] for index in sorted(range(len(openings)), key=lambda index: index * 7919 % 101)]
    groups = make_groups("sft", len(mixed))
    return [replace(group, opening=opening) for group, opening in zip(groups, mixed, strict=True)]


def epoch(source: OfflineRows, number: int) -> list[list[str]]:
    """Row ids of each step of an epoch."""
    first = number * source.steps_per_epoch
    return [[group.row_id for group in source.at(first + step)] for step in range(source.steps_per_epoch)]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_epoch_holds_every_row_once_in_full_batches(sizes: list[int], batch_size: int, seed: int) -> None:
    groups = opened(*sizes)
    steps = epoch(OfflineRows(groups, batch_size, seed), 1)
    assert Counter(row for step in steps for row in step) == Counter(group.row_id for group in groups)
    assert all(len(step) == batch_size for step in steps[:-1])
    assert 1 <= len(steps[-1]) <= batch_size


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_rows_with_one_opening_stay_together_in_short_runs(sizes: list[int], seed: int) -> None:
    groups = opened(*sizes)
    opening = {group.row_id: group.opening for group in groups}
    order = [row for step in epoch(OfflineRows(groups, 4, seed), 0) for row in step]
    runs = Counter(name for name, _ in groupby(order, key=opening.__getitem__))
    for index, size in enumerate(sizes):
        # Runs of one opening may happen to meet; they are never cut shorter.
        assert runs[f"opening {index}"] <= -(-size // SHARED_RUN)


def test_a_long_run_is_broken_up_so_that_steps_mix_openings() -> None:
    source = OfflineRows(opened(*[24] * 8), 24, 3)
    openings = {group.row_id: group.opening for group in source.groups}
    assert all(len({openings[row] for row in step}) > 1 for step in epoch(source, 0))


def test_a_step_depends_on_seed_and_step_alone() -> None:
    groups = opened(*[1] * 40)
    source = OfflineRows(groups, 4, 7)
    backwards = {step: source.at(step) for step in reversed(range(30))}
    assert [backwards[step] for step in range(30)] == [OfflineRows(groups, 4, 7).at(step) for step in range(30)]


def test_seeds_and_epochs_differ() -> None:
    groups = opened(*[1] * 40)
    orders = [
        tuple(map(tuple, epoch(OfflineRows(groups, 4, seed), number))) for seed in (0, 1, 2) for number in (0, 1, 2)
    ]
    assert len(set(orders)) == 9


def test_the_order_is_the_same_in_every_version() -> None:
    """A run resumed after an upgrade must meet the rows it would have met."""
    groups = [replace(group, opening=group.row_id) for group in make_groups("sft", 8)]
    assert epoch(OfflineRows(groups, 3, 11), 0) == [["r3", "r1", "r7"], ["r5", "r4", "r2"], ["r0", "r6"]]
