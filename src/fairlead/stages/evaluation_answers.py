"""Answers of a model to prompts: kept with the run, and taken from an earlier run where nothing has changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from fairlead.data.reading import read
from fairlead.data.records import Candidates
from fairlead.data.writing import write
from fairlead.engine.sampling import Sampling
from fairlead.errors import FairleadError
from fairlead.identity import digest, digest_file
from fairlead.models.language_model import LanguageModel
from fairlead.progress import Progress
from fairlead.runs.directory import MANIFEST, RunDirectory
from fairlead.stages.generate import complete


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The rows with their answers, and the run that they were taken from; None where they were sampled now."""

    rows: tuple[Candidates, ...]
    reused: str | None


def answer(
    lm: LanguageModel,
    prompts: Sequence[Candidates],
    settings: Sampling,
    *,
    name: str,
    what: str,
    run: RunDirectory,
    near: Path,
    progress: Progress,
) -> Answers:
    """Answers to `prompts`, written to artifacts/answers-WHAT-KEY.jsonl of the run.

    The key is a digest of the model's weights and template, the prompts and the sampling. Where the run itself, gone on
    with, has answers of that key, or a run in the folder `near`, or one within such a run, whole and unchanged, they
    are taken.
    """
    key = _key(lm, prompts, settings)
    target = run.artifact(f"answers-{what}-{key[:16]}.jsonl")
    if target.is_file() and (before := _kept(target, prompts, settings)) is not None:
        progress.say(f"answers of {name} ({what}) are kept from before the run was broken off")
        return Answers(rows=before, reused=None)
    for file in _earlier(near, target.name):
        if file != target and (rows := _kept(file, prompts, settings)) is not None:
            write(rows, target)
            owner = file.parents[1]
            progress.say(f"answers of {name} ({what}) are those of {owner}")
            return Answers(rows=rows, reused=str(owner))
    rows = tuple(complete(lm, prompts, settings, name=name, progress=progress))
    write(rows, target)
    return Answers(rows=rows, reused=None)


def _key(lm: LanguageModel, prompts: Sequence[Candidates], settings: Sampling) -> str:
    sampling = asdict(settings)
    del sampling["batch_size"]  # which changes no answer
    return digest(
        {
            "weights": lm.weights_digest,
            "adapter": lm.adapter_digest,
            "quantize": lm.quantize,
            "dtype": str(lm.model.dtype),
            "template": str(lm.tokenizer.chat_template),
            "prompts": [msgspec.to_builtins(row) for row in prompts],
            "sampling": sampling,
        }
    )


def _earlier(near: Path, name: str) -> list[Path]:
    """Files of that name in runs of a folder, and in runs within these."""
    return sorted([*near.glob(f"*/artifacts/{name}"), *near.glob(f"*/*/*/artifacts/{name}")])


def _kept(file: Path, prompts: Sequence[Candidates], settings: Sampling) -> tuple[Candidates, ...] | None:
    """The rows of a file of answers; None where they are not what was written, or not all."""
    try:
        if not _is_unchanged(file):
            return None
        rows = read(file, kind="candidates").rows
    except (FairleadError, OSError, ValueError, KeyError):
        return None
    found = tuple(row for row in rows if isinstance(row, Candidates))
    whole = [row.id for row in found] == [row.id for row in prompts]
    return found if whole and all(len(row.candidates) == settings.n for row in found) else None


def _is_unchanged(file: Path) -> bool:
    """Whether a file is as its run was sealed with; of a run that was not sealed, files are whole or not there."""
    run = file.parents[1]
    if not (run / MANIFEST).is_file():
        return True
    listed = json.loads((run / MANIFEST).read_bytes())["files"]
    return bool(listed[file.relative_to(run).as_posix()]["sha256"] == digest_file(file))
