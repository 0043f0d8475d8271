"""Models on this machine, measured by a suite: every section, with their log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.data.records import Candidates
from fairlead.engine.rendering import Renderer
from fairlead.engine.sampling import Sampling
from fairlead.engine.scoring import Scorer, make_scorer
from fairlead.errors import ModelError
from fairlead.evaluation import factual
from fairlead.evaluation.divergence import Policy, measure_divergence, no_divergence, sampled_replies
from fairlead.evaluation.likelihood import LogProbs, log_probs, measure_ranking, rendered
from fairlead.evaluation.lm_eval_tasks import Tasks, run_tasks
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load, resolve_dtype
from fairlead.models.quantization import narrow
from fairlead.models.reward_model import is_reward_model
from fairlead.progress import Progress
from fairlead.runs.directory import RunDirectory
from fairlead.stages.evaluation_answers import answer
from fairlead.stages.evaluation_material import Material
from fairlead.stages.evaluation_prompting import ask, prompting_of, with_own_prompts
from fairlead.stages.evaluation_sections import Found, measure_answered
from fairlead.stages.evaluation_subjects import Subject


@dataclass
class LocalModels:
    """How models are loaded and measured; references stay loaded, since every model needs them.

    tasks: those of lm-eval, None where the suite asks for none.
    """

    material: Material
    tasks: Tasks | None
    precision: str
    batch_size: int
    near: Path
    progress: Progress
    references: dict[str, LanguageModel] = field(default_factory=dict)

    def measure(self, subject: Subject, run: RunDirectory) -> Found:
        """What a model gives to all sections; its answers are written to its run."""
        lm = self._load(subject.model, subject.adapter)
        for note in lm.notes:
            self.progress.say(note)
        identity = {"weights": lm.source, "sha256": lm.weights_digest, "adapter_sha256": lm.adapter_digest}
        found = Found(model=identity, base=lm.weights_digest)

        def answers(what: str, prompts: Sequence[Candidates], settings: Sampling) -> Sequence[Candidates]:
            return self._answers(lm, subject, run, found, what, prompts, settings)

        if subject.prompted:  # likelihoods are of the question as it stands
            measure_answered(self.material, answers, found, batch_size=self.batch_size)
            return found
        self._ranking(lm, found)
        measure_answered(self.material, answers, found, batch_size=self.batch_size)
        self._likelihood(lm, found)
        self._kl(lm, subject, run, found)
        if self.tasks is not None:
            results = run_tasks(lm, self.tasks, batch_size=self.batch_size)
            found.measured += results.measures
            found.items += results.items
        return found

    def _load(self, model: str, adapter: str | None = None) -> LanguageModel:
        dtype = resolve_dtype(self.precision)
        lm = load(model, dtype=dtype, adapter=adapter)
        if is_reward_model(lm.model):
            raise ModelError(
                f"{model} is a reward model: it gives completions a number and cannot write any. Give a language "
                f"model; rewards of completions are what `fairlead.score` is for."
            )
        narrow(lm.model, dtype)
        return lm

    def _reference(self, path: str, policy: LanguageModel) -> LanguageModel:
        """The reference, loaded once. Raises ModelError where its vocabulary is not the policy's."""
        if path not in self.references:
            self.references[path] = self._load(path)
        reference = self.references[path]
        if reference.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
            raise ModelError(
                f"The reference {path} has another vocabulary than {policy.source}, so their log-probabilities cannot "
                f"be compared. Name the model that training started from."
            )
        return reference

    def _scorer(self, lm: LanguageModel) -> Scorer:
        return make_scorer(lm.model, compute=resolve_dtype(self.precision))

    def _log_probs(self, lm: LanguageModel, groups: Sequence[Any]) -> dict[str, list[LogProbs]]:
        scores = log_probs(self._scorer(lm), groups, progress=self.progress)
        return {group.row_id: own for group, own in zip(groups, scores, strict=True)}

    def _ranking(self, lm: LanguageModel, found: Found) -> None:
        section, rows = self.material.suite.held_out, self.material.held_out
        if section is None or not rows:
            return
        made = rendered(rows, Renderer(lm.tokenizer))
        found.leave_out("held_out", made.left_out)
        policy = self._log_probs(lm, made.groups)
        other = None
        if section.reference is not None and any(
            map(self.material.suite.keeps, ("rewards/accuracies", "rewards/margins"))
        ):
            other = self._log_probs(self._reference(section.reference, lm), made.groups)
        found.observed += measure_ranking(rows, policy, other, beta=section.beta)

    def _likelihood(self, lm: LanguageModel, found: Found) -> None:
        questions = [question for question in self.material.questions if question.kind == "likelihood"]
        if not questions:
            return
        made = rendered([each.row for each in questions], Renderer(lm.tokenizer))
        found.leave_out("factual", made.left_out)
        choices = self._log_probs(lm, made.groups) if made.groups else {}
        found.observed += factual.measure_answers(questions, {}, choices)

    def _kl(self, lm: LanguageModel, subject: Subject, run: RunDirectory, found: Found) -> None:
        section, prompts = self.material.suite.kl, self.material.kl_prompts
        if section is None or not prompts:
            return
        reference = self._reference(section.reference, lm)
        if _weights(lm) == _weights(reference):
            found.notes.append(f"{subject.name} is the reference of kl itself: its distance is 0, and not sampled.")
            found.observed += no_divergence(prompts)
            return
        settings = Sampling(
            n=section.n,
            temperature=1.0,
            max_new_tokens=section.max_new_tokens,
            seed=section.seed,
            batch_size=self.batch_size,
        )
        rows = sampled_replies(self._answers(lm, subject, run, found, "kl", prompts, settings))
        if len(rows) < len(prompts):
            found.notes.append(f"{len(prompts) - len(rows):,} prompts of kl were answered with nothing, and left out.")
        made = rendered(rows, Renderer(lm.tokenizer))
        found.leave_out("kl", made.left_out)
        if made.groups:
            policy = Policy(self._scorer(lm), made.groups, self.progress)
            divergence = policy.divergence(self._scorer(reference), self.progress)
            found.observed += measure_divergence(rows, made.groups, divergence)

    def _answers(
        self,
        lm: LanguageModel,
        subject: Subject,
        run: RunDirectory,
        found: Found,
        what: str,
        prompts: Sequence[Candidates],
        settings: Sampling,
    ) -> Sequence[Candidates]:
        section = self.material.suite.baseline
        prompting = prompting_of(section, self.material.passages, lm) if section and subject.prompted else None
        asked = ask(prompts, lm, prompting, fold=what == "probes")
        found.notes += [f"{what}: {note}" for note in asked.notes]
        answers = answer(
            lm, asked.rows, settings, name=subject.name, what=what, run=run, near=self.near, progress=self.progress
        )
        if answers.reused is not None:
            found.reused[what] = answers.reused
        return with_own_prompts(prompts, answers.rows)


def _weights(lm: LanguageModel) -> tuple[str, str, object]:
    """What a model computes with: digests of its weights and of its adapter, and how the former are quantised."""
    return lm.weights_digest, lm.adapter_digest, lm.quantize
