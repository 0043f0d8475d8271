"""Reference log-probs on disk: found again by content, resumable, never half-written, shared by every loss."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from fairlead.engine import reference_cache
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.reference_cache import ReferenceCache
from fairlead.engine.scoring import Scorer, make_scorer
from fairlead.errors import MachineError
from fairlead.losses.binding import bind
from fairlead.training.objective import Objective
from tests.tiny import tiny_llama

IDENTITY = {"weights": "w1", "adapter": "", "template": "t1", "compute": "torch.float32", "engine": "packed"}
BUDGET = 40  # tokens in a micro-batch: two groups or so


def completion(start: int, length: int, *, skip: int = 0) -> Completion:
    return Completion(ids=tuple(range(start, start + length)), trained=tuple(i >= skip for i in range(length)))


GROUPS = [
    PromptGroup(
        row_id=str(i),
        prompt=tuple(range(10 * i, 10 * i + 5 + i)),
        completions=(completion(100 + 7 * i, 3 + i), completion(200 + 5 * i, 6, skip=i % 3)),
    )
    for i in range(6)
]


@dataclass
class Watched:
    """A scorer that counts its forward passes, and dies at one of them."""

    scorer: Scorer
    passes: int = 0
    dies_at: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scorer, name)

    def score(self, batch: Any) -> Any:
        if self.passes == self.dies_at:
            raise KeyboardInterrupt
        self.passes += 1
        return self.scorer.score(batch)

    def score_with_balance(self, batch: Any, columns: frozenset[str]) -> Any:
        return self.score(batch), None


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer(tiny_llama())


@pytest.fixture
def watched(scorer: Scorer) -> Watched:
    return Watched(scorer)


def cache_in(folder: Any, **identity: str) -> ReferenceCache:
    return ReferenceCache(folder, IDENTITY | identity)


def own_scores(scorer: Scorer, groups: Any, which: Any = None) -> Any:
    with torch.no_grad(), scorer.attention():
        return scorer.score(scorer.batch(groups, which))


def test_cached_scores_are_the_scorers_own(tmp_path, scorer):
    cache = cache_in(tmp_path)
    assert cache.fill(GROUPS, scorer, BUDGET) == len(GROUPS)
    for which in (None, (0,), (1,)):
        ours, own = cache.scores(GROUPS, which), own_scores(scorer, GROUPS, which)
        assert ours.logp_N.dtype == torch.float32
        assert ours.count_C.tolist() == own.count_C.tolist()
        torch.testing.assert_close(ours.logp_N, own.logp_N, rtol=1e-5, atol=1e-5)


def test_every_order_and_grouping_finds_the_same_entries(tmp_path, watched):
    cache_in(tmp_path).fill(GROUPS, watched, BUDGET)
    passes = watched.passes
    cache = cache_in(tmp_path)
    others = [replace(group, row_id="other", weight=2.0, margin=1.0, label=True) for group in reversed(GROUPS)]
    swapped = [replace(group, completions=group.completions[::-1]) for group in GROUPS]
    assert cache.missing(others + swapped) == []
    assert cache.fill(others + swapped, watched, BUDGET) == 0
    assert watched.passes == passes
    by_group = [cache.scores([group]).logp_N for group in GROUPS]
    assert torch.equal(cache.scores(others).logp_N, torch.cat(by_group[::-1]))


@pytest.mark.parametrize("changed", sorted(IDENTITY))
def test_another_model_template_or_number_format_misses(tmp_path, scorer, changed):
    cache_in(tmp_path).fill(GROUPS, scorer, BUDGET)
    other = cache_in(tmp_path, **{changed: "another"})
    assert other.missing(GROUPS) == GROUPS
    assert other.folder != cache_in(tmp_path).folder


GROUP = GROUPS[4]
SECOND = GROUP.completions[1]


@pytest.mark.parametrize(
    "changed",
    [
        replace(GROUP, prompt=GROUP.prompt[1:]),
        replace(GROUP, prompt=(*GROUP.prompt, 1)),
        replace(
            GROUP, completions=(GROUP.completions[0], replace(SECOND, ids=SECOND.ids[:-1], trained=SECOND.trained[:-1]))
        ),
        replace(GROUP, completions=(replace(SECOND, trained=(True,) * 6),)),
        # the same ids end to end, parted elsewhere
        replace(
            GROUP,
            prompt=(*GROUP.prompt, SECOND.ids[0]),
            completions=(replace(SECOND, ids=SECOND.ids[1:], trained=SECOND.trained[1:]),),
        ),
    ],
    ids=["shorter prompt", "longer prompt", "truncated", "another mask", "another boundary"],
)
def test_other_tokens_miss(tmp_path, scorer, changed):
    cache = cache_in(tmp_path)
    cache.fill(GROUPS, scorer, BUDGET)
    assert cache.missing([GROUP, changed]) == [changed]


def test_a_pass_that_was_killed_goes_on_behind_its_last_shard(tmp_path, watched, monkeypatch):
    monkeypatch.setattr(reference_cache, "SHARD_TOKENS", 1)  # a shard for each micro-batch
    cache_in(tmp_path / "whole").fill(GROUPS, watched, BUDGET)
    passes = watched.passes
    assert passes > 2
    killed = Watched(watched.scorer, dies_at=1)
    with pytest.raises(KeyboardInterrupt):
        cache_in(tmp_path).fill(GROUPS, killed, BUDGET)
    again = Watched(watched.scorer)
    cache = cache_in(tmp_path)
    assert 0 < len(cache.missing(GROUPS)) < len(GROUPS)
    assert cache.fill(GROUPS, again, BUDGET) == len(GROUPS) - 2
    assert again.passes <= passes - 1
    assert torch.equal(cache_in(tmp_path).scores(GROUPS).logp_N, cache_in(tmp_path / "whole").scores(GROUPS).logp_N)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "text"])
def test_a_damaged_shard_is_passed_over_and_made_anew(tmp_path, watched, monkeypatch, damage):
    monkeypatch.setattr(reference_cache, "SHARD_TOKENS", 1)
    whole = cache_in(tmp_path)
    whole.fill(GROUPS, watched, BUDGET)
    expected = whole.scores(GROUPS).logp_N
    shard = sorted(whole.folder.glob("*.safetensors"))[0]
    content = shard.read_bytes()
    changed = bytes([content[-1] ^ 1])
    shard.write_bytes(
        {"flipped": content[:-1] + changed, "cut": content[:-9], "empty": b"", "text": b"not tensors"}[damage]
    )
    cache = cache_in(tmp_path)
    lost = cache.missing(GROUPS)
    assert 0 < len(lost) < len(GROUPS)
    watched.passes = 0
    assert cache.fill(GROUPS, watched, BUDGET) == len(lost)
    assert watched.passes <= len(lost)
    torch.testing.assert_close(cache_in(tmp_path).scores(GROUPS).logp_N, expected, rtol=1e-5, atol=1e-5)


@contextmanager
def files_no_larger_than(size: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 400])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, scorer, size):
    cache = cache_in(tmp_path / "cache")
    with files_no_larger_than(size), pytest.raises(MachineError, match=r"train\.reference_cache"):
        cache.fill(GROUPS, scorer, BUDGET)
    left = {path.name: path.stat().st_size for path in cache.folder.rglob("*")}
    assert set(left) <= {"reference.json"}
    assert left or size == 0
    again = cache_in(tmp_path / "cache")
    assert len(again) == 0
    assert again.fill(GROUPS, scorer, BUDGET) == len(GROUPS)
    assert cache_in(tmp_path / "cache").missing(GROUPS) == []


def test_the_remedy_for_a_full_disk_is_the_caches_own(tmp_path, scorer, monkeypatch):
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(MachineError, match=r"No space left on device.*train\.reference_cache"):
        cache_in(tmp_path).fill(GROUPS, scorer, BUDGET)
    assert list(cache_in(tmp_path).folder.iterdir()) == []


def test_what_was_written_before_the_disk_was_full_is_kept(tmp_path, scorer):
    cache_in(tmp_path).fill(GROUPS[:2], scorer, BUDGET)
    with files_no_larger_than(100), pytest.raises(MachineError, match="File too large"):
        cache_in(tmp_path).fill(GROUPS, scorer, BUDGET)
    assert cache_in(tmp_path).missing(GROUPS) == GROUPS[2:]


def test_two_betas_and_two_losses_share_it(tmp_path, scorer):
    policy, reference = Watched(make_scorer(tiny_llama(seed=1))), Watched(scorer)
    pairs = GROUPS[1:4]
    losses = []
    for name, beta in (("dpo", 0.1), ("dpo", 0.3), ("hinge", 0.1)):
        cache = cache_in(tmp_path)
        cache.fill(pairs, reference, BUDGET)
        objective = Objective(scorer=policy, loss=bind([(name, {"beta": beta}, 1.0)]), reference=cache, budget=10_000)
        losses.append(objective.evaluate(pairs)["loss"])
    assert len(set(losses)) == 3
    assert policy.passes == 3  # one for each evaluation
    filled = reference.passes
    cache_in(tmp_path / "alone").fill(pairs, reference, BUDGET)
    assert reference.passes == 2 * filled  # the three runs together took as many as one alone


def test_progress_counts_what_was_there_before(tmp_path, scorer):
    seen: dict[str, Any] = {}

    class Bar:
        def advance(self, count: int = 1, **fields: float) -> None:
            seen["advanced"] = seen.get("advanced", 0) + count

    class Bars:
        @contextmanager
        def task(self, name: str, **arguments: Any):
            seen.update(arguments)
            yield Bar()

    cache_in(tmp_path).fill(GROUPS[:2], scorer, BUDGET)
    cache_in(tmp_path).fill(GROUPS, scorer, BUDGET, Bars())
    assert (seen["total"], seen["done"], seen["advanced"]) == (6, 2, 4)
