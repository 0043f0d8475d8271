"""Checkpoints that are whole or not there: written aside, fsynced, sha256 manifest last, renamed into place."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import AdamW

from fairlead.errors import MachineError
from fairlead.identity import digest_file
from fairlead.runs.atomic import REMEDIES, sync_folder
from fairlead.training.optimizer import optimizer_tensors, restore_optimizer
from fairlead.training.randomness import random_state, restore_random_state

FORMAT, READABLE = 2, (1, 2)
"""Since format 2 the state may name more than step, best and patience; in format 1 the rest is as at the beginning."""
MANIFEST = "MANIFEST.json"
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
FILES = (WEIGHTS, OPTIMIZER, STATE)
PREFIX, PARTIAL = "step-", ".partial"
NO_SPACE = "Free some space, or keep the run on another disk (train.output)."


@dataclass(frozen=True, kw_only=True)
class LoopState:
    """Where a run stands after `step` optimizer steps; `events_size` is how much it had recorded by then.

    `statistics` are the running means of its loss's batch statistics, by name of loss; `stopped` says why it ended
    before its last step, and is empty otherwise.
    """

    step: int = 0
    best_step: int | None = None
    best_value: float | None = None
    evaluations_without_improvement: int = 0
    events_size: int = 0
    statistics: Mapping[str, float] = field(default_factory=dict)
    stopped: str = ""


@dataclass(frozen=True)
class Found:
    """The newest checkpoint that can be gone on from, and what was passed over on the way to it, with the reason."""

    path: Path | None
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run: the newest `keep` and the best one stay."""

    folder: Path
    keep: int

    def save(self, state: LoopState, parameters: Mapping[str, nn.Parameter], optimizer: AdamW) -> Path:
        """Write one; a kill at any moment leaves it whole or absent.

        Raises MachineError when the disk will not take it; nothing of it is left then, and older ones are untouched.
        """
        final = self.path(state.step)
        partial = self.folder / f".{final.name}{PARTIAL}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _write(partial, state, parameters, optimizer)
            _remove(final)  # there is one only if it was damaged and passed over
            os.replace(partial, final)
            sync_folder(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            remedy = REMEDIES.get(getattr(error, "errno", None) or 0, NO_SPACE)
            raise MachineError(
                f"{final}: the checkpoint cannot be written ({error}). {remedy} Older checkpoints are untouched: go on "
                "from them with --resume."
            ) from error
        self._prune(state)
        return final

    def path(self, step: int) -> Path:
        """Where the checkpoint after `step` steps lies."""
        return self.folder / f"{PREFIX}{step:06d}"

    def newest(self) -> Found:
        """The newest checkpoint that verifies, and whose best one does; the others are named with what is wrong."""
        skipped: list[str] = []
        for path in reversed(self._present().values()):
            fault = verify(path) or self._fault_of_best(path)
            if fault is None:
                return Found(path, tuple(skipped))
            skipped.append(f"{path.name}: {fault}")
        return Found(None, tuple(skipped))

    def _fault_of_best(self, path: Path) -> str | None:
        """A run that cannot give its best checkpoint at the end is better gone back on."""
        best = read_state(path).best_step
        fault = None if best is None else verify(self.path(best))
        return None if fault is None else f"the best checkpoint before it, {PREFIX}{best:06d}, cannot be used: {fault}"

    def _present(self) -> dict[int, Path]:
        """Every checkpoint by its step, oldest first, whole or not."""
        named = {path.name.removeprefix(PREFIX): path for path in self.folder.glob(f"{PREFIX}*")}
        return dict(sorted((int(step), path) for step, path in named.items() if step.isdecimal()))

    def _prune(self, state: LoopState) -> None:
        """Remove what is old, what a damaged checkpoint left ahead of `state`, and what a kill left half-written."""
        present = self._present()
        kept = {*[step for step in present if step <= state.step][-self.keep :], state.best_step}
        for step, path in present.items():
            if step not in kept:
                _remove(path)
        for path in self.folder.glob(f".{PREFIX}*{PARTIAL}"):
            shutil.rmtree(path)


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None: every file of its manifest is there with its sha256."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        written, step, files = manifest["format"], manifest["step"], dict(manifest["files"])
    except FileNotFoundError:
        return "it has no manifest, so it was never finished"
    except (OSError, ValueError, KeyError, TypeError):
        return "its manifest cannot be read"
    if written not in READABLE:
        return f"it has format {written}, this version reads {' and '.join(map(str, READABLE))}"
    if files.keys() != set(FILES) or not isinstance(step, int) or path.name != f"{PREFIX}{step:06d}":
        return "its manifest is that of another checkpoint"
    for name, recorded in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if digest_file(file) != recorded:
            return f"{name} is damaged: its sha256 is not that of the manifest"
    return None


def read_state(path: Path) -> LoopState:
    """Where the run stood when the checkpoint was saved."""
    return LoopState(**_content(path)["loop"])


def load(path: Path, parameters: Mapping[str, nn.Parameter], optimizer: AdamW) -> LoopState:
    """Put weights, optimizer and random state back as they were; returns where the run stood."""
    load_weights(path, parameters)
    restore_optimizer(optimizer, parameters, load_file(path / OPTIMIZER))
    restore_random_state({kind: _from_text(text) for kind, text in _content(path)["random"].items()})
    return read_state(path)


def load_weights(path: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Put the trained weights of a checkpoint into the model."""
    tensors = load_file(path / WEIGHTS)
    assert tensors.keys() == parameters.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def _write(folder: Path, state: LoopState, parameters: Mapping[str, nn.Parameter], optimizer: AdamW) -> None:
    save_file({name: _plain(parameter.detach()) for name, parameter in parameters.items()}, folder / WEIGHTS)
    save_file({name: _plain(t) for name, t in optimizer_tensors(optimizer, parameters).items()}, folder / OPTIMIZER)
    random = {kind: _as_text(tensor) for kind, tensor in random_state().items()}
    (folder / STATE).write_text(json.dumps({"loop": asdict(state), "random": random}, indent=1))
    for name in FILES:
        _sync(folder / name)
    files = {name: digest_file(folder / name) for name in FILES}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "step": state.step, "files": files}, indent=1))
    _sync(folder / MANIFEST)
    sync_folder(folder)


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / STATE).read_bytes())
    return content


def _remove(path: Path) -> None:
    """Take away what lies at `path`, if anything: a checkpoint, or a file that came into its place."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.cpu().contiguous()


def _as_text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _from_text(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
