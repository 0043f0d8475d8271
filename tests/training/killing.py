"""Training runs that are killed with SIGKILL and resumed, each in a forked process.

A program of its own: it prints, as JSON, what was left by runs that never stopped and by runs that were killed. To fork
is safe only where PyTorch has not used a second thread, which a test process cannot promise.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairlead.config import Config
from fairlead.identity import digest, digest_file
from fairlead.runs.directory import RunDirectory
from fairlead.stages.policy import Policy
from fairlead.stages.train import train
from fairlead.training import checkpoint
from fairlead.training.checkpoint import FILES, MANIFEST, STATE, Checkpoints, LoopState
from fairlead.training.loop import Fit
from tests.tiny import save_tiny
from tests.training.small import make_config

STEPS = 12
CASES: dict[str, dict[str, Any]] = {
    "sft": {"loss": "sft"},
    "dpo-lora": {"loss": "dpo", "adapter": {"r": 4}},
    "dpo-full": {"loss": "dpo"},
    "kto-lora-dropout": {
        "loss": "kto",
        "adapter": {"r": 4, "dropout": 0.1},
        "sample_prompts": 2,
        "sample_tokens": 4,
    },
    "reward-lora": {"loss": "reward", "adapter": {"r": 4}},
}
TIMED = {"tokens/s", "examples/s"}

AMID_A_STEP = ("stepped", "torn events", *FILES, MANIFEST, "renamed")
"""Where a step can be killed: after the update, amid its events, between the files of its save, after the rename."""
AT_THE_END = ("artifact", "sealing")


@dataclass
class Kill:
    """A place where this process is to be killed."""

    step: int
    point: str
    now: int = 0

    def reached(self, point: str) -> None:
        if (self.point, self.step) == (point, self.now):
            os.kill(os.getpid(), signal.SIGKILL)

    def tear(self, events: Path) -> None:
        """Cut the last event short, as a kill amid a write would."""
        if (self.point, self.step) == ("torn events", self.now):
            os.truncate(events, events.stat().st_size - 7)

    def arm(self) -> None:
        """Put the kill in its place, in this process alone."""
        after_step, after_save = Fit._step, Checkpoints.save
        save_file, sync, sync_folder = checkpoint.save_file, checkpoint._sync, checkpoint.sync_folder
        append, save, seal = RunDirectory.append, Policy.save, RunDirectory.seal

        def stepped(fit: Fit, step: int) -> dict[str, float]:
            values = after_step(fit, step)
            self.now = step + 1
            self.reached("stepped")
            return values

        def saved(self_: Checkpoints, state: LoopState, parameters: Any, optimizer: Any) -> Path:
            path = after_save(self_, state, parameters, optimizer)
            self.reached("saved")
            return path

        def written(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
            save_file(dict(tensors), path)
            self.reached(path.name)

        def synced(path: Path) -> None:
            sync(path)
            self.reached(path.name)

        def renamed(path: Path) -> None:
            sync_folder(path)
            if path.name == "checkpoints":
                self.reached("renamed")

        def appended(run: RunDirectory, step: int, values: Mapping[str, float]) -> None:
            append(run, step, values)
            self.tear(run.path / "events.jsonl")
            self.reached("torn events")

        def made(policy: Policy, run: RunDirectory) -> str:
            name = save(policy, run)
            self.now = 0
            self.reached("artifact")
            return name

        def sealed(run: RunDirectory) -> None:
            self.reached("sealing")
            seal(run)

        Fit._step, Checkpoints.save = stepped, saved  # type: ignore[method-assign]
        checkpoint.save_file, checkpoint._sync, checkpoint.sync_folder = written, synced, renamed  # type: ignore
        RunDirectory.append, RunDirectory.seal, Policy.save = appended, sealed, made  # type: ignore[method-assign]


def in_a_fork(work: Callable[[], object]) -> int:
    """Do `work` in a process of its own; gives how that ended, as `os.waitstatus_to_exitcode` does."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def plan(*, thorough: bool) -> list[tuple[int, str]]:
    """Kill points in the order a run meets them: all of a few steps, and each other step once it is saved."""
    full = range(1, STEPS + 1) if thorough else (1, 6, STEPS)
    steps = [(step, point) for step in range(1, STEPS + 1) for point in (AMID_A_STEP if step in full else ("saved",))]
    return [*steps, *((0, point) for point in AT_THE_END)]


def run_and_kill(config: Config, kills: list[tuple[int, str]]) -> None:
    """Start a run, kill it at each place in turn, resuming it after each, and let it end."""
    for number, (step, point) in enumerate(kills):

        def work(step: int = step, point: str = point, resume: bool = number > 0) -> None:
            Kill(step, point).arm()
            train(config, resume=resume)

        ended = in_a_fork(work)
        assert ended == -signal.SIGKILL, f"the kill at {point} of step {step} did not happen: {ended}"
    assert in_a_fork(lambda: train(config, resume=True)) == 0, "it did not end"


def left_by(run: RunDirectory, *, steps: int = STEPS) -> dict[str, str]:
    """Digests of all that a run left and that does not depend on the clock."""
    last = run.checkpoints / f"step-{steps:06d}"
    state = json.loads((last / STATE).read_text())
    del state["loop"]["events_size"]  # rates have more or fewer digits
    (weights,) = run.artifacts.glob("*/*.safetensors")
    events = [[event.step, event.name, repr(event.value)] for event in run.events() if event.name not in TIMED]
    assert run.verify() == []
    return {
        "artifact": digest_file(weights),
        "weights": digest_file(last / "weights.safetensors"),
        "optimizer": digest_file(last / "optimizer.safetensors"),
        "state": digest(state),
        "events": digest(events),
        "metrics": digest(run.record["extra"]["metrics"]),
    }


def compare(folder: Path, case: str, *, thorough: bool) -> dict[str, Any]:
    """What an uninterrupted run of `case` left, and what killed ones did."""

    def configured(name: str) -> Config:
        return make_config(
            folder,
            folder / "model",
            **CASES[case],
            run=f"{case}-{name}",
            max_steps=STEPS,
            epochs=3,
            micro_batch_tokens=70,
            eval_steps=5,
            save_steps=1,
            learning_rate=1e-3,
            weight_decay=0.01,
        )

    def run_of(config: Config) -> RunDirectory:
        return RunDirectory.open(Path(config.train.output) / str(config.train.run))

    whole = configured("whole")
    assert in_a_fork(lambda: train(whole)) == 0
    kills = plan(thorough=thorough)
    chains = [[kill] for kill in kills] if thorough else [kills]
    left = []
    for number, chain in enumerate(chains):
        killed = configured(f"killed-{number}")
        run_and_kill(killed, chain)
        left.append(left_by(run_of(killed)))
    return {"whole": left_by(run_of(whole)), "killed": left, "kills": len(kills)}


def main() -> None:
    folder, cases, thorough = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3] == "thorough"
    torch.set_num_threads(1)
    save_tiny(folder / "model")
    # Whatever is imported late is imported now, once for all forks.
    train(make_config(folder, folder / "model", adapter={}, max_steps=1, run="warm-up"))
    print(json.dumps({case: compare(folder, case, thorough=thorough) for case in cases}))


if __name__ == "__main__":
    main()
