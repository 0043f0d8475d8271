"""A step of reward modelling from the same token ids: TRL's RewardTrainer against ours, for loss and gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.scoring import make_scorer
from fairlead.losses.binding import bind
from fairlead.models.language_model import LanguageModel
from fairlead.models.reward_model import add_reward_head
from fairlead.training.objective import Objective
from tests.tiny import tiny_llama, tiny_tokenizer

pytest.importorskip("trl", reason="TRL is not installed (extra `dev`): its reward trainer is not compared with ours")

from datasets import Dataset
from trl import RewardConfig, RewardTrainer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TOLERANCE = 1e-5

PROMPTS = [(5, 6, 7, 8), (9, 10), (11, 12, 13, 14, 15, 16), (17, 18, 19)]
CHOSEN = [(20, 21, 22, 2), (23, 24, 25, 26, 27, 28, 2), (29, 2), (30, 31, 2)]
REJECTED = [(32, 33, 34, 35, 36, 2), (37, 2), (38, 39, 40), (41, 42, 43, 44, 2)]
MARGINS = [0.5, 0.0, 2.0, 0.25]
CASES: dict[str, tuple[dict[str, float], bool]] = {
    "plain": ({}, False),
    "margins": ({}, True),
    "centred": ({"center_coefficient": 0.01}, False),
    "centred, margins": ({"center_coefficient": 0.5}, True),
}


def reward_model() -> LanguageModel:
    """A tiny reward model whose head says something."""
    lm = LanguageModel(model=tiny_llama(), tokenizer=tiny_tokenizer(), source="tiny", weights_digest="")
    lm = add_reward_head(lm, endings={2})
    torch.nn.init.normal_(lm.model.score.weight, generator=torch.Generator().manual_seed(3))
    lm.model.requires_grad_(True).train()
    return lm


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def theirs(lm: LanguageModel, parameters: dict[str, float], margins: bool, folder: Path) -> tuple[float, Any]:
    trainer = RewardTrainer(
        copy.deepcopy(lm.model),
        RewardConfig(
            output_dir=str(folder),
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            max_length=None,
            center_rewards_coefficient=parameters.get("center_coefficient"),
        ),
        train_dataset=Dataset.from_dict({"chosen": ["a b"], "rejected": ["a c"]}),
        processing_class=lm.tokenizer,
    )
    rows: list[dict[str, Any]] = [
        {"chosen_ids": list(prompt + chosen), "rejected_ids": list(prompt + rejected)}
        | ({"margin": margin} if margins else {})
        for prompt, chosen, rejected, margin in zip(PROMPTS, CHOSEN, REJECTED, MARGINS, strict=True)
    ]
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()
    return loss.item(), gradients(trainer.model)


def groups(margins: bool) -> list[PromptGroup]:
    def completion(ids: tuple[int, ...]) -> Completion:
        return Completion(ids=ids, trained=(True,) * len(ids))

    return [
        PromptGroup(
            row_id=str(index),
            prompt=prompt,
            completions=(completion(chosen), completion(rejected)),
            margin=margin if margins else None,
        )
        for index, (prompt, chosen, rejected, margin) in enumerate(zip(PROMPTS, CHOSEN, REJECTED, MARGINS, strict=True))
    ]


@pytest.mark.parametrize("engine", ["packed", "padded"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_agree_with_trl(case: str, engine: str, tmp_path: Path) -> None:
    parameters, margins = CASES[case]
    lm = reward_model()
    expected, wanted = theirs(lm, parameters, margins, tmp_path)
    scorer = make_scorer(lm.model, engine=engine)
    objective = Objective(scorer=scorer, loss=bind([("reward", parameters, 1.0)]), reference=None, budget=30)
    found = objective.backward(groups(margins))["loss"]
    assert found == pytest.approx(expected, rel=TOLERANCE)
    ours = gradients(lm.model)
    assert ours.keys() == wanted.keys()
    differences = {name: ((ours[name] - wanted[name]).norm() / wanted[name].norm()).item() for name in wanted}
    print(f"{case}: loss differs by {abs(found / expected - 1):.1e}, gradients by {max(differences.values()):.1e}")
    assert max(differences.values()) <= TOLERANCE
