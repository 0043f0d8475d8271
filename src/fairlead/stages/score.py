"""`score`: the rewards that a reward model gives the completions of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairlead.data.records import Candidates, Demonstration, Ranking, Row
from fairlead.engine.groups import PromptGroup
from fairlead.engine.packing import micro_batches
from fairlead.engine.rendering import Renderer, RenderingFault
from fairlead.engine.rows import completions_of
from fairlead.engine.scoring import Scorer, make_scorer
from fairlead.errors import DataError, ModelError
from fairlead.models.loading import load, resolve_dtype
from fairlead.models.reward_model import is_reward_model
from fairlead.progress import SILENT, Progress
from fairlead.stages.generate import read_rows


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The rewards of one row's completions, by candidate id, or by field (`chosen`, `rejected`) where they have none.

    A reward has no unit and no zero: rewards of one model for completions of one prompt can be compared. Where the
    model was trained without a margin, σ(difference) is how likely it holds the first to be preferred.
    """

    row_id: str
    rewards: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RewardModel:
    """A reward model in memory. Called with rows, it gives the rewards of each row's completions.

    `budget` is the most tokens in one batch; what a completion is given does not depend on the others beyond rounding.
    """

    scorer: Scorer
    renderer: Renderer
    budget: int

    @torch.no_grad()
    def __call__(self, rows: Sequence[Row], progress: Progress = SILENT) -> list[Scored]:
        """Rewards in the order of the rows, each read at the token that ends the completion's last turn.

        Raises DataError for a row that cannot be rendered, and for whole dialogues.
        """
        groups = [group for row in rows if (group := _group(row, self.renderer)).completions]
        rewards: list[float] = []
        with self.scorer.attention(), progress.task("score", total=len(groups), unit="rows") as task:
            for batch in micro_batches(groups, self.budget):
                packed = self.scorer.batch([groups[index] for index in batch])
                rewards += self.scorer.score_sequences(packed).tolist()
                task.advance(len(batch))
        given = iter(rewards)
        return [Scored(row_id=row.id, rewards=dict(zip(_names(row), given, strict=False))) for row in rows]


def load_reward_model(
    model: str,
    *,
    adapter: str | None = None,
    chat_template: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    micro_batch_tokens: int = 4096,
) -> RewardModel:
    """Load a reward model: a run trained with the loss `reward`, or any sequence classifier with one label.

    `model` and `adapter` are what `fairlead.models.loading.load` takes, and its errors are raised; ModelError too for a
    language model, which gives no rewards.
    """
    dtype = resolve_dtype(precision)
    lm = load(model, dtype=dtype, adapter=adapter, chat_template=chat_template)
    if not is_reward_model(lm.model):
        raise ModelError(
            f"{model} is a language model and gives no rewards. Give a run that was trained with `loss.name: reward`, "
            f"or a sequence classifier with one label."
        )
    scorer = make_scorer(lm.model, engine=engine, compute=dtype)
    return RewardModel(scorer=scorer, renderer=Renderer(lm.tokenizer), budget=micro_batch_tokens)


def score(
    model: str,
    rows: str | Path | Sequence[Row],
    *,
    adapter: str | None = None,
    chat_template: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    micro_batch_tokens: int = 4096,
    progress: Progress = SILENT,
) -> list[Scored]:
    """The rewards of the completions of each row: of preferences, candidates, rankings, judgements, feedback and edits.

    `rows` is a file of them or the rows themselves. `model` and the rest are as for `load_reward_model`, which serves
    better where rows come bit by bit. Raises DataError for rows that cannot be read or rendered, and as it does.
    """
    given = read_rows(rows)
    loaded = load_reward_model(
        model,
        adapter=adapter,
        chat_template=chat_template,
        engine=engine,
        precision=precision,
        micro_batch_tokens=micro_batch_tokens,
    )
    return loaded(given, progress)


def _names(row: Row) -> Iterator[str]:
    if isinstance(row, Candidates | Ranking):
        return (candidate.id for candidate in row.candidates)
    return (name for name, _ in completions_of(row))


def _group(row: Row, renderer: Renderer) -> PromptGroup:
    if isinstance(row, Demonstration):
        raise DataError(
            f"row {row.id} is a whole dialogue, and a reward is given to a completion of a prompt. Give rows with a "
            f"prompt, such as candidates.",
            field="messages",
            code="wrong_kind",
        )
    template: dict[str, Any] = {"tools": row.tools, "template_kwargs": row.template_kwargs}
    try:
        return PromptGroup(
            row_id=row.id,
            prompt=renderer.prompt_ids(row.prompt, **template),
            completions=tuple(
                renderer.completion(row.prompt, turns, field=name, **template) for name, turns in completions_of(row)
            ),
        )
    except RenderingFault as fault:
        raise DataError(
            f"row {row.id} cannot be put to this model: {fault.detail}. Leave the row out or change its {fault.field}.",
            field=fault.field,
            code=fault.code,
        ) from fault
