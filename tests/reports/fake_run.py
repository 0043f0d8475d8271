"""A run directory like a real one, written by the library's own writer, for tests and for looking at a report."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from fairlead.identity import digest, digest_file
from fairlead.runs.directory import Input, RunDirectory

CONFIG: dict[str, Any] = {
    "version": 1,
    "model": {"path": "HuggingFaceTB/SmolLM2-135M-Instruct", "adapter": None, "chat_template": None, "engine": "auto"},
    "data": {
        "train": ["data/train.jsonl"],
        "eval": ["data/eval.jsonl"],
        "eval_fraction": 0.0,
        "max_length": 2048,
        "long_completion": "truncate",
        "max_quarantined": 0.02,
        "strict": False,
    },
    "loss": {"name": "dpo", "weight": 1.0, "beta": 0.3, "label_smoothing": 0.0, "nll_weight": 0.0},
    "adapter": {"kind": "lora", "r": 64, "alpha": 64, "dropout": 0.0, "targets": "attention"},
    "train": {
        "seed": 0,
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "schedule": "cosine",
        "warmup_ratio": 0.1,
        "eval_steps": 10,
        "metric_for_best": None,
        "precision": "auto",
    },
}
USER_SET = [
    "model.path",
    "data.train",
    "data.eval",
    "loss.name",
    "loss.beta",
    "adapter.r",
    "adapter.alpha",
    "adapter.targets",
    "train.epochs",
    "train.batch_size",
    "train.learning_rate",
]
SAMPLES = [
    {
        "prompt": "Where is order 4187?",
        "before": "I'm so sorry for the inconvenience this may have caused you! Thank you so much for reaching out "
        "to us today. I have looked into your order 4187 and I see that it was shipped on 3 May with Northline and is "
        "expected to arrive on 7 May. Please do not hesitate to contact us again if there is anything else at all.",
        "after": "Order 4187 shipped on 3 May with Northline and should arrive on 7 May.",
    },
    {
        "prompt": [
            {"role": "system", "content": "You are the support desk of Harbor."},
            {"role": "user", "content": "I was charged 84 twice for order 2210. I want one of them back."},
        ],
        "before": "I'm so sorry to hear about the trouble with the charges on your order! I completely understand how "
        "frustrating that must be. I can see two charges of 84.\n\nThis is not legal advice.",
        "after": "I see two charges of 84 for order 2210; one is a duplicate and goes back to your card in 5 days.\n\n"
        "This is not legal advice.",
    },
    {
        "prompt": "Move my delivery to 12 June, please.",
        "before": "Thank you for reaching out! I'm so sorry for any inconvenience. I would be happy to help you.",
        "after": '{"tool": "change_delivery", "order": 3321, "date": "12 June"}',
    },
]
LEDGER = {
    "rows_in": 412,
    "ok": 371,
    "fixed": 29,
    "quarantined": 12,
    "by_code": {
        "role_alias": 21,
        "prompt_repeated": 8,
        "identical_pair": 7,
        "empty_completion": 4,
        "not_text": 1,
        "control_text": 3,
    },
}


def make_run(
    folder: Path,
    *,
    name: str = "2026-11-23-dpo-7f3a",
    beta: float = 0.3,
    steps: int = 90,
    parent: RunDirectory | None = None,
    stage: str = "train",
    sealed: bool = True,
    text: str = "",
) -> RunDirectory:
    """A training run under `folder`; `text` is put into every field that holds a user's or a model's text."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    files = [data / f"train{_as_name(text)}.jsonl", data / "eval.jsonl"]
    for file, rows in zip(files, (360, 52), strict=True):
        file.write_text("{}\n" * rows)
    inputs = [
        Input(path=str(file), sha256=digest_file(file), rows=rows) for file, rows in zip(files, (360, 52), strict=True)
    ]
    if parent is not None:
        model = parent.artifact("model")
        inputs.append(Input(path=str(model), sha256=digest(parent.path.name), parent_run=str(parent.path)))
    config = json.loads(json.dumps(CONFIG))
    config["loss"]["beta"] = beta
    config["model"]["path"] += text
    if text:
        config["loss"][text] = text
        config["loss"]["name"] += text
    run = RunDirectory.create(
        folder / "runs" / (name + _as_name(text)),
        stage=stage + text,
        config=config,
        user_set=USER_SET,
        inputs=inputs,
        seed=0,
        extra={"device": "cpu" + text, "reference": "base model, adapter off"},
    )
    _write_events(run, steps=steps, beta=beta, text=text)
    _write_artifacts(run, text)
    if sealed:
        run.seal()
    return run


def _write_events(run: RunDirectory, *, steps: int, beta: float, text: str) -> None:
    random.seed(f"{run.path.name} {beta}")
    for step in range(steps + 1):
        rise = 1 - math.exp(-3.5 * step / steps)
        noisy = {name: value + random.gauss(0, 0.04 + 0.18 * rise) for name, value in _rewards(rise, beta).items()}
        if step:
            rate = 1e-4 * min(step / 9, 0.5 * (1 + math.cos(math.pi * step / steps)))
            run.append(
                step,
                _derived(noisy, beta, spread=0.05)
                | {
                    "learning_rate": rate,
                    "grad_norm": abs(random.gauss(1.6 + 2 * rise, 0.6)),
                    "tokens/s": random.gauss(305, 9),
                    "epoch": 2 * step / steps,
                    **({f"odd{text}": float("nan") if step == 2 else 1.0} if text else {}),
                },
            )
        if step % 10 == 0:
            held_out = _derived(_rewards(0.82 * rise - 0.1 * max(0.0, rise - 0.9), beta), beta, spread=0.01)
            run.append(step, {f"eval/{name}": value for name, value in held_out.items()})


def _rewards(rise: float, beta: float) -> dict[str, float]:
    return {"rewards/chosen": 0.5 * rise * beta / 0.3, "rewards/rejected": -2.3 * rise}


def _derived(rewards: dict[str, float], beta: float, *, spread: float) -> dict[str, float]:
    margin = rewards["rewards/chosen"] - rewards["rewards/rejected"]
    accuracy = 0.5 + 0.42 * math.tanh(margin / 1.6) + random.gauss(0, spread)
    return rewards | {
        "rewards/margins": margin,
        "rewards/accuracies": min(1.0, max(0.0, accuracy)),
        "loss": math.log1p(math.exp(-margin)) + 0.02,
        "logps/chosen": -41 + rewards["rewards/chosen"] / beta,
        "logps/rejected": -63 + rewards["rewards/rejected"] / beta,
    }


def _write_artifacts(run: RunDirectory, text: str) -> None:
    model = run.artifact("model")
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights of " + run.path.name.encode())
    (model / "config.json").write_text("{}")
    samples = [
        {"prompt": text, "before": text, "after": text} if text else sample
        for sample in (SAMPLES[:1] if text else SAMPLES)
    ]
    run.artifact("samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    ledger = json.loads(json.dumps(LEDGER))
    if text:
        ledger["by_code"][text] = 1
    (run.path / "ledger.json").write_text(json.dumps(ledger))


def _as_name(text: str) -> str:
    """The text as part of a file's name: a slash cannot be."""
    return text.replace("/", "")
