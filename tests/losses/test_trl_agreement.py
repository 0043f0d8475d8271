"""Every loss that TRL has too, from the same token ids: TRL's own trainers against ours, for loss and gradients.

TRL's side is `compute_loss` of its trainers on a batch of its own collators. Ours is a plain log-softmax, gathered at
the trained tokens. `pytest tests/losses/test_trl_agreement.py -s` prints the largest differences.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairlead.losses.binding import NamedLoss, bind
from fairlead.losses.scores import Demonstrations, Examples, Pairs, Thumbs, TokenScores
from fairlead.losses.table import LOSSES
from tests.losses.batches import imitated_tokens, reduced
from tests.tiny import tiny_llama, tiny_tokenizer

pytest.importorskip("trl", reason="TRL is not installed (extra `dev`): its losses are not compared with ours")

from datasets import Dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TOLERANCE = 1e-5

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [17, 18, 19]]
CHOSEN = [[20, 21, 22], [23, 24, 25, 26, 27, 28, 2], [29], [30, 31, 2]]
REJECTED = [[32, 33, 34, 35, 36], [37, 2], [38, 39, 40], [41, 42, 43, 44]]
LABELS = [True, False, False, True]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One loss in both houses: ours by name and parameters, TRL's by trainer and options."""

    ours: list[NamedLoss]
    oracle: Callable[[Mapping[str, Any], nn.Module, nn.Module, Path], tuple[Tensor, list[Tensor]]]
    options: Mapping[str, Any] = field(default_factory=dict)


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def settings(folder: Path) -> dict[str, Any]:
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


def trl_simpo(
    options: Mapping[str, Any], model: nn.Module, _reference: nn.Module, folder: Path
) -> tuple[Tensor, list[Tensor]]:
    """CPOTrainer without its own NLL term."""
    trainer = CPOTrainer(
        model,
        CPOConfig(**settings(folder), loss_type="simpo", cpo_alpha=0.0, **options),
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


def score(model: nn.Module, completions: list[list[int]]) -> TokenScores:
    """Log-probabilities of completions after their prompts, one sequence at a time, by log-softmax."""
    logps = []
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        ids = torch.tensor(prompt + completion)
        logp_SV = model(ids[None]).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        logps.append(logp_SV.gather(1, ids[len(prompt) :, None])[:, 0])
    return TokenScores(torch.cat(logps), torch.tensor([len(completion) for completion in completions]))


def our_loss(named: list[NamedLoss], model: nn.Module, reference: nn.Module) -> Tensor:
    loss = bind(named)
    with torch.no_grad():
        statistics = {
            name: statistic.compute(score(model, mismatched(CHOSEN)), score(reference, mismatched(CHOSEN)))
            for name, statistic in loss.statistics.items()
        }
        assert all(statistic > 0 for statistic in statistics.values()), "a reference point at its bound tests nothing"
        reference_chosen, reference_rejected = score(reference, CHOSEN), score(reference, REJECTED)
    chosen = score(model, CHOSEN)
    examples: Examples
    if loss.examples is Pairs:
        examples = Pairs(chosen, score(model, REJECTED), reference_chosen, reference_rejected)
    elif loss.examples is Thumbs:
        examples = Thumbs(chosen, torch.tensor(LABELS), reference_chosen)
    else:
        examples = Demonstrations(chosen)
    return reduced(loss(examples, statistics), rows=len(PROMPTS), tokens=imitated_tokens(examples))


def one(name: str, **given: float | str) -> list[NamedLoss]:
    return [(name, given, 1.0)]


CASES = {
    "sft": Case(ours=one("sft"), oracle=trl_dpo, options={"loss_type": ["sft"]}),
    "dpo": Case(ours=one("dpo"), oracle=trl_dpo, options={"loss_type": ["sigmoid"]}),
    "dpo, label smoothing": Case(
        # TRL has none in its sigmoid loss; its aot loss has, and is DPO where the batch is a single pair.
        ours=one("dpo", label_smoothing=0.2),
        oracle=trl_dpo,
        options={"loss_type": ["aot"], "label_smoothing": 0.2, "one_by_one": True},
    ),
    "dpo + 0.5 sft": Case(
        ours=[("dpo", {}, 1.0), ("sft", {}, 0.5)],
        oracle=trl_dpo,
        options={"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
    ),
    "ipo": Case(ours=one("ipo"), oracle=trl_dpo, options={"loss_type": ["ipo"]}),
    "hinge": Case(ours=one("hinge", beta=0.5), oracle=trl_dpo, options={"loss_type": ["hinge"], "beta": 0.5}),
    "dpo_norm": Case(ours=one("dpo_norm"), oracle=trl_dpo, options={"loss_type": ["sigmoid_norm"], "beta": 2.0}),
    "simpo": Case(ours=one("simpo"), oracle=trl_simpo, options={"beta": 2.0, "simpo_gamma": 1.0}),
    "simpo, label smoothing": Case(
        ours=one("simpo", label_smoothing=0.2),
        oracle=trl_simpo,
        options={"beta": 2.0, "simpo_gamma": 1.0, "label_smoothing": 0.2},
    ),
    "orpo": Case(ours=one("orpo"), oracle=trl_orpo, options={"beta": 0.1}),
    "kto": Case(ours=one("kto"), oracle=trl_kto, options={"beta": 0.1}),
    "kto, weights": Case(
        ours=one("kto", beta=0.5, desirable_weight=1.5, undesirable_weight=0.8),
        oracle=trl_kto,
        options={"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.8},
    ),
}

NOT_IN_TRL = {"dpop"}


def relative(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.fixture(scope="module")
def differences() -> Iterator[dict[str, tuple[float, float]]]:
    measured: dict[str, tuple[float, float]] = {}
    yield measured
    print(f"\n{'loss':<24}{'loss differs by':>18}{'gradient by':>18}   (largest relative difference)")
    for name, (loss, gradient) in measured.items():
        print(f"{name:<24}{loss:>18.1e}{gradient:>18.1e}")


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_agree_with_trl(
    name: str, differences: dict[str, tuple[float, float]], tmp_path: Path
) -> None:
    case = CASES[name]
    model = tiny_llama(seed=0).float()
    reference = tiny_llama(seed=1).float()
    theirs = copy.deepcopy(model), copy.deepcopy(reference)
    expected, expected_gradients = case.oracle(case.options, *theirs, tmp_path)
    loss = our_loss(case.ours, model, reference)
    loss_differs = relative(loss.detach(), expected.detach())
    pairs = zip(gradients(loss, model), expected_gradients, strict=True)
    gradient_differs = max(relative(ours, other) for ours, other in pairs)
    differences[name] = loss_differs, gradient_differs
    assert loss_differs <= TOLERANCE
    assert gradient_differs <= TOLERANCE


def test_every_loss_is_compared_or_known_to_be_absent_from_trl() -> None:
    assert {name.split(",")[0].split(" ")[0] for name in CASES} | NOT_IN_TRL == set(LOSSES)
