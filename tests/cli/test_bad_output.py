"""`fairlead train` where it cannot write: one message with a remedy, the right exit code, nothing half-written left."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fairlead.runs.directory import RunDirectory
from tests.cli.calling import call
from tests.cli.project import Project


def test_a_file_in_the_way_of_the_output(project: Project) -> None:
    (project.folder / "runs").write_text("x")
    assert "a file is in the way of this folder. Choose another one (train.output)." in project.fail()


def test_an_output_that_may_not_be_written(project: Project) -> None:
    locked = project.folder / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        locked = Path("/sys")  # what even root may not write
        if not locked.is_dir():
            pytest.skip("this user may write anywhere")
    assert "cannot be written" in project.fail("--set", f"train.output={locked}/runs", code=3)


def test_a_name_that_is_taken(project: Project) -> None:
    (project.folder / "runs" / "mine" / "notes").mkdir(parents=True)
    assert "there is something of that name already" in project.fail("--set", "train.run=mine")


def test_nothing_to_resume(project: Project) -> None:
    assert "no unfinished run of this configuration" in project.fail("--resume")


@pytest.fixture
def small_files() -> Iterator[None]:
    """The kernel refuses files beyond 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_checkpoints_that_the_disk_will_not_take(project: Project, small_files: None) -> None:
    project.configure("sft")
    message = project.fail("--set", "train.run=mine", code=3)
    assert "step-000005: the checkpoint cannot be written" in message
    assert "--resume" in message
    run = RunDirectory.open(project.folder / "runs" / "mine")
    assert (run.status, list(run.checkpoints.iterdir())) == ("failed", [])


@dataclass(frozen=True)
class Disk:
    """A file system of its own in memory."""

    folder: Path

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1100k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_while_saving_and_going_on_with_more_space(project: Project, disk: Disk) -> None:
    project.configure("sft", save_steps=1, learning_rate=1e-3, keep_checkpoints=5)
    there = f"train.output={disk.folder}"
    message = project.fail("--set", there, code=3)
    assert "the checkpoint cannot be written" in message
    assert "No space left on device" in message
    (folder,) = disk.folder.iterdir()
    run = RunDirectory.open(folder)
    assert not run.is_complete()
    saved = sorted(path.name for path in run.checkpoints.iterdir())
    assert saved
    assert all(name.startswith("step-") for name in saved)
    disk.resize("16m")
    assert call("train", project.config, "--set", there, "--resume") == 0
    assert f"resumed after step {int(saved[-1][5:])}" in project.capsys.readouterr().err
    assert call("train", project.config, "--set", "train.run=whole") == 0
    whole = project.folder / "runs" / "whole" / "artifacts" / "model" / "model.safetensors"
    assert (folder / "artifacts" / "model" / "model.safetensors").read_bytes() == whole.read_bytes()
