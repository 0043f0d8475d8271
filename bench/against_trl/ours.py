"""The one contender: Fairlead's own loop over prompt groups, `python -m bench.against_trl.ours JOB.json`."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.against_trl.cells import EACH_STEP, WITH_REFERENCE, Job
from bench.against_trl.models import shift
from bench.against_trl.rows import InOrder, digest_of, make_groups
from bench.against_trl.wire import END, READY, STEP, Ended, Turnstile, peak_memory, resident_memory
from fairlead.config import Config
from fairlead.engine.groups import PromptGroup
from fairlead.engine.reference import CopiedReference, LiveReference, Reference
from fairlead.engine.reference_cache import ReferenceCache
from fairlead.engine.scoring import Scorer, make_scorer
from fairlead.losses.binding import bind
from fairlead.models.loading import resolve_dtype
from fairlead.stages.policy import Policy, load_policy
from fairlead.training.checkpoint import Checkpoints, LoopState
from fairlead.training.loop import Fit, Settings
from fairlead.training.objective import Objective
from fairlead.training.optimizer import make_optimizer


def config_of(job: Job) -> Config:
    """The configuration a user would write; all else has its default."""
    return Config(
        model={"path": job.model},
        data={"train": "rows.jsonl"},
        loss={"name": job.method},
        adapter=None if job.is_full else {"r": job.lora_rank},
        train={"precision": job.precision, "learning_rate": job.learning_rate, "schedule": "constant"},
    )


@dataclass(frozen=True)
class Contender:
    """A model, its objective and its rows, moved away from the reference and ready to go."""

    job: Job
    config: Config
    policy: Policy
    objective: Objective
    groups: Sequence[PromptGroup]

    @classmethod
    def prepare(cls, job: Job, groups: Sequence[PromptGroup]) -> Contender:
        """Load, score the reference as the job asks, then move the policy."""
        config = config_of(job)
        policy = load_policy(config, rewards=job.method == "reward")
        scorer = make_scorer(policy.lm.model, engine=config.model.engine, compute=resolve_dtype(job.precision))
        reference = make_reference(job, policy, scorer, groups, config.train.micro_batch_tokens)
        shift(policy.lm.model)
        objective = Objective(
            scorer=scorer,
            loss=bind([(job.method, {}, 1.0)]),
            reference=reference,
            budget=config.train.micro_batch_tokens,
        )
        return cls(job, config, policy, objective, groups)

    def first(self) -> list[dict[str, float]]:
        """Loss and metrics on every batch, nothing updated."""
        size = self.job.batch
        starts = range(0, self.job.batches * size, size)
        return [self.objective.evaluate(self.groups[start : start + size]) for start in starts]

    @property
    def options(self) -> dict[str, Any]:
        """How it computes, for the record."""
        return {
            "engine": "packed" if self.objective.scorer.packed else "padded",
            "micro_batch_tokens": self.config.train.micro_batch_tokens,
            "weights": str(next(self.policy.lm.model.parameters()).dtype).removeprefix("torch."),
        }

    def fit(self, recorder: Any) -> Fit:
        """Fairlead's loop over the rows in their order; `recorder` sees every step."""
        config, parameters = self.config.train, self.policy.parameters
        return Fit(
            objective=self.objective,
            source=InOrder(self.groups, self.job.batch),  # type: ignore[arg-type]  # rows in a given order
            evaluate=lambda _: {},
            parameters=parameters,
            optimizer=make_optimizer(
                parameters,
                learning_rate=self.job.learning_rate,
                betas=(config.adam_beta1, config.adam_beta2),
                epsilon=config.adam_epsilon,
                weight_decay=config.weight_decay,
            ),
            settings=Settings(
                steps=self.job.steps,
                learning_rate=self.job.learning_rate,
                warmup=0,
                schedule="constant",
                max_grad_norm=config.max_grad_norm,
                eval_steps=self.job.steps,
                save_steps=self.job.steps,
                metric_for_best=None,
                best_is="down",
                patience=None,
            ),
            checkpoints=Checkpoints(Path(self.job.scratch) / "checkpoints", 1),
            recorder=recorder,
            asked_to_stop=lambda: None,
        )


def make_reference(
    job: Job, policy: Policy, scorer: Scorer, groups: Sequence[PromptGroup], budget: int
) -> Reference | None:
    """Scored once beforehand, or at each step: the adapter off, or a second copy of all weights as TRL keeps one."""
    if job.method not in WITH_REFERENCE:
        return None
    if job.reference != EACH_STEP:
        identity = {"weights": policy.lm.weights_digest, "compute": str(scorer.compute)}
        cache = ReferenceCache(Path(job.scratch) / "reference", identity)
        with policy.as_reference():
            cache.fill(groups, scorer, budget)
        return cache
    if not policy.is_full:
        return LiveReference(policy.lm, scorer)
    return CopiedReference(replace(scorer, model=copy.deepcopy(policy.lm.model).requires_grad_(False).eval()))


class Gate:
    """A recorder for the loop that lets it go on only when it may."""

    def __init__(self, turnstile: Turnstile) -> None:
        self.turnstile = turnstile
        self.started = 0.0

    def open(self) -> None:
        """Wait for leave, then start the clock."""
        self.turnstile.wait()
        self.started = time.perf_counter()

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Stop the clock after a step."""
        seconds = time.perf_counter() - self.started
        self.turnstile.say(STEP, seconds=seconds, loss=values["loss"], grad_norm=values["grad_norm"])
        self.open()

    def size(self) -> int:
        """Nothing is kept."""
        return 0


def main() -> None:
    """Serve one job."""
    turnstile = Turnstile.of_process()
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(job.threads)
    groups = make_groups(job)
    contender = Contender.prepare(job, groups)
    first = contender.first()
    turnstile.say(
        READY,
        losses=[values["loss"] for values in first],
        kl=first[0].get("kl"),
        rows=digest_of(groups),
        options=contender.options,
        resident=resident_memory(),
    )
    gate = Gate(turnstile)
    with suppress(Ended):
        gate.open()
        contender.fit(gate).run(LoopState())
    turnstile.say(END, peak=peak_memory())


if __name__ == "__main__":
    main()
