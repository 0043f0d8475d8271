"""How far a policy has gone from its reference, on answers sampled from the policy: KL by three estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairlead.data.records import Candidate, Candidates
from fairlead.data.split import prompt_key
from fairlead.data.turns import is_blank
from fairlead.engine.attention import causal_of
from fairlead.engine.groups import PromptGroup
from fairlead.engine.heads import logits_function, token_logps, vocabulary_kl
from fairlead.engine.packing import micro_batches
from fairlead.engine.scoring import Scorer
from fairlead.evaluation.estimates import Observed
from fairlead.losses.scores import TokenScores
from fairlead.progress import SILENT, Progress

TOKENS = 4096
"""Tokens scored at a time."""

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


def sampled_replies(candidates: Sequence[Candidates]) -> list[Candidates]:
    """The rows with those of their replies that say something: nothing can be scored of an empty one."""
    told = [
        msgspec.structs.replace(row, candidates=tuple(each for each in row.candidates if _says(each)))
        for row in candidates
    ]
    return [row for row in told if row.candidates]


def _says(candidate: Candidate) -> bool:
    return not is_blank(candidate.messages[-1])


def measure_divergence(rows: Sequence[Candidates], groups: Sequence[PromptGroup], found: Divergence) -> list[Observed]:
    """What each row gives to the measures of KL, in the mean over its replies; `found` has them group by group."""
    prompts = {row.id: prompt_key(row) for row in rows}
    starts = np.cumsum([0, *(len(group.completions) for group in groups)])
    return [
        Observed(measure=name, id=group.row_id, value=float(values[low:high].mean()), group=prompts[group.row_id])
        for name, values in (("kl/k1", found.k1), ("kl/k3", found.k3), ("kl/per_token", found.per_token))
        for group, low, high in zip(groups, starts, starts[1:], strict=False)
    ]


def no_divergence(rows: Sequence[Candidates]) -> list[Observed]:
    """What each row gives where policy and reference are one model: whatever is sampled, no distance."""
    return [
        Observed(measure=name, id=row.id, value=0.0, group=prompt_key(row))
        for name in ("kl/k1", "kl/k3", "kl/per_token")
        for row in rows
    ]


class Policy:
    """The policy's side of a divergence: its log-probs and states on the groups, kept while the reference is scored."""

    def __init__(self, scorer: Scorer, groups: Sequence[PromptGroup], progress: Progress = SILENT) -> None:
        self.groups = groups
        with scorer.attention(), scorer.autocast():
            self._own = _pass(scorer, groups, progress)
            self._logits = logits_function(scorer.model)

    def divergence(self, reference: Scorer, progress: Progress = SILENT) -> Divergence:
        """KL(policy ‖ reference) on the replies; the reference must have the policy's vocabulary."""
        own = self._own
        with reference.attention(), reference.autocast():
            other = _pass(reference, self.groups, progress)
            log_ratio = own.logps - other.logps
            exact = vocabulary_kl(
                self._logits,
                own.hidden,
                logits_function(reference.model),
                other.hidden,
                vocabulary=causal_of(reference.model).config.get_text_config().vocab_size,
            )

        def per_reply(values: Tensor) -> TokenScores:
            return TokenScores(values.float(), own.counts)

        return Divergence(
            k1=per_reply(log_ratio).total.double().cpu().numpy(),
            k3=per_reply(torch.exp(-log_ratio) - 1 + log_ratio).total.double().cpu().numpy(),
            per_token=per_reply(exact).mean.double().cpu().numpy(),
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
