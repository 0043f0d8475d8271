"""Resuming a run: which one it is, and whether today's configuration and inputs are still those it began with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead.config import Config
from fairlead.errors import RunError
from fairlead.runs.directory import Input, RunDirectory, find_unfinished

# Where things lie and how much is kept may change between a run and its resumption; what is in them may not: of files
# and weights that is seen by their digests, of the chat template by that of the tokens.
FREE_TO_CHANGE = {
    "data.train",
    "data.eval",
    "model.path",
    "model.adapter",
    "model.chat_template",
    "train.output",
    "train.run",
    "train.reference_cache",
    "train.save_steps",
    "train.keep_checkpoints",
    "train.tensorboard",
}


def find_run(config: Config, config_path: Path | None) -> RunDirectory:
    """The run to go on with: the one that is named, else the newest unfinished one of this configuration file.

    Raises RunError where there is none, or where the configuration is no longer the run's.
    """
    output, name = Path(config.train.output), config.train.run
    if name is None:
        run = find_unfinished(output, stage="train", config_path=config_path)
        if run is None:
            raise RunError(
                f"there is no unfinished run of this configuration in {output}, so there is nothing to resume. Start "
                "one without --resume, or name a run with `train.run`."
            )
    else:
        run = RunDirectory.open(output / name)
        if run.is_complete() or run.stage != "train":
            raise RunError(f"{run.path} is no unfinished training run, so there is nothing to resume.")
    before, now = _flat(run.config), _flat(config.model_dump(mode="json"))
    changed = [
        f"{field} was {before.get(field, 'not set')} and is {now.get(field, 'not set')}"
        for field in sorted(before.keys() | now.keys())
        if before.get(field) != now.get(field) and field not in FREE_TO_CHANGE
    ]
    _refuse(run, changed)
    return run


def refuse_changed_inputs(run: RunDirectory, inputs: Sequence[Input], tokens_digest: str) -> None:
    """Raises RunError where weights, adapter, files of rows or the tokens made of them are not what the run read."""
    before = run.inputs
    if len(before) != len(inputs):
        _refuse(run, [f"it read {len(before)} inputs, now there are {len(inputs)}"])
    changed = [
        f"{now.path} has other content than the run read"
        for old, now in zip(before, inputs, strict=True)
        if old.sha256 != now.sha256
    ]
    if not changed and run.record["extra"]["tokens_sha256"] != tokens_digest:
        changed = ["the rows give other tokens than before: the tokenizer or its chat template has changed"]
    _refuse(run, changed)


def _refuse(run: RunDirectory, changed: Sequence[str]) -> None:
    if changed:
        raise RunError(
            f"{run.path} cannot be resumed: {'; '.join(changed)}. Undo the change, or start anew without --resume."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = json.dumps(value)
    return flat
