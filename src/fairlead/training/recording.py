"""Metrics on their way out: to the run's events, and to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.runs.directory import RunDirectory


class RunRecorder:
    """Writes each metric to the run's `events.jsonl` and, if asked, to `tensorboard/` in the run.

    What was recorded after `step` belongs to a run that was cut off, and is hidden from TensorBoard.
    """

    def __init__(self, run: RunDirectory, *, tensorboard: bool, step: int = 0) -> None:
        self.run = run
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1 if step else None)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of one step."""
        self.run.append(step, values)
        if self._board is not None:
            for name, value in values.items():
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
