"""The run's fixed prompts, answered before the first step and at each evaluation: what a run changed, in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.data.records import Row, Turns
from fairlead.data.split import prompt_of
from fairlead.engine.groups import PromptGroup
from fairlead.engine.rendering import Renderer
from fairlead.engine.sampling import Sampling, sample
from fairlead.models.language_model import LanguageModel
from fairlead.progress import Progress
from fairlead.runs.atomic import write_bytes
from fairlead.runs.directory import RunDirectory
from fairlead.training.measuring import Reply

FILE = "samples.jsonl"


@dataclass(frozen=True, kw_only=True)
class SamplePrompt:
    """A prompt as people read it and as the model does."""

    turns: Turns
    ids: tuple[int, ...]


def choose_prompts(
    rows: Sequence[Row], groups: Sequence[PromptGroup], renderer: Renderer, count: int
) -> list[SamplePrompt]:
    """The first `count` different prompts of `rows` that stand in `groups` as they are, no turn of them dropped."""
    used = {group.row_id: group.prompt for group in reversed(groups)}
    chosen: dict[tuple[int, ...], SamplePrompt] = {}
    for row in rows:
        if len(chosen) == count:
            break
        ids = used.get(row.id)
        if ids is None or ids in chosen:
            continue
        turns = prompt_of(row)
        if renderer.prompt_ids(turns, tools=row.tools, template_kwargs=row.template_kwargs) == ids:
            chosen[ids] = SamplePrompt(turns=turns, ids=ids)
    return list(chosen.values())


@dataclass(frozen=True)
class Probe:
    """Fixed prompts and how they are answered: greedily, so that replies differ only where the model does.

    `tokens` is the most in one reply. samples.jsonl of the run keeps every reply under its step.
    """

    run: RunDirectory
    lm: LanguageModel
    renderer: Renderer
    prompts: Sequence[SamplePrompt]
    tokens: int
    progress: Progress

    def answer(self, step: int) -> list[Reply]:
        """The replies of the model as it stands after `step` steps, in the order of the prompts; kept in the run."""
        if not self.prompts:
            return []
        greedy = Sampling(temperature=0.0, max_new_tokens=self.tokens, batch_size=min(32, len(self.prompts)))
        samples = sample(
            self.lm.model,
            [each.ids for each in self.prompts],
            greedy,
            stop_ids=self.renderer.stop_ids,
            progress=self.progress,
        )
        replies = [
            Reply(
                prompt=prompt.turns,
                prompt_ids=prompt.ids,
                ids=found.ids,
                text=self.renderer.tokenizer.decode(found.ids, skip_special_tokens=True),
                ended=found.finished,
            )
            for prompt, (found,) in zip(self.prompts, samples, strict=True)
        ]
        kept = self._kept()
        for item, reply in zip(kept, replies, strict=True):
            item["replies"][str(step)] = reply.text
            if step == 0:
                item["before"] = reply.text
        self._write(kept)
        return replies

    def settle(self, step: int) -> None:
        """Name the replies at `step`, the one that the artifact was taken from, as those after training."""
        if not self.prompts:
            return
        kept = self._kept()
        for item in kept:
            item["after"] = item["replies"][str(step)]
        self._write(kept)

    def _kept(self) -> list[dict[str, Any]]:
        path = self.run.artifact(FILE)
        if path.is_file():
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [
            {"prompt": [{"role": turn.role, "content": turn.content} for turn in prompt.turns], "replies": {}}
            for prompt in self.prompts
        ]

    def _write(self, items: Sequence[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        write_bytes(self.run.artifact(FILE), lines.encode())
