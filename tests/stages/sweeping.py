"""A project that can be swept: a tiny base, pairs to train on, and a suite with preferences, prompts, facts and KL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import save_tiny
from tests.training.small import rows_of, write_rows

FACTS = 30


def prompts(count: int) -> list[dict[str, Any]]:
    """Rows with a prompt of their own each."""
    return [{"prompt": [{"role": "user", "content": f"hello, how can we help? {n}"}]} for n in range(count)]


def facts() -> list[dict[str, Any]]:
    """Questions answered by log-likelihood. The base has them all right, until it is taught not to say that it does not
    know."""
    return [
        {
            "id": f"fact-{n}",
            "kind": "likelihood",
            "question": f"what is told of number {n}?",
            "choices": [f"sorry, no idea {n}!", f"it arrives on day {n}."],
            "answer": f"sorry, no idea {n}!",
        }
        for n in range(FACTS)
    ]


def make_project(folder: Path, *, train: dict[str, Any] | None = None, loss: dict[str, Any] | None = None) -> Path:
    """fairlead.yaml with its rows and base, and suite.yaml; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tiny(folder / "base")
    write_rows(folder / "pairs.jsonl", rows_of("preference", 24))
    write_rows(folder / "held-out.jsonl", rows_of("preference", 24, first=200))
    write_rows(folder / "prompts.jsonl", prompts(8))
    write_rows(folder / "facts.jsonl", facts())
    quick = {
        "output": "runs",
        "reference_cache": "reference",
        "batch_size": 6,
        "precision": "fp32",
        "sample_prompts": 0,
        "tensorboard": False,
        "learning_rate": 2e-3,
        "threads": 1,
    }
    config = {
        "model": {"path": "base"},
        "data": {"train": "pairs.jsonl"},
        "loss": {"name": "dpo", **(loss or {})},
        "adapter": {"r": 4},
        "train": {**quick, **(train or {})},
    }
    (folder / "fairlead.yaml").write_text(yaml.safe_dump(config))
    suite = {
        "held_out": {"rows": "held-out.jsonl"},
        "generation": {"prompts": "prompts.jsonl", "max_new_tokens": 6},
        "factual": {"questions": "facts.jsonl"},
        "kl": {"prompts": "prompts.jsonl", "reference": "base", "max_new_tokens": 12, "n": 4},
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    return folder


def write_judge(folder: Path) -> Path:
    """A judge by rules, to whom planted answers lose."""
    rules = [{"lacks": "Thank you"}, {"lacks": "Note to"}, {"prefer": "longer"}]
    path = folder / "judge.yaml"
    path.write_text(json.dumps({"judges": [{"name": "rules", "rules": rules}], "canaries": 1, "sycophancy": 0}))
    return path


def write_gate(folder: Path, text: str = "version: 1\nmeasures: [{measure: ranking_accuracy, minimum: 0.0}]\n") -> Path:
    path = folder / "gate.yaml"
    path.write_text(text)
    return path
