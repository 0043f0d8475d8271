"""The reference: the model that the policy is held against, live or cached, and the proof that it is the right one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fairlead.engine.groups import PromptGroup
from fairlead.engine.reference_cache import ReferenceCache
from fairlead.engine.scoring import TOLERANCE, Scorer
from fairlead.errors import RunError
from fairlead.losses.scores import TokenScores
from fairlead.models.adapters import reference_weights
from fairlead.models.language_model import LanguageModel

PROOF_TOKENS = 2048


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


@torch.no_grad()
def prove_reference(scorer: Scorer, reference: LiveReference | ReferenceCache, groups: Sequence[PromptGroup]) -> float:
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
