"""Metrics on their way out: to the run's events, and to TensorBoard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from fairlead.runs.directory import RunDirectory


class RunRecorder:
    """Writes each metric to the run's `events.jsonl` and, if asked, to `tensorboard/` in the run.

    `recorded` holds every value by metric and step, also those of the run before it was resumed. What was recorded
    after `step` belongs to a run that was cut off, and is hidden from TensorBoard. NaN stays NaN everywhere.
    """

    def __init__(self, run: RunDirectory, *, tensorboard: bool, step: int = 0) -> None:
        self.run = run
        self.recorded: dict[str, dict[int, float]] = defaultdict(dict)
        for event in run.events():
            self.recorded[event.name][event.step] = event.value
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            # Step 0 has an evaluation of its own; only a run that begins anew measures it again.
            self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1 if step else 0)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of one step."""
        self.run.append(step, values)
        for name, value in values.items():
            self.recorded[name][step] = value
            if self._board is not None:
                self._board.add_scalar(name, value, step)

    def size(self) -> int:
        """Bytes of events that are safe on disk."""
        if self._board is not None:
            self._board.flush()
        return self.run.events_size()

    def close(self) -> None:
        """Flush what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()
