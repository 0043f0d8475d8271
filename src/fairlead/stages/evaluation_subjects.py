"""The models of an evaluation under names that tell them apart, each with the folder of its run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.errors import ConfigError, Fault


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to be measured, under the name that it is shown by.

    prompted: asked with the suite's prompting. first: the one whose run holds those of the others.
    """

    name: str
    model: str
    adapter: str | None
    folder: Path
    prompted: bool = False
    first: bool = False


def subjects_of(models: Sequence[str], baseline: str | None, adapter: str | None, out: Path) -> list[Subject]:
    """The models by names that tell them apart. Raises ConfigError where they cannot be told apart."""
    faults = []
    given = [*models, *([] if baseline is None else [baseline])]
    if not models:
        faults.append(Fault(field="models", problem="none is given.", remedy="Name at least one."))
    if adapter is not None and len(models) != 1:
        problem = f"is put on one model, and {len(models)} are given."
        faults.append(Fault(field="adapter", problem=problem, remedy="Give the adapters' folders as models instead."))
    keys = [(name, adapter if place == 0 else None) for place, name in enumerate(given)]
    if len(set(keys)) < len(keys):
        faults.append(Fault(field="models", problem="one is given twice.", remedy="Name each once."))
    if faults:
        raise ConfigError(faults, source="eval")
    ends = [Path(name).name or name for name in given]
    short = [
        end if with_adapter is None else f"{end} + {Path(with_adapter).name}"
        for end, (_, with_adapter) in zip(ends, keys, strict=True)
    ]
    shown = [name if short.count(name) == 1 else given[place] for place, name in enumerate(short)]
    return [
        Subject(
            name=shown[place],
            model=model,
            adapter=with_adapter,
            first=place == 0,
            folder=out if place == 0 else out / "compared" / f"{place}-{re.sub(r'[^A-Za-z0-9.-]+', '-', ends[place])}",
        )
        for place, (model, with_adapter) in enumerate(keys)
    ]


def with_prompting(subjects: list[Subject], baseline: str | None, notes: list[str]) -> list[Subject]:
    """The models and, before the last of them, which is the baseline, that one asked with the suite's prompting."""
    if baseline is None:
        notes.append("prompting is not measured: no baseline names the untuned model.")
        return subjects
    *others, untuned = subjects
    folder = untuned.folder.with_name(f"{untuned.folder.name}-prompted")
    return [*others, replace(untuned, name=f"{untuned.name} + prompting", folder=folder, prompted=True), untuned]
