"""What the sections of a suite that are answered in words give, whoever answers: `eval` with a model or a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.data.records import Candidates
from fairlead.engine.sampling import Sampling
from fairlead.evaluation import factual
from fairlead.evaluation.estimates import Observed
from fairlead.evaluation.metrics import measure_answers
from fairlead.evaluation.probes import answers_of, draw, observe_probes, probe_prompts
from fairlead.evaluation.results import Item, Measurement
from fairlead.stages.evaluation_material import Material

Answering = Callable[[str, Sequence[Candidates], Sampling], Sequence[Candidates]]
"""Has the prompts of a section answered, under its name; rows that got no answer are not among what it gives."""


@dataclass(kw_only=True)
class Found:
    """What one model gave.

    observed: what items gave; measured, items: figures that come without, as other tools made them, and their items.
    left_out: rows of a section that were not measured, by id, with the reason. reused: runs that answers are of, by
    section. model: what identifies it. base: digest of its base weights, None where that is not known.
    """

    model: Mapping[str, Any]
    base: str | None
    observed: list[Observed] = field(default_factory=list)
    measured: list[Measurement] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    reused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, section: str, rows: Mapping[str, str]) -> None:
        """Write down rows that are not measured, with the reason of each."""
        if rows:
            self.left_out.setdefault(section, {}).update(rows)


def measure_answered(material: Material, answers: Answering, found: Found, *, batch_size: int = 32) -> None:
    """generation, probes, and the questions of factual that are answered in words."""
    suite = material.suite
    generation, probing = suite.generation, suite.probes
    if generation is not None and material.prompts:
        settings = Sampling(
            n=generation.n,
            temperature=generation.temperature,
            top_p=generation.top_p,
            max_new_tokens=generation.max_new_tokens,
            seed=generation.seed,
            batch_size=batch_size,
        )
        rows = answers("prompts", material.prompts, settings)
        found.observed += measure_answers(rows, material.required, checks=material.checks, slices=generation.slices)
    questions = [question for question in material.questions if question.kind != "likelihood"]
    if suite.factual is not None and questions:
        rows = answers("factual", [each.row for each in questions], _greedy(suite.factual.max_new_tokens, batch_size))
        replies = {row.id: row.candidates[0].messages[-1].content for row in rows}
        found.observed += factual.measure_answers(questions, replies, {})
    if probing is not None and material.probes:
        prompts = probe_prompts(probing.seed, material.probes)
        rows = answers("probes", prompts, _greedy(probing.max_new_tokens, batch_size))
        answered = {row.id for row in rows}
        drawn = [each for each in draw(material.probes, probing.seed) if each.probe.id in answered]
        found.observed += observe_probes(drawn, answers_of(drawn, rows))


def _greedy(max_new_tokens: int, batch_size: int) -> Sampling:
    return Sampling(temperature=0.0, max_new_tokens=max_new_tokens, batch_size=batch_size)
