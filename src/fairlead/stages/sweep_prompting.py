"""Prompting the untuned base, as one point more of a sweep: what asking better reaches of the gain of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.data.reading import read
from fairlead.data.records import Candidates
from fairlead.data.writing import write
from fairlead.stages.evaluate import Evaluation
from fairlead.stages.evaluation_prompting import with_own_prompts

ANSWERS = "answers.jsonl"


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """The evaluation of the prompted base, what judges held of it, and what it reaches of the best point's gain."""

    eval: Path
    judge: Path | None = None
    says: tuple[str, ...]


def prompted_of(found: Evaluation) -> Prompted:
    """The prompted model of an evaluation that has it beside its baseline."""
    (untuned,) = {each.baseline for each in found.comparisons}
    (run,) = [model.run for model in found.models if model.name == f"{untuned} + prompting"]
    says = tuple(f"{each['measure']}: {each['says']}" for each in found.shares if each["low"] is not None)
    return Prompted(eval=run, says=says)


def as_base_was_asked(answered: Path, prompts: Sequence[Candidates], folder: Path) -> Path:
    """A copy of the answers in `folder` under the suite's own prompts, by which judges match them with the base's."""
    rows = [row for row in read(answered, kind="candidates").rows if isinstance(row, Candidates)]
    write(with_own_prompts(prompts, rows), folder / ANSWERS)
    return folder / ANSWERS
