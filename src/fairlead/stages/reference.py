"""The reference of a training run: named, scored once and cached or live, and proven to be the right model."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from fairlead.config import TrainConfig
from fairlead.engine.groups import PromptGroup
from fairlead.engine.reference import (
    CopiedReference,
    FollowedWeight,
    LiveReference,
    Reference,
    SyncedReference,
    prove_reference,
)
from fairlead.engine.reference_cache import ReferenceCache
from fairlead.engine.scoring import Scorer
from fairlead.models.adapters import REFERENCE, keep_reference
from fairlead.models.quantization import is_quantized
from fairlead.models.stacks import ADAPTER
from fairlead.progress import Progress
from fairlead.stages.policy import Policy
from fairlead.stages.rows import TrainingRows


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A reference, and how far it was from the policy before the first step: `gap`, in nats per token."""

    reference: Reference
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
    bits = ", in 4 bits" if is_quantized(policy.lm.model) else ""
    progress.say(f"reference: {named['weights']} (weights {named['sha256'][:12]}{bits}{adapter})")
    reference: Reference
    if config.reference_sync_steps is not None:
        reference = _follow(policy, scorer, config.reference_sync_steps, config.reference_mixup_alpha, progress)
    elif config.reference == "live":
        reference = LiveReference(policy.lm, scorer)
    else:
        groups = [*rows.train, *rows.held_out]
        reference = _fill_cache(policy, scorer, groups, config, progress)
    gap = prove_reference(scorer, reference, rows.train)
    progress.say(f"policy and reference agree before the first step (within {gap:.2g} nats per token)")
    return Proven(reference=reference, gap=gap)


def _follow(policy: Policy, scorer: Scorer, every: int, alpha: float, progress: Progress) -> SyncedReference:
    """A reference with weights of its own, which the policy's are mixed into as training goes on (TR-DPO)."""
    inner, weights = _second_model(policy, scorer, progress) if policy.is_full else _second_adapter(policy, scorer)
    share = "the policy takes its place" if alpha == 1 else f"{alpha:g} of the policy is mixed into it"
    progress.say(f"the reference moves: every {every} steps {share}")
    return SyncedReference(inner=inner, weights=weights, every=every, alpha=alpha)


def _second_model(
    policy: Policy, scorer: Scorer, progress: Progress
) -> tuple[CopiedReference, dict[str, FollowedWeight]]:
    model = copy.deepcopy(policy.lm.model).requires_grad_(False).eval()
    own = dict(model.named_parameters())
    size = sum(weight.numel() * weight.element_size() for weight in own.values())
    progress.say(f"a second copy of all weights is kept as the reference: {size / 1e6:,.0f} MB")
    weights = {
        f"{REFERENCE}.{name}": FollowedWeight(own=own[name], policy=weight)
        for name, weight in policy.parameters.items()
    }
    return CopiedReference(replace(scorer, model=model)), weights


def _second_adapter(policy: Policy, scorer: Scorer) -> tuple[LiveReference, dict[str, FollowedWeight]]:
    model: Any = policy.lm.model
    if REFERENCE not in model.peft_config:
        keep_reference(policy.lm)
    own = dict(model.named_parameters())
    # PEFT names the weights of both adapters alike, but for the adapter's own name in it.
    names = {
        ".".join(REFERENCE if part == ADAPTER else part for part in name.split(".")): weight
        for name, weight in policy.parameters.items()
    }
    weights = {name: FollowedWeight(own=own[name], policy=weight) for name, weight in names.items()}
    return LiveReference(policy.lm, scorer), weights


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
