"""Small prompt groups, a reference, and a projects' files: what a test of training needs, in milliseconds."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairlead.config import Config
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.rows import add_mismatched
from fairlead.engine.scoring import Scorer
from fairlead.losses.binding import bind
from fairlead.losses.scores import Demonstrations, Pairs, RewardPairs, Thumbs, TokenScores
from fairlead.losses.table import LOSSES
from fairlead.models.reward_model import reward_head, with_head
from fairlead.training.objective import Objective
from tests.tiny import VOCABULARY, tiny_llama

KINDS = {Pairs: "preference", RewardPairs: "preference", Thumbs: "feedback", Demonstrations: "demonstration"}


def make_groups(loss: str, count: int, *, seed: int = 4, weighted: bool = False) -> list[PromptGroup]:
    """`count` groups of the kind that `loss` takes, of random tokens and lengths; by default their `kl` is not 0."""
    kind = KINDS[LOSSES[loss].examples]
    dice = random.Random(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(dice.randrange(3, VOCABULARY) for _ in range(dice.randint(low, high)))

    def completion() -> Completion:
        made = ids(2, 7)
        untrained = 1 if kind == "demonstration" else 0
        return Completion(ids=made, trained=(False,) * untrained + (True,) * (len(made) - untrained))

    groups = [
        PromptGroup(
            row_id=f"r{index}",
            prompt=ids(3, 9),
            completions=tuple(completion() for _ in range(2 if kind == "preference" else 1)),
            label=index % 3 != 0 if kind == "feedback" else None,
            weight=dice.uniform(0.1, 2.0) if weighted else 1.0,
        )
        for index in range(count)
    ]
    return add_mismatched(groups) if kind == "feedback" else groups


@dataclass(frozen=True)
class OtherModel:
    """A reference that is another model altogether, so that log-ratios are far from 0."""

    scorer: Scorer

    @torch.no_grad()
    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        with self.scorer.attention():
            return self.scorer.score(self.scorer.batch(groups, which))


def make_objective(
    loss: str, *, budget: int = 10_000, dtype: torch.dtype = torch.float32, reference: Any = None, **model_config: Any
) -> Objective:
    """An objective on a tiny Llama, all of it trained; the reference is a Llama with other weights."""
    model: nn.Module = tiny_llama(**model_config)
    if LOSSES[loss].examples is RewardPairs:
        model = under_head(model)
    model.to(dtype)
    other = OtherModel(Scorer(model=tiny_llama(seed=1).to(dtype), packed=True, compute=dtype))
    return Objective(
        scorer=Scorer(model=model, packed=True, compute=dtype),
        loss=bind([(loss, {}, 1.0)]),
        reference=(reference or other) if LOSSES[loss].needs_reference else None,
        budget=budget,
    )


def under_head(model: nn.Module) -> nn.Module:
    """The model made a reward model, whose head says something."""
    made: nn.Module = with_head(model, "tiny", skipped=None).requires_grad_(True)
    torch.nn.init.normal_(reward_head(made).weight, generator=torch.Generator().manual_seed(7))
    return made


@dataclass(frozen=True)
class Broken:
    """A reference that gives no number for some rows."""

    inner: OtherModel
    rows: frozenset[str]

    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        scores = self.inner.scores(groups, which)
        per_group = len(scores.count_C) // len(groups)
        bad = torch.tensor([group.row_id in self.rows for group in groups]).repeat_interleave(per_group)
        return TokenScores(scores.logp_N.masked_fill(bad.repeat_interleave(scores.count_C), math.nan), scores.count_C)


def broken(*rows: str) -> Objective:
    """A DPO objective in several micro-batches, whose reference gives no number for these rows."""
    inner = make_objective("dpo").reference
    assert isinstance(inner, OtherModel)
    return make_objective("dpo", budget=45, reference=Broken(inner, frozenset(rows)))


def rows_of(kind: str, count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Rows in words, numbered from `first`. One prompt in four is asked twice, with other answers."""

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    rows: list[dict[str, Any]] = []
    for index in range(first, first + count):
        prompt = said("user", f"where is order {index - index % 4 // 3}?")
        good, bad = said("assistant", f"it arrives on day {index}."), said("assistant", f"sorry, no idea {index}!")
        rows.append(
            {
                "preference": {"prompt": prompt, "chosen": good, "rejected": bad},
                "feedback": {"prompt": prompt, "completion": (good, bad)[index % 2], "label": index % 2 == 0},
                "demonstration": {"messages": [*prompt, *good]},
            }[kind]
        )
    return rows


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_config(
    folder: Path,
    model: Path,
    loss: str | dict[str, Any] | list[dict[str, Any]] = "dpo",
    *,
    adapter: dict[str, Any] | None = None,
    model_adapter: Path | None = None,
    quantize: str | None = None,
    data: dict[str, Any] | None = None,
    **train: Any,
) -> Config:
    """A quick configuration in `folder`: 18 rows of the loss's kind and 6 to evaluate on, 4 to a step, float32."""
    losses = [{"name": loss}] if isinstance(loss, str) else [loss] if isinstance(loss, dict) else loss
    bound = bind([(each["name"], {}, 1.0) for each in losses])
    kind = KINDS[bound.examples]
    files = folder / f"{kind}.jsonl", folder / f"{kind}-eval.jsonl"
    for file, first, count in zip(files, (0, 100), (18, 6), strict=True):
        if not file.exists():
            write_rows(file, rows_of(kind, count, first=first))
    quick = {
        "output": str(folder / "runs"),
        "reference_cache": str(folder / "reference"),
        "batch_size": 4,
        "precision": "fp32",
        "sample_prompts": 0,
        "tensorboard": False,
    }
    return Config(
        model={
            "path": str(model),
            "adapter": None if model_adapter is None else str(model_adapter),
            "quantize": quantize,
        },
        data={"train": str(files[0]), "eval": str(files[1]), **(data or {})},
        loss=losses if len(losses) > 1 else losses[0],
        adapter=adapter,
        train={**quick, **train},
    )
