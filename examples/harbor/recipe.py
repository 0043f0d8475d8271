"""The settings of the story: how every model of it is trained, and on which pairs.

Chosen on the `recipe` prompts of the world, never on the evaluation prompts. They differ from the published ones where
the model's size asks for it; the reason stands beside each. No run samples replies of its own (`sample_prompts` 0):
every model answers the evaluation prompts, and the example's report shows those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from examples.harbor.world import FULL, Sizes

DRAFT_TEMPERATURE = 0.8
"""Drafts that agents edit, and both sides of the held-out pairs, are sampled, as replies to live prompts are."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One preference-trained model of the story: `pairs` names the set it learns from."""

    name: str
    pairs: str
    beta: float
    epochs: float
    learning_rate: float = 1e-4
    nll_weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that the story's numbers depend on besides the seed. `smoke` numbers show plumbing, nothing else.

    `kl_prompts` is on how many prompts the distance from the fine-tuned model is measured; `max_new_tokens` twice the
    median reply of the fine-tuned model (the published cap is 512, for longer replies).
    """

    sizes: Sizes
    tone_edits: int
    kl_prompts: int
    max_new_tokens: int = 96
    max_sft_steps: int | None = None
    max_steps: int | None = None
    smoke: bool = False


FIRST_TRY, CHOSEN_BETA, REPAIRED, SHIPPED = "dpo_b01", "dpo_b03", "dpo_b03_repair", "dpo_b03_repair2"

SWEPT = Arm(name="sweep", pairs="first", beta=0.3, epochs=2)
SWEPT_BETAS = {FIRST_TRY: 0.1, CHOSEN_BETA: 0.3}
"""The points of the sweep, by what the story calls them."""

REPAIR = Arm(name=REPAIRED, pairs="repair", beta=0.3, epochs=2)
# One pass with an anchor on the chosen replies. The anchor teaches how a reply begins, which preferences alone hardly
# move, and keeps the model whole at a rate at which β 0.1 without it forgets every fact.
SECOND_ROUND = Arm(name=SHIPPED, pairs="second", beta=0.3, epochs=1, learning_rate=2e-4, nll_weight=1.0)

FULL_RECIPE = Recipe(sizes=FULL, tone_edits=28, kl_prompts=32)
QUICK_RECIPE = Recipe(
    sizes=FULL.scaled(0.06),
    tone_edits=2,
    kl_prompts=4,
    max_new_tokens=48,
    max_sft_steps=3,
    max_steps=2,
    smoke=True,
)


def sft_config(recipe: Recipe, *, model: str, rows: str, output: str, seed: int) -> dict[str, Any]:
    """Full fine-tuning on the transcripts: one pass, at ten times the usual rate of larger models.

    Steps are small because there are few examples: batches of 6 learn the facts, the disclaimer and the tools in one
    pass, batches of 18 do not.
    """
    return {
        "model": {"path": model},
        "data": {"train": rows},
        "loss": {"name": "sft"},
        "train": {
            "output": output, "run": "run", "seed": seed, "batch_size": 6, "max_steps": recipe.max_sft_steps,
            "epochs": 1, "learning_rate": 2e-4, "keep_checkpoints": 1, "sample_prompts": 0,
        },
    }  # fmt: skip


def dpo_config(
    recipe: Recipe, arm: Arm, *, model: str, rows: str, output: str, reference: str, seed: int
) -> dict[str, Any]:
    """LoRA of rank 64 on attention, as published.

    The rates are 1e-4 and 2e-4 instead of 1e-5, because a small model moves little in few steps. Batches are of 4,
    since there are hundreds of pairs and not thousands.
    """
    return {
        "model": {"path": model},
        "data": {"train": rows},
        "loss": {"name": "dpo", "beta": arm.beta} | ({"nll_weight": arm.nll_weight} if arm.nll_weight else {}),
        "adapter": {"r": 64, "alpha": 64, "targets": "attention"},
        "train": {
            "output": output, "run": arm.name, "seed": seed, "batch_size": 4, "epochs": arm.epochs,
            "max_steps": recipe.max_steps, "learning_rate": arm.learning_rate, "keep_checkpoints": 1,
            "sample_prompts": 0, "reference_cache": reference,
        },
    }  # fmt: skip
