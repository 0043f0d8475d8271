"""Where a run comes from: the runs whose results it read, and theirs, up to the roots."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import RunError
from fairlead.runs.directory import Input, RunDirectory


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A run that another one builds on.

    `depth` counts the steps up (a parent has 1), `child` is the run that read `input` of it, and `run` is None
    where the folder is gone.
    """

    path: Path
    depth: int
    child: Path
    input: Input
    run: RunDirectory | None


def lineage(run: RunDirectory) -> list[Ancestor]:
    """The ancestors of `run`, nearest first; each run once, by the shortest way to it."""
    ancestors: list[Ancestor] = []
    seen = {run.path.resolve()}
    waiting = deque([(run, 0)])
    while waiting:
        child, depth = waiting.popleft()
        for item in child.inputs:
            if item.parent_run is None:
                continue
            path = Path(item.parent_run).resolve()
            if path in seen:
                continue
            seen.add(path)
            try:
                parent = RunDirectory.open(path)
            except RunError:
                parent = None
            ancestors.append(Ancestor(path=path, depth=depth + 1, child=child.path, input=item, run=parent))
            if parent is not None:
                waiting.append((parent, depth + 1))
    return ancestors
