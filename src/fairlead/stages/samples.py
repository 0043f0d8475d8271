"""A few prompts answered before and after training: what a run changed, in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.config import TrainConfig
from fairlead.data.records import Row, Turns
from fairlead.data.split import prompt_of
from fairlead.engine.groups import PromptGroup
from fairlead.engine.rendering import Renderer
from fairlead.engine.sampling import Sampling, sample
from fairlead.models.language_model import LanguageModel
from fairlead.progress import Progress
from fairlead.runs.atomic import write_bytes
from fairlead.runs.directory import RunDirectory

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


def write_samples(
    run: RunDirectory,
    lm: LanguageModel,
    renderer: Renderer,
    prompts: Sequence[SamplePrompt],
    when: str,
    config: TrainConfig,
    progress: Progress,
) -> None:
    """Answer the prompts greedily; samples.jsonl keeps the answers under `when` (`before` or `after`)."""
    if not prompts:
        return
    sampling = Sampling(temperature=0.0, max_new_tokens=config.sample_tokens, batch_size=max(4, len(prompts)))
    answers = sample(lm.model, [each.ids for each in prompts], sampling, stop_ids=renderer.stop_ids, progress=progress)
    path = run.artifact(FILE)
    kept: list[dict[str, Any]] = [{} for _ in prompts]
    if path.is_file():
        kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for item, prompt, (answer,) in zip(kept, prompts, answers, strict=True):
        item["prompt"] = [{"role": turn.role, "content": turn.content} for turn in prompt.turns]
        item[when] = renderer.tokenizer.decode(answer.ids, skip_special_tokens=True)
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in kept)
    write_bytes(path, lines.encode())
