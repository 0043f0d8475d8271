"""The other contender: TRL's own trainers on the same rows, `python -m bench.against_trl.theirs JOB.json`.

Nothing of TRL is replaced but where the token ids come from, and ORPO's likelihood term (see `OrpoOverCompletions`).
Options are those that serve it best on a CPU: no gradient checkpointing, the fused optimizer, the fused output head (on
by itself in the trainers that have one), reference log-probs precomputed where the job says so, no padding where the
trainer has such a mode, no reports.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import (
    DPOConfig,
    DPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from bench.against_trl.cells import PRECOMPUTED, Job
from bench.against_trl.models import shift
from bench.against_trl.rows import digest_of, make_groups
from bench.against_trl.wire import END, READY, STEP, Ended, Turnstile, peak_memory, resident_memory
from fairlead.engine.groups import PromptGroup
from fairlead.models.quiet import quiet

LONGEST = 1 << 20
"""Where a trainer must be told a length at which it cuts."""


class DpoOnIds(DPOTrainer):
    """Rows come as token ids: there is no text to tokenise."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class KtoOnIds(KTOTrainer):
    """Rows come as token ids, the mismatched completion among them."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class OrpoOverCompletions(ORPOTrainer):
    """ORPO whose likelihood term is the mean over rows of the completion's negative log-likelihood per token.

    TRL's own, the token mean over the batch's prompts and completions, is still computed; its gradient is not.
    """

    def concatenated_forward(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Any, ...]:
        chosen, rejected, *logits, _nll = super().concatenated_forward(model, batch)
        return chosen, rejected, *logits, -chosen.mean()


def settings(job: Job) -> dict[str, Any]:
    """Training arguments of every trainer."""
    return {
        "output_dir": str(Path(job.scratch) / "trl"),
        "use_cpu": True,
        "bf16": job.precision == "bf16",
        "gradient_checkpointing": False,
        "optim": "adamw_torch_fused",
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "per_device_train_batch_size": job.batch,
        "gradient_accumulation_steps": 1,
        "max_steps": job.steps,
        "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "seed": job.seed,
    }


def weights_dtype(job: Job) -> torch.dtype:
    """As Fairlead keeps them: float32 where they are trained, the type of the computation under an adapter."""
    return torch.bfloat16 if job.precision == "bf16" and not job.is_full else torch.float32


def lora(job: Job) -> LoraConfig | None:
    """An adapter on every linear map but the output head, with PEFT's own choice of modules."""
    if job.is_full:
        return None
    reward = job.method == "reward"
    return LoraConfig(
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
        r=job.lora_rank,
        lora_alpha=2 * job.lora_rank,
        lora_dropout=0.0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        modules_to_save=["score"] if reward else None,
    )


def preference_rows(groups: Sequence[PromptGroup]) -> list[dict[str, Any]]:
    """In the layout of DPOTrainer."""
    return [
        {
            "prompt_ids": list(group.prompt),
            "chosen_ids": list(group.completions[0].ids),
            "rejected_ids": list(group.completions[1].ids),
        }
        for group in groups
    ]


def thumbed_rows(groups: Sequence[PromptGroup]) -> list[dict[str, Any]]:
    """In the layout of KTOTrainer."""
    return [
        {
            "prompt_ids": list(group.prompt),
            "completion_ids": list(group.completions[0].ids),
            "KL_completion_ids": list(group.completions[1].ids),
            "label": group.label,
        }
        for group in groups
    ]


def whole_rows(groups: Sequence[PromptGroup]) -> list[dict[str, Any]]:
    """In the layout of RewardTrainer: each side with its prompt."""
    return [
        {
            f"{side}_ids": list(group.prompt + completion.ids)
            for side, completion in zip(("chosen", "rejected"), group.completions, strict=True)
        }
        for group in groups
    ]


def labelled_rows(groups: Sequence[PromptGroup]) -> list[dict[str, Any]]:
    """In the layout of the collator of the CPO and ORPO trainers."""
    rows = []
    for group in groups:
        row: dict[str, Any] = {}
        for side, completion in zip(("chosen", "rejected"), group.completions, strict=True):
            ids = list(group.prompt + completion.ids)
            row[f"{side}_input_ids"] = ids
            row[f"{side}_attention_mask"] = [1] * len(ids)
            row[f"{side}_labels"] = [-100] * len(group.prompt) + list(completion.ids)
        rows.append(row)
    return rows


def imitated_rows(groups: Sequence[PromptGroup]) -> list[dict[str, Any]]:
    """In the layout of SFTTrainer after its own tokenisation."""
    rows = []
    for group in groups:
        (completion,) = group.completions
        untrained = [-100] * len(group.prompt)
        labels = [i if t else -100 for i, t in zip(completion.ids, completion.trained, strict=True)]
        rows.append({"input_ids": list(group.prompt + completion.ids), "labels": untrained + labels})
    return rows


@dataclass(frozen=True, kw_only=True)
class House:
    """A trainer of TRL: its classes, its options, the layout of its rows, and whether it must be given text first."""

    trainer: Any
    config: Any
    rows: Callable[[Sequence[PromptGroup]], list[dict[str, Any]]]
    options: Mapping[str, Any]
    wants_text: bool = False


HOUSES: Mapping[str, House] = {
    "dpo": House(trainer=DpoOnIds, config=DPOConfig, rows=preference_rows, options={"beta": 0.1, "max_length": None}),
    "kto": House(trainer=KtoOnIds, config=KTOConfig, rows=thumbed_rows, options={"beta": 0.1, "max_length": None}),
    "orpo": House(
        trainer=OrpoOverCompletions,
        config=ORPOConfig,
        rows=labelled_rows,
        options={"beta": 0.1, "max_length": LONGEST},
        wants_text=True,
    ),
    "simpo": House(
        trainer=CPOTrainer,
        config=CPOConfig,
        rows=labelled_rows,
        options={"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "max_length": LONGEST},
        wants_text=True,
    ),
    "sft": House(
        trainer=SFTTrainer,
        config=SFTConfig,
        rows=imitated_rows,
        # Rows end to end with positions of their own and a mask between them: faster here than padding them.
        options={"max_length": None, "padding_free": True, "dataset_kwargs": {"skip_prepare_dataset": True}},
    ),
    "reward": House(trainer=RewardTrainer, config=RewardConfig, rows=whole_rows, options={"max_length": None}),
}


def make_trainer(job: Job, groups: Sequence[PromptGroup], **replaced: Any) -> Any:
    """TRL's trainer for the job; `replaced` are training arguments that differ."""
    house = HOUSES[job.method]
    options = dict(house.options)
    if job.method in ("dpo", "kto"):
        options["precompute_ref_log_probs"] = job.reference == PRECOMPUTED
    rows = Dataset.from_list(house.rows(groups))
    given = (
        Dataset.from_dict({"prompt": ["w10"], "chosen": [" w11"], "rejected": [" w12"]}) if house.wants_text else rows
    )
    kind = AutoModelForSequenceClassification if job.method == "reward" else AutoModelForCausalLM
    with quiet():
        model = kind.from_pretrained(job.model, dtype=weights_dtype(job))
        trainer = house.trainer(
            model=model,
            args=house.config(**settings(job) | options | replaced),
            train_dataset=given,
            processing_class=AutoTokenizer.from_pretrained(job.model),
            peft_config=lora(job),
        )
    trainer.train_dataset = trainer.train_dataset if given is rows else rows
    trainer.remove_callback(PrinterCallback)
    return trainer


def first_losses(trainer: Any, batches: int) -> list[float]:
    """The loss on every batch, nothing updated."""
    size = trainer.args.per_device_train_batch_size
    losses = []
    with torch.no_grad(), trainer.compute_loss_context_manager():
        for start in range(0, batches * size, size):
            batch = trainer.data_collator([trainer.train_dataset[index] for index in range(start, start + size)])
            losses.append(trainer.compute_loss(trainer.model_wrapped, batch).item())
    return losses


class Gate(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Lets the trainer's loop go on only when it may, and times each step: forward, backward, clipping, update."""

    def __init__(self, turnstile: Turnstile, trainer: Any, batches: int, facts: Mapping[str, Any]) -> None:
        self.turnstile, self.trainer, self.batches, self.facts = turnstile, trainer, batches, facts
        self.started = self.seconds = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The model is prepared: say its losses."""
        losses = first_losses(self.trainer, self.batches)
        self.turnstile.say(READY, losses=losses, resident=resident_memory(), **self.facts)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait for leave, then start the clock; the batch is collated already."""
        self.turnstile.wait()
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.started

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Say how the step went."""
        if "grad_norm" in logs:
            self.turnstile.say(STEP, seconds=self.seconds, loss=logs["loss"], grad_norm=logs["grad_norm"])


def padding_share(job: Job, groups: Sequence[PromptGroup]) -> float:
    """The share of padding among the tokens of the padded batches."""
    padded = real = 0
    for at in range(0, len(groups), job.batch):
        lengths = [len(g.prompt) + len(c.ids) for g in groups[at : at + job.batch] for c in g.completions]
        padded, real = padded + max(lengths) * len(lengths), real + sum(lengths)
    return 1 - real / padded


def options_of(trainer: Any, job: Job, groups: Sequence[PromptGroup]) -> dict[str, Any]:
    """How it computes, for the record."""
    args, is_free = trainer.args, bool(getattr(trainer, "padding_free", False))
    model = trainer.model.get_base_model() if hasattr(trainer.model, "get_base_model") else trainer.model
    return {
        "trainer": next(base.__name__ for base in type(trainer).__mro__ if base.__module__.startswith("trl.")),
        "gradient_checkpointing": args.gradient_checkpointing,
        "bf16": args.bf16,
        "optim": str(getattr(args.optim, "value", args.optim)),
        "attention": model.config._attn_implementation,
        "weights": str(model.dtype).removeprefix("torch."),
        "padding_free": is_free,
        "padding": 0.0 if is_free else round(padding_share(job, groups), 3),
        **{name: value for name, value in HOUSES[job.method].options.items() if name != "max_length"},
    }


def main() -> None:
    """Serve one job."""
    turnstile = Turnstile.of_process()
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(job.threads)
    groups = make_groups(job)
    trainer = make_trainer(job, groups)
    shift(trainer.model)
    facts = {"rows": digest_of(groups), "options": options_of(trainer, job, groups)}
    trainer.add_callback(Gate(turnstile, trainer, job.batches, facts))
    with suppress(Ended):
        trainer.train()
        turnstile.wait()
    turnstile.say(END, peak=peak_memory())


if __name__ == "__main__":
    main()
