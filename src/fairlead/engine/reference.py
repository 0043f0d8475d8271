"""The reference: the model that the policy is held against, live or cached, and the proof that it is the right one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from fairlead.engine.groups import PromptGroup
from fairlead.engine.scoring import TOLERANCE, Scorer
from fairlead.errors import RunError
from fairlead.losses.scores import TokenScores
from fairlead.models.adapters import reference_weights
from fairlead.models.language_model import LanguageModel

PROOF_TOKENS = 2048


class Reference(Protocol):
    """Scores of groups under the reference, from a cache or live."""

    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        """Scores of the groups' completions (`which` of each, by index), without gradient."""
        ...


@dataclass(frozen=True)
class LiveReference:
    """Scores under the reference weights at each call: the adapter off, or its frozen copy in its place."""

    lm: LanguageModel
    scorer: Scorer

    @torch.no_grad()
    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        """Scores of the groups' completions under the reference; needs `scorer.attention()` around it."""
        model = self.scorer.model
        training = model.training
        model.eval()
        try:
            with reference_weights(self.lm):
                return self.scorer.score(self.scorer.batch(groups, which))
        finally:
            model.train(training)


@dataclass(frozen=True)
class CopiedReference:
    """Scores under a second copy of all weights, which is a model of its own in evaluation mode."""

    scorer: Scorer

    @torch.no_grad()
    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        """Scores of the groups' completions under the copy."""
        with self.scorer.attention():
            return self.scorer.score(self.scorer.batch(groups, which))


@dataclass(frozen=True)
class FollowedWeight:
    """A weight of the reference's own, and the policy's that it follows."""

    own: nn.Parameter
    policy: nn.Parameter


@dataclass(frozen=True, kw_only=True)
class SyncedReference:
    """A reference that follows the policy: every so many steps π_ref ← α·π + (1 − α)·π_ref, weight by weight.

    `inner` scores with the weights that `weights` holds: by the name they have in checkpoints, each beside the weight
    of the policy that it follows. Of an adapter these are its matrices, not their products: the reference is what the
    adapter with the mixed matrices says. TR-DPO: Gorbatovski et al. 2024 (arXiv:2404.09656); α = 1 is its hard update.
    """

    inner: LiveReference | CopiedReference
    weights: Mapping[str, FollowedWeight]
    every: int
    alpha: float

    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        """Scores of the groups' completions under the reference as it stands; needs `attention()` around it."""
        return self.inner.scores(groups, which)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The reference's own weights, which are part of what a checkpoint must hold."""
        return {name: followed.own for name, followed in self.weights.items()}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the reference if it is due after optimizer step `step`, counted from 1."""
        if step % self.every == 0:
            for followed in self.weights.values():
                followed.own.lerp_(followed.policy, self.alpha)


@torch.no_grad()
def prove_reference(scorer: Scorer, reference: Reference, groups: Sequence[PromptGroup]) -> float:
    """The step-0 proof: before the first update policy and reference are one model, so their log-probs must agree.

    Returns the largest difference in nats per token over the first few groups. Raises RunError where it is beyond what
    rounding explains: then the cache or the adapter belongs to another model.
    """
    proof: list[PromptGroup] = []
    for group in groups:
        if proof and sum(each.tokens for each in proof) + group.tokens > PROOF_TOKENS:
            break
        proof.append(group)
    model = scorer.model
    training = model.training
    model.eval()
    try:
        with scorer.attention():
            policy, other = scorer.score(scorer.batch(proof)), reference.scores(proof)
    finally:
        model.train(training)
    gap = (policy.mean.cpu() - other.mean.cpu()).abs().max().item()
    bound = TOLERANCE[scorer.compute]
    if not gap <= bound:
        raise RunError(
            f"before the first step policy and reference differ by {gap:.3g} nats per token (rounding explains "
            f"{bound:g}), so the reference is not the model that training starts from. Remove the folder of "
            "`train.reference_cache`, and check `model.path` and `model.adapter`."
        )
    return gap
