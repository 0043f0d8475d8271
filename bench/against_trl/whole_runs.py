"""Whole runs: fifty steps of TRL's trainer and of `fairlead.train`, and how far their loss curves lie apart.

    python -m bench.against_trl.whole_runs

Same weights, rows, order of rows, optimizer and schedule, in float32. Fairlead starts from files of text, as a user
would; TRL is given the token ids that Fairlead makes of them, in the order in which it trains on them.
"""

from __future__ import annotations

import datetime
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import TrainerCallback

from bench.against_trl import report
from bench.against_trl.cells import NO_REFERENCE, PRECOMPUTED, Job
from bench.against_trl.duel import FAIRLEAD, ROOT, TRL
from bench.against_trl.models import model_folder
from bench.against_trl.rows import FIRST_ID
from bench.against_trl.theirs import make_trainer
from fairlead.config import Config
from fairlead.engine.groups import PromptGroup
from fairlead.engine.rendering import Renderer
from fairlead.losses.binding import bind
from fairlead.models.loading import load_tokenizer
from fairlead.runs.atomic import write_json
from fairlead.runs.surroundings import hardware, package_versions
from fairlead.stages.policy import load_policy
from fairlead.stages.rows import read_training_rows
from fairlead.stages.train import train
from fairlead.training.sources import OfflineRows

SHAPE, VOCABULARY = "3M", 4_000
STEPS, BATCH, ROWS = 50, 8, 104
PROMPT, COMPLETION = (10, 40), (8, 40)
"""Fewest and most words."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One comparison: its method, what is trained, and a learning rate at which fifty steps teach something."""

    name: str
    method: str
    adapter: str
    learning_rate: float


RUNS = (
    Run(name="dpo, LoRA", method="dpo", adapter="lora", learning_rate=5e-4),
    Run(name="sft, all weights", method="sft", adapter="full", learning_rate=5e-4),
)


def make_rows(method: str, count: int, *, vocabulary: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows in words of the bench's tokenizer. Chosen answers use the lower half of the vocabulary, rejected the upper:
    there is something to learn."""
    dice = random.Random(seed)
    middle = (FIRST_ID + vocabulary) // 2

    def said(role: str, lengths: tuple[int, int], low: int, high: int) -> dict[str, str]:
        words = [f"w{dice.randrange(low, high)}" for _ in range(dice.randint(*lengths))]
        return {"role": role, "content": " ".join(words)}

    rows: list[dict[str, Any]] = []
    for _ in range(count):
        prompt = said("user", PROMPT, FIRST_ID, vocabulary)
        chosen = said("assistant", COMPLETION, FIRST_ID, middle)
        rejected = said("assistant", COMPLETION, middle, vocabulary)
        pair = {"prompt": [prompt], "chosen": [chosen], "rejected": [rejected]}
        rows.append(pair if method == "dpo" else {"messages": [prompt, chosen]})
    return rows


def config_of(run: Run, model: Path, folder: Path, *, steps: int) -> Config:
    """Fairlead's side."""
    return Config(
        model={"path": str(model)},
        data={"train": str(folder / "rows.jsonl")},
        loss={"name": run.method},
        adapter={"r": 16} if run.adapter == "lora" else None,
        train={
            "output": str(folder / "runs"),
            "reference_cache": str(folder / "reference"),
            "precision": "fp32",
            "epochs": steps,  # more than enough: `max_steps` ends it
            "max_steps": steps,
            "batch_size": BATCH,
            "learning_rate": run.learning_rate,
            "schedule": "cosine",
            "warmup_ratio": 0.0,
            "sample_prompts": 0,
            "tensorboard": False,
        },
    )


def fairlead_losses(config: Config) -> list[float]:
    """The loss of every step of a run of `fairlead.train`."""
    done = train(config)
    events = [json.loads(line) for line in (done.run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [event["value"] for event in events if event["name"] == "loss"]


def groups_in_order(config: Config, *, steps: int) -> list[PromptGroup]:
    """What a run of this configuration trains on, step after step."""
    renderer = Renderer(load_tokenizer(config.model.path, config.model.chat_template))
    loss = bind([(each.name, each.parameters, each.weight) for each in config.losses])
    source = OfflineRows(read_training_rows(config, loss, renderer).train, config.train.batch_size, config.train.seed)
    return [group for step in range(steps) for group in source.at(step)]


class Curve(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """One number a step."""
        if "grad_norm" in logs:
            self.losses.append(logs["loss"])


def trl_losses(run: Run, config: Config, groups: Sequence[PromptGroup], scratch: Path, *, steps: int) -> list[float]:
    """The loss of every step of TRL's trainer, from the weights that `fairlead.train` starts from."""
    job = Job(
        model=config.model.path,
        scratch=str(scratch),
        method=run.method,
        adapter=run.adapter,
        precision="fp32",
        reference=PRECOMPUTED if run.method == "dpo" else NO_REFERENCE,
        prompt_tokens=0,
        completion_tokens=0,
        threads=torch.get_num_threads(),
        batch=BATCH,
        steps=steps,
        learning_rate=run.learning_rate,
    )
    trainer = make_trainer(job, groups, lr_scheduler_type="cosine")
    if run.adapter == "lora":
        drawn = get_peft_model_state_dict(load_policy(config, rewards=False).lm.model)
        set_peft_model_state_dict(trainer.model, drawn)
    curve = Curve()
    trainer.add_callback(curve)
    trainer.train()
    return curve.losses


def compare(run: Run, scratch: Path, *, steps: int = STEPS, count: int = ROWS) -> dict[str, list[float]]:
    """Both loss curves of one run. `count` is a number of whole batches: TRL is given rows, and cuts them itself."""
    assert count % BATCH == 0, "the last batch of an epoch would be smaller in one house alone"
    folder = scratch / run.method
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = make_rows(run.method, count, vocabulary=VOCABULARY)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = model_folder(SHAPE, scratch, reward=False).resolve()
    config = config_of(run, model, folder, steps=steps)
    ours = fairlead_losses(config)
    theirs = trl_losses(run, config, groups_in_order(config, steps=steps), folder, steps=steps)
    assert len(ours) == len(theirs) == steps, "a step is missing from a curve"
    return {TRL: theirs, FAIRLEAD: ours}


def main() -> None:
    """Compare every run, write the figures and the page."""
    runs = {run.name: compare(run, ROOT / "out" / "bench" / "whole-runs") for run in RUNS}
    versions = package_versions()
    named = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "peft"))
    about = (
        f"A Llama of random weights ({SHAPE}, {VOCABULARY} tokens in its vocabulary), {STEPS} steps of {BATCH} rows, "
        f"float32, AdamW, cosine schedule without warm-up, gradients clipped at 1; {hardware()['processor']}, {named}, "
        f"TRL {metadata.version('trl')}, {datetime.date.today().isoformat()}."
    )
    report.WHOLE_RUNS.parent.mkdir(parents=True, exist_ok=True)
    write_json(report.WHOLE_RUNS, {"about": about, "runs": runs})
    for name, run in runs.items():
        print(f"{name}: largest difference {report.largest_difference(run):.2e}")
    report.write()


if __name__ == "__main__":
    main()
