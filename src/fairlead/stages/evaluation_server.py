"""Models behind a server, measured by the part of a suite that needs their answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fairlead.config.judge import EndpointSection
from fairlead.data.records import Candidates
from fairlead.data.writing import write
from fairlead.engine.sampling import Sampling
from fairlead.errors import ConfigError, Fault
from fairlead.evaluation.judging.cache import AnswerCache
from fairlead.evaluation.judging.endpoint import identity_of
from fairlead.identity import digest
from fairlead.progress import Progress
from fairlead.runs.directory import RunDirectory
from fairlead.stages.evaluation_material import Material
from fairlead.stages.evaluation_sections import Found, measure_answered
from fairlead.stages.evaluation_subjects import Subject
from fairlead.stages.served import ServedModel, how_sampled

CACHE = "answers.sqlite"
"""Answers of a run that is not complete: what was paid for outlives a kill."""
LOG_PROBS = "log_probs: needs log-probabilities, which a server of chat completions does not give"


@dataclass(frozen=True, kw_only=True)
class ServedModels:
    """How models are asked that a server knows by the names they are given."""

    material: Material
    settings: EndpointSection
    key: str | None
    progress: Progress

    def measure(self, subject: Subject, run: RunDirectory) -> Found:
        """What a model gives to the sections that are answered in words; its answers are written to its run."""
        settings = self.settings.model_copy(update={"model": subject.model})
        found = Found(model={"server": settings.url, "name": subject.model}, base=None)
        for section, rows in _unanswerable(self.material).items():
            found.leave_out(section, dict.fromkeys(rows, LOG_PROBS))
        cache = run.path / CACHE
        with AnswerCache(cache) as kept:
            model = ServedModel(settings=settings, key=self.key, cache=kept, progress=self.progress)
            cached = 0

            def answers(what: str, prompts: Sequence[Candidates], sampling: Sampling) -> Sequence[Candidates]:
                nonlocal cached
                served = model.answer(prompts, sampling, how=how_sampled(sampling))
                cached += served.cached
                found.leave_out("generation" if what == "prompts" else what, served.left_out)
                asked = [identity_of(settings), msgspec.to_builtins(prompts), msgspec.to_builtins(sampling)]
                if served.rows:
                    write(served.rows, run.artifact(f"answers-{what}-{digest(asked)[:16]}.jsonl"))
                return served.rows

            measure_answered(self.material, answers, found)
        found.model = {**found.model, "calls": model.calls, "cached": cached, "cost": model.spent}
        if cached:
            found.notes.append(f"{cached:,} answers of {subject.name} were kept from before the run was broken off.")
        return found


def check_servable(material: Material) -> None:
    """Raises ConfigError where a suite holds nothing that answers alone can be measured by."""
    questions = any(question.kind != "likelihood" for question in material.questions)
    if not (material.prompts or material.probes or questions):
        problem = "measures nothing that a server's answers can give."
        remedy = "Add generation, probes or factual questions answered in words, or measure the model on this machine."
        raise ConfigError([Fault(field="suite", problem=problem, remedy=remedy)], source=material.path)


def _unanswerable(material: Material) -> dict[str, list[str]]:
    """The rows, and tasks, that need log-probabilities, by section."""
    rows = {
        "held_out": [row.id for row in material.held_out],
        "factual": [question.id for question in material.questions if question.kind == "likelihood"],
        "kl": [row.id for row in material.kl_prompts],
        "lm_eval": [] if material.suite.lm_eval is None else material.suite.lm_eval.tasks,
    }
    return {section: ids for section, ids in rows.items() if ids}
