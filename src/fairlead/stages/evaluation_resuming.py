"""The run of one model in `eval`: begun, gone on with after a kill, or found complete; never another one's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.errors import ConfigError, MachineError, RunError
from fairlead.evaluation.results import Evaluated, Item, read_item_list, read_measures
from fairlead.progress import Progress
from fairlead.runs.directory import Input, RunDirectory
from fairlead.stages.evaluation_subjects import Subject

FREE = ("batch_size",)
"""Settings that change no figure, so that a run may go on with others."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model's figures, its items, and the digest of its base weights, None where that is not known."""

    evaluated: Evaluated
    items: tuple[Item, ...]
    base: str | None


def begin_or_go_on(
    folder: Path, *, config: Mapping[str, Any], inputs: Sequence[Input], seed: int, extra: Mapping[str, Any]
) -> RunDirectory:
    """A new run, or the one in the folder where it is of the same model, suite, files and settings.

    Raises RunError for a folder that holds something else.
    """
    if not (folder / "run.json").is_file():
        return RunDirectory.create(folder, stage="eval", config=config, inputs=inputs, seed=seed, extra=extra)
    run = RunDirectory.open(folder)
    differing = list(_differences(run, config, inputs, seed))
    if differing:
        told = f"there is something of that name already, which differs in {', '.join(differing)}"
        raise RunError(f"{folder}: {told}. Choose another folder (--out), or remove this one.")
    return run


def _differences(run: RunDirectory, config: Mapping[str, Any], inputs: Sequence[Input], seed: int) -> Iterator[str]:
    if run.stage != "eval":
        yield f"its verb, `{run.stage}`"
        return
    given, kept = json.loads(json.dumps(config)), run.config
    yield from (name for name in given if name not in FREE and given[name] != kept.get(name))
    if run.record["seed"] != seed:
        yield "seed"
    if sorted(item.sha256 for item in inputs) != sorted(item.sha256 for item in run.inputs):
        yield "the content of its files"


def kept(run: RunDirectory, subject: Subject) -> Measured | None:
    """What a run measured before, None where it had not come so far."""
    extra = run.record["extra"]
    model = extra.get("model")
    if model is None:
        return None
    measures, notes = read_measures(run.path).measures, tuple(extra["notes"])
    evaluated = Evaluated(name=subject.name, run=run.path, measures=measures, notes=notes)
    return Measured(evaluated=evaluated, items=tuple(read_item_list(run.path)), base=model.get("sha256"))


@contextmanager
def telling_how_to_go_on(run: RunDirectory, progress: Progress) -> Iterator[None]:
    """Where the block breaks off by what may be mended, say that what is there is kept, and how to go on from it."""
    try:
        yield
    except (ConfigError, MachineError, RunError, KeyboardInterrupt):
        progress.say(f"What was measured is kept: the same command with --out {run.path} goes on from there.")
        raise
