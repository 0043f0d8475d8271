"""Likelihoods that the story is measured by: log-probs of given completions, and the distance from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairlead.data.ledger import Ledger, Place
from fairlead.data.records import Candidates, Demonstration, Preference, Row
from fairlead.engine.groups import PromptGroup
from fairlead.engine.heads import logits_function, token_logps, vocabulary_kl
from fairlead.engine.packing import micro_batches
from fairlead.engine.rendering import Renderer
from fairlead.engine.rows import Limits, make_groups
from fairlead.engine.scoring import Scorer, make_scorer
from fairlead.losses.scores import TokenScores
from fairlead.models.loading import load, resolve_dtype
from fairlead.progress import SILENT, Progress

TOKENS = 4096
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Divergence:
    """How far a policy has gone from its reference on replies sampled from the policy; one entry per reply.

    `k1` is the sum over tokens of log π − log π_ref, unbiased for the KL of a whole reply; `k3` the sum of
    e^−x − 1 + x of the same log-ratios, which is never negative; both in nats. `per_token` is the exact KL over the
    vocabulary, averaged along the reply, in nats per token. Schulman 2020, "Approximating KL divergence".
    """

    k1: Floats
    k3: Floats
    per_token: Floats


def mean_logps(
    *, model: str, rows: Sequence[Preference], adapter: str | None = None, progress: Progress = SILENT
) -> list[tuple[float, float]]:
    """Mean log-probability per token, in nats, of the chosen and of the rejected completion of each row."""
    with _scorer(model, adapter) as (scorer, renderer):
        groups = _groups(rows, renderer)
        means: list[tuple[float, float]] = []
        with progress.task("score", total=len(groups), unit="pairs") as task, torch.no_grad():
            for batch in micro_batches(groups, TOKENS):
                found = scorer.score(scorer.batch([groups[i] for i in batch])).mean.tolist()
                means += zip(found[::2], found[1::2], strict=True)
                task.advance(len(batch))
    return means


def divergence(
    *,
    model: str,
    reference: str,
    candidates: Sequence[Candidates],
    adapter: str | None = None,
    progress: Progress = SILENT,
) -> Divergence:
    """KL of the policy (`model` with `adapter`) to `reference` on the first candidate of each row, sampled from it."""
    rows = [
        Demonstration(id=row.id, messages=(*row.prompt, *row.candidates[0].messages))
        for row in candidates
        if row.candidates[0].messages[-1].content.strip()
    ]
    with _scorer(model, adapter) as (scorer, renderer):
        groups = _groups(rows, renderer)
        policy = _pass(scorer, groups, progress)
        policy_logits = logits_function(scorer.model)
    with _scorer(reference, None) as (scorer, _):
        other = _pass(scorer, groups, progress)
        log_ratio = policy.logps - other.logps
        exact = vocabulary_kl(
            policy_logits,
            policy.hidden,
            logits_function(scorer.model),
            other.hidden,
            vocabulary=scorer.model.config.get_text_config().vocab_size,
        )

    def per_reply(values: Tensor) -> TokenScores:
        return TokenScores(values.float(), policy.counts)

    return Divergence(
        k1=per_reply(log_ratio).total.double().numpy(),
        k3=per_reply(torch.exp(-log_ratio) - 1 + log_ratio).total.double().numpy(),
        per_token=per_reply(exact).mean.double().numpy(),
    )


@dataclass(frozen=True)
class _Pass:
    """What one model makes of all trained tokens of some groups."""

    hidden: Tensor
    logps: Tensor
    counts: Tensor


@torch.no_grad()
def _pass(scorer: Scorer, groups: Sequence[PromptGroup], progress: Progress) -> _Pass:
    hidden, logps, counts = [], [], []
    with progress.task("divergence", total=len(groups), unit="replies") as task:
        for batch in micro_batches(groups, TOKENS):
            packed = scorer.batch([groups[i] for i in batch])
            states = scorer.hidden(packed)
            hidden.append(states)
            logps.append(token_logps(scorer.model, states, packed.target_N)[0])
            counts.append(packed.count_C)
            task.advance(len(batch))
    return _Pass(torch.cat(hidden), torch.cat(logps), torch.cat(counts))


@contextmanager
def _scorer(model: str, adapter: str | None) -> Iterator[tuple[Scorer, Renderer]]:
    lm = load(model, dtype=resolve_dtype("auto"), adapter=adapter)
    scorer = make_scorer(lm.model)
    with scorer.attention(), scorer.autocast():
        yield scorer, Renderer(lm.tokenizer)


def _groups(rows: Sequence[Row], renderer: Renderer) -> list[PromptGroup]:
    ledger = Ledger()
    for number, row in enumerate(rows, 1):
        ledger.ok(Place("measured", number, row.id))
    groups = make_groups(rows, renderer, Limits(), ledger)
    assert len(groups) == len(rows), ledger
    return groups
