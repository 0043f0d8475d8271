"""Training runs that are stopped and resumed in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairlead.config import Config
from fairlead.errors import Stopped
from fairlead.runs.directory import RunDirectory
from fairlead.stages.train import TrainResult, train


class StopsAfter:
    """Progress that sends this process SIGTERM once so many training steps are done; it remembers what was said."""

    def __init__(self, steps: int) -> None:
        self.left, self.said, self.tasks = steps, list[str](), list[str]()

    @contextmanager
    def task(self, name: str, *, total: int, unit: str, done: int = 0) -> Iterator[StopsAfter]:
        self.tasks.append(name)
        yield self
        self.tasks.pop()

    def advance(self, count: int = 1, **fields: float) -> None:
        if self.tasks[-1] == "train":
            self.left -= count
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    def say(self, text: str) -> None:
        self.said.append(text)


def stopped(config: Config, *, steps: int = 2) -> RunDirectory:
    """The run of `config`, stopped after `steps`."""
    with pytest.raises(Stopped):
        train(config, progress=StopsAfter(steps))
    (run,) = [run for run in map(RunDirectory.open, Path(config.train.output).iterdir()) if run.status == "stopped"]
    return run


def resume(config: Config) -> tuple[TrainResult, list[str]]:
    progress = StopsAfter(-1)
    return train(config, resume=True, progress=progress), progress.said
