"""TRL's own trainers as an oracle: `compute_loss` of each on a batch of its own collators, from token ids.

Only what TRL computes differently on purpose is replaced, and each replacement says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from tests.tiny import END_OF_TEXT, tiny_tokenizer

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [17, 18, 19]]
CHOSEN = [[20, 21, 22], [23, 24, 25, 26, 27, 28, 2], [29], [30, 31, 2]]
REJECTED = [[32, 33, 34, 35, 36], [37, 2], [38, 39, 40], [41, 42, 43, 44]]
LABELS = [True, False, False, True]
MARGINS = [0.5, 0.0, 1.5, 0.25]

Oracle = Callable[[Mapping[str, Any], nn.Module, nn.Module, Path], tuple[Tensor, list[Tensor]]]
"""From options, policy, reference and a folder to the loss and its gradients by the policy's parameters."""


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    """The gradient of every parameter, zero where the loss does not reach it."""
    given = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return list(given)


def settings(folder: Path) -> dict[str, Any]:
    """What all of TRL's configurations have in common here."""
    return {
        "output_dir": str(folder),
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": None,
    }


def placeholder_rows(**columns: Any) -> Dataset:
    """Rows a trainer wants at construction; the batches compared are built from token ids instead."""
    return Dataset.from_dict({"prompt": ["a"], **{name: [value] for name, value in columns.items()}})


def preference_rows(rows: slice = slice(None)) -> list[dict[str, list[int]]]:
    """Pairs in the layout of the collator of the DPO trainer."""
    columns = zip(PROMPTS[rows], CHOSEN[rows], REJECTED[rows], strict=True)
    return [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in columns]


def trl_dpo(
    options: Mapping[str, Any], model: nn.Module, reference: nn.Module, folder: Path
) -> tuple[Tensor, list[Tensor]]:
    """DPOTrainer; with `one_by_one` the mean over batches of one pair."""
    one_by_one = options.get("one_by_one", False)
    trainer = DPOTrainer(
        model,
        reference,
        DPOConfig(**settings(folder), **{key: value for key, value in options.items() if key != "one_by_one"}),
        train_dataset=placeholder_rows(chosen=" b", rejected=" c"),
        processing_class=tiny_tokenizer(),
    )
    parts = [slice(i, i + 1) for i in range(len(PROMPTS))] if one_by_one else [slice(None)]
    losses = [trainer.compute_loss(model, trainer.data_collator(preference_rows(part))) for part in parts]
    loss = torch.stack(losses).mean()
    return loss, gradients(loss, model)


def labelled_rows() -> list[dict[str, list[int]]]:
    """Rows in the layout of the collator of the CPO and ORPO trainers."""
    rows = []
    for row in preference_rows():
        sides = {}
        for side in ("chosen", "rejected"):
            ids = row["prompt_ids"] + row[f"{side}_ids"]
            sides[f"{side}_input_ids"] = ids
            sides[f"{side}_attention_mask"] = [1] * len(ids)
            sides[f"{side}_labels"] = [-100] * len(row["prompt_ids"]) + row[f"{side}_ids"]
        rows.append(sides)
    return rows


class CpoOverRows(CPOTrainer):
    """CPOTrainer whose NLL term is the mean over rows of the completion's NLL per token; TRL's own is per token."""

    def concatenated_forward(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Any, ...]:
        chosen, rejected, *logits, nll = super().concatenated_forward(model, batch)
        counts = (batch["chosen_labels"][:, 1:] != -100).sum(1)
        return chosen, rejected, *logits, nll if self.cpo_alpha == 0 else -(chosen / counts).mean()


def trl_cpo(
    options: Mapping[str, Any], model: nn.Module, _reference: nn.Module, folder: Path
) -> tuple[Tensor, list[Tensor]]:
    """CPOTrainer, for SimPO and AlphaPO too: these without an NLL term, which TRL would add to SimPO."""
    trainer = CpoOverRows(
        model,
        CPOConfig(**settings(folder), **options),
        train_dataset=placeholder_rows(chosen=" b", rejected=" c"),
        processing_class=tiny_tokenizer(),
    )
    loss = trainer.compute_loss(model, trainer.data_collator(labelled_rows()))
    return loss, gradients(loss, model)


class OrpoOverCompletions(ORPOTrainer):
    """ORPOTrainer whose NLL term is the mean over rows of the completion's NLL per token.

    TRL's own is the token mean over the batch's prompts and completions; everything else is left as it is.
    """

    def concatenated_forward(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Any, ...]:
        chosen, rejected, *logits, _nll = super().concatenated_forward(model, batch)
        return chosen, rejected, *logits, -chosen.mean()


def trl_orpo(
    options: Mapping[str, Any], model: nn.Module, _reference: nn.Module, folder: Path
) -> tuple[Tensor, list[Tensor]]:
    """ORPOTrainer."""
    trainer = OrpoOverCompletions(
        model,
        ORPOConfig(**settings(folder), **options),
        train_dataset=placeholder_rows(chosen=" b", rejected=" c"),
        processing_class=tiny_tokenizer(),
    )
    loss = trainer.compute_loss(model, trainer.data_collator(labelled_rows()))
    return loss, gradients(loss, model)


def mismatched(completions: list[list[int]]) -> list[list[int]]:
    """Each row's completion is the next row's."""
    return completions[1:] + completions[:1]


def trl_kto(
    options: Mapping[str, Any], model: nn.Module, reference: nn.Module, folder: Path
) -> tuple[Tensor, list[Tensor]]:
    """KTOTrainer."""
    trainer = KTOTrainer(
        model,
        reference,
        KTOConfig(**settings(folder), per_device_train_batch_size=2, **options),
        train_dataset=Dataset.from_dict({"prompt": ["a", "d"], "completion": [" b", " c"], "label": [True, False]}),
        processing_class=tiny_tokenizer(),
    )
    columns = zip(PROMPTS, CHOSEN, mismatched(CHOSEN), LABELS, strict=True)
    rows = [{"prompt_ids": p, "completion_ids": c, "KL_completion_ids": k, "label": y} for p, c, k, y in columns]
    loss = trainer.compute_loss(model, trainer.data_collator(rows))
    return loss, gradients(loss, model)


def trl_reward(
    options: Mapping[str, Any], model: nn.Module, _reference: nn.Module, folder: Path
) -> tuple[Tensor, list[Tensor]]:
    """RewardTrainer; with `margin` the rows carry `MARGINS`."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.pad_token = END_OF_TEXT  # were it the end of a turn, the score would be read before that token
    trainer = RewardTrainer(
        model,
        RewardConfig(**settings(folder), **{key: value for key, value in options.items() if key != "margin"}),
        train_dataset=placeholder_rows(chosen=" b", rejected=" c"),
        processing_class=tokenizer,
    )
    rows: list[dict[str, Any]] = [
        {"chosen_ids": row["prompt_ids"] + row["chosen_ids"], "rejected_ids": row["prompt_ids"] + row["rejected_ids"]}
        for row in preference_rows()
    ]
    if options.get("margin", False):
        rows = [row | {"margin": margin} for row, margin in zip(rows, MARGINS, strict=True)]
    loss = trainer.compute_loss(model, trainer.data_collator(rows))
    return loss, gradients(loss, model)
