"""The reference of a training run: named, scored once and cached or live, and proven to be the right model."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.config import TrainConfig
from fairlead.engine.groups import PromptGroup
from fairlead.engine.reference import LiveReference, prove_reference
from fairlead.engine.reference_cache import ReferenceCache
from fairlead.engine.scoring import Scorer
from fairlead.progress import Progress
from fairlead.stages.policy import Policy
from fairlead.stages.rows import TrainingRows


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A reference, and how far it was from the policy before the first step: `gap`, in nats per token."""

    reference: ReferenceCache | LiveReference
    gap: float


def name_reference(policy: Policy) -> dict[str, str]:
    """Which model the policy is held against, with digests, for the log and for run.json."""
    return {
        "weights": policy.lm.source,
        "sha256": policy.lm.weights_digest,
        "adapter_sha256": policy.start_adapter,
    }


def make_reference(
    policy: Policy, scorer: Scorer, rows: TrainingRows, config: TrainConfig, progress: Progress
) -> Proven:
    """The reference as the configuration wants it; the policy must still be what training starts from.

    Raises RunError where policy and reference do not agree, MachineError where the cache cannot be written.
    """
    named = name_reference(policy)
    adapter = f" with adapter {named['adapter_sha256'][:12]}" if named["adapter_sha256"] else ""
    progress.say(f"reference: {named['weights']} (weights {named['sha256'][:12]}{adapter})")
    reference: ReferenceCache | LiveReference
    if config.reference == "live":
        reference = LiveReference(policy.lm, scorer)
    else:
        groups = [*rows.train, *rows.held_out]
        reference = _fill_cache(policy, scorer, groups, config, progress)
    gap = prove_reference(scorer, reference, rows.train)
    progress.say(f"policy and reference agree before the first step (within {gap:.2g} nats per token)")
    return Proven(reference=reference, gap=gap)


def _fill_cache(
    policy: Policy, scorer: Scorer, groups: list[PromptGroup], config: TrainConfig, progress: Progress
) -> ReferenceCache:
    identity = {
        "weights": policy.lm.weights_digest,
        "adapter": policy.start_adapter,
        "template": str(policy.lm.tokenizer.chat_template),
        "compute": str(scorer.compute),
        "engine": "packed" if scorer.packed else "padded",
    }
    cache = ReferenceCache(config.reference_cache, identity)
    if cache.missing(groups):
        policy.lm.model.eval()
        with policy.as_reference():
            cache.fill(groups, scorer, config.micro_batch_tokens, progress)
    return cache
