"""Checkpoints: whole or absent, verified, the newest good one used, old ones removed, a full disk survived."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from fairlead.errors import MachineError
from fairlead.identity import digest_file
from fairlead.training import checkpoint
from fairlead.training.checkpoint import (
    FILES,
    MANIFEST,
    STATE,
    Checkpoints,
    Found,
    LoopState,
    load,
    load_weights,
    read_state,
    verify,
)
from fairlead.training.optimizer import make_optimizer, optimizer_tensors, trainable
from tests.training.damage import DAMAGE, HALF_RENAMED, flip


class Job:
    """A model of two matrices in training, and its checkpoints."""

    def __init__(self, folder: Path, *, keep: int = 2, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        self.parameters = trainable(self.model)
        self.optimizer: AdamW = make_optimizer(
            self.parameters, learning_rate=0.1, betas=(0.9, 0.99), epsilon=1e-8, weight_decay=0.0
        )
        self.checkpoints = Checkpoints(folder, keep)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.randn(5, 3)).square().sum().backward()
        self.optimizer.step()

    def train(self, *steps: int, best: int | None = None) -> None:
        """Take a step and save it, for each of `steps`."""
        for step in steps:
            self.step()
            self.save(step, best=best)

    def save(self, step: int, *, best: int | None = None) -> Path:
        return self.checkpoints.save(LoopState(step=step, best_step=best), self.parameters, self.optimizer)

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.checkpoints.folder))


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.train(1, 2)
    state = LoopState(
        step=3,
        best_step=2,
        best_value=0.1 + 0.2,
        evaluations_without_improvement=1,
        events_size=77,
        statistics={"bco": 1 / 3},
    )
    path = job.checkpoints.save(state, job.parameters, job.optimizer)
    expected = [torch.randn(4), *(p.detach().clone() for p in job.model.parameters())]
    moments = {name: tensor.clone() for name, tensor in optimizer_tensors(job.optimizer, job.parameters).items()}
    other = Job(tmp_path / "other", seed=9)
    assert load(path, other.parameters, other.optimizer) == read_state(path) == state
    found = [torch.randn(4), *other.model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    restored = optimizer_tensors(other.optimizer, other.parameters)
    assert restored.keys() == moments.keys()
    assert all(torch.equal(moments[name], restored[name]) for name in moments)


def test_a_checkpoint_of_the_first_format_is_still_read(tmp_path: Path) -> None:
    path = Job(tmp_path).save(1)
    content = json.loads((path / STATE).read_text())
    first = ("step", "best_step", "best_value", "evaluations_without_improvement", "events_size")
    content["loop"] = {name: content["loop"][name] for name in first}
    (path / STATE).write_text(json.dumps(content))
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["format"], manifest["files"][STATE] = 1, digest_file(path / STATE)
    (path / MANIFEST).write_text(json.dumps(manifest))
    assert verify(path) is None
    assert read_state(path) == LoopState(step=1)


def test_weights_alone_come_back(tmp_path: Path) -> None:
    job, other = Job(tmp_path), Job(tmp_path / "other", seed=1)
    load_weights(job.save(1), other.parameters)
    assert all(torch.equal(job.parameters[name], other.parameters[name]) for name in job.parameters)


def test_nothing_is_pickled_and_the_manifest_names_every_file(tmp_path: Path) -> None:
    path = Job(tmp_path).save(1)
    assert sorted(os.listdir(path)) == sorted([*FILES, MANIFEST])
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["step"] == 1
    assert set(manifest["files"]) == set(FILES)
    assert verify(path) is None


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_named_and_written_again(tmp_path: Path, kind: str) -> None:
    job = Job(tmp_path)
    job.train(2, 3)
    damage, fault = DAMAGE[kind]
    damage(job.checkpoints.path(3))
    found = job.checkpoints.newest()
    assert found.path == job.checkpoints.path(2)
    if kind == HALF_RENAMED:
        assert found.skipped == ()
    else:
        (skipped,) = found.skipped
        assert skipped.startswith("step-000003: ")
        assert fault in skipped
    job.train(3)
    assert job.names == ["step-000002", "step-000003"]
    assert job.checkpoints.newest() == Found(job.checkpoints.path(3), ())


def test_there_are_sixteen_kinds_of_damage_or_more() -> None:
    assert len(DAMAGE) >= 16


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.train(4)
    path, dice = job.checkpoints.path(4), random.Random(0)
    for name in (*FILES, MANIFEST):
        size = (path / name).stat().st_size
        everywhere = name == MANIFEST
        for at in range(size) if everywhere else dice.sample(range(size), 40):
            bit = dice.randrange(8)
            flip(path / name, at=at, bit=bit)
            assert verify(path) is not None, (name, at, bit)
            flip(path / name, at=at, bit=bit)
    assert verify(path) is None


def test_a_folder_that_was_never_renamed_is_not_a_checkpoint(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.train(1, 2)
    job.checkpoints.path(2).rename(tmp_path / ".step-000002.partial")
    assert job.checkpoints.newest().path == job.checkpoints.path(1)
    job.train(2)
    assert job.names == ["step-000001", "step-000002"]


def test_foreign_names_are_left_alone(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.train(1, 2, 3)
    for name in ("step-old", "notes.txt"):
        (tmp_path / name).mkdir()
    job.train(4)
    assert job.names == ["notes.txt", "step-000003", "step-000004", "step-old"]
    assert job.checkpoints.newest().path == job.checkpoints.path(4)


def test_no_checkpoint_is_no_fault(tmp_path: Path) -> None:
    found = Checkpoints(tmp_path / "nowhere", 2).newest()
    assert (found.path, found.skipped) == (None, ())


def test_all_damaged_means_from_the_beginning(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.train(1, 2)
    for step in (1, 2):
        (job.checkpoints.path(step) / MANIFEST).unlink()
    found = job.checkpoints.newest()
    assert found.path is None
    assert [skipped.split(":")[0] for skipped in found.skipped] == ["step-000002", "step-000001"]


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    job = Job(tmp_path, keep=2)
    job.train(1, 2)
    job.train(3, 4, 5, 6, best=2)
    assert job.names == ["step-000002", "step-000005", "step-000006"]
    job.train(7, best=7)
    assert job.names == ["step-000006", "step-000007"]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.train(999_999, 1_000_000)
    assert job.checkpoints.newest().path == tmp_path / "step-1000000"
    job.train(1_000_001)
    assert job.names == ["step-1000000", "step-1000001"]


def test_going_back_past_damaged_ones_keeps_what_is_written_then(tmp_path: Path) -> None:
    job = Job(tmp_path, keep=4)
    job.train(1, 2, 3, 4)
    for step in (3, 4):
        (job.checkpoints.path(step) / "state.json").unlink()
    job.checkpoints = Checkpoints(tmp_path, 2)
    assert job.checkpoints.newest().path == job.checkpoints.path(2)
    job.train(3)
    assert job.names == ["step-000002", "step-000003"]
    assert verify(job.checkpoints.path(3)) is None


def test_a_run_whose_best_checkpoint_is_damaged_goes_back_before_it(tmp_path: Path) -> None:
    job = Job(tmp_path, keep=9)
    job.train(1)
    job.train(2, 3, best=2)
    flip(job.checkpoints.path(2) / "weights.safetensors", at=-1)
    found = job.checkpoints.newest()
    assert found.path == job.checkpoints.path(1)
    assert found.skipped[0].startswith("step-000003: the best checkpoint before it, step-000002, cannot be used")


def assert_refused(job: Job, words: str) -> None:
    with pytest.raises(MachineError, match=words) as caught:
        job.save(2)
    assert caught.value.exit_code == 3
    assert "--resume" in str(caught.value)
    assert job.names == ["step-000001"]
    assert job.checkpoints.newest().path == job.checkpoints.path(1)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within the block the kernel refuses files beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_files_that_the_kernel_refuses_leave_nothing_behind(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.train(1)
    with largest_file(200):
        assert_refused(job, r"step-000002: the checkpoint cannot be written \(.*File too large")
    job.train(2)
    assert verify(job.checkpoints.path(2)) is None


@pytest.mark.parametrize("place", ["save_file", "_sync"])
def test_a_disk_that_fills_up_in_between_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    job = Job(tmp_path)
    job.train(1)
    real, calls = getattr(checkpoint, place), []

    def refuse_the_second(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(checkpoint, place, refuse_the_second)
    assert_refused(job, "No space left on device.*Free some space")


def test_a_forbidden_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    job = Job(tmp_path)
    job.train(1)
    monkeypatch.setattr(checkpoint, "save_file", refuse)
    assert_refused(job, "Permission denied.*Check who owns the folder")
