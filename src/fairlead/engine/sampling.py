"""Sampling from a language model: batched, seeded, and independent of what is sampled beside it."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from fairlead.engine.attention import UnsupportedAttention, causal_of, using_attention
from fairlead.engine.choosing import Draft, Pace, stream
from fairlead.engine.decoding import decode
from fairlead.engine.padded_decoding import decode_padded
from fairlead.errors import ConfigError, DataError, Fault
from fairlead.progress import SILENT, Progress, Task

log = logging.getLogger("fairlead")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample. Raises ConfigError, with every fault, for settings out of range.

    `n` samples per prompt; `temperature` 0 is greedy; `top_p` keeps the fewest most likely tokens that reach this
    probability; `max_new_tokens` counts the end token; `batch_size` rows advance at once and change no result.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        faults = [
            Fault(field=name, problem=f"must be at least 1, not {value}.")
            for name, value in (("n", self.n), ("max_new_tokens", self.max_new_tokens), ("batch_size", self.batch_size))
            if value < 1
        ]
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            faults.append(Fault(field="temperature", problem=f"must be 0 (greedy) or more, not {self.temperature}."))
        if not 0 < self.top_p <= 1:
            faults.append(Fault(field="top_p", problem=f"must be above 0 and at most 1, not {self.top_p}."))
        if not 0 <= self.seed < 2**64:
            faults.append(Fault(field="seed", problem=f"must be 0 or more and below 2⁶⁴, not {self.seed}."))
        if faults:
            raise ConfigError(faults, source="sampling")


@dataclass(frozen=True)
class Sample:
    """A completion: its token ids, with the stop token if it `finished` by itself, and their log-probability.

    `logp` is the sum over `ids`, in nats, under the model itself, whatever the temperature and top-p.
    """

    ids: tuple[int, ...]
    finished: bool
    logp: float


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: frozenset[int],
    progress: Progress = SILENT,
) -> list[list[Sample]]:
    """`sampling.n` completions of each prompt (token ids), in the order of the prompts.

    Each sample has a random stream of its own, a function of the seed, the prompt's ids and the sample's number, so it
    depends neither on the batch nor on the other prompts; a prompt given twice gets new samples. A greedy completion
    does not depend on the batch size. Models whose attention cannot be taken over are decoded with padding, and a line
    in the log says so.

    Raises DataError for a prompt that is empty or leaves no room in the model's context, ModelError when the logits are
    not finite.
    """
    context = getattr(causal_of(model).config.get_text_config(), "max_position_embeddings", None)
    drafts_of = _drafts(prompts, sampling, context)
    drafts = sorted((draft for own in drafts_of for draft in own), key=lambda draft: (-len(draft.prompt), draft.prompt))
    with _evaluating(model), progress.task("sample", total=len(drafts), unit="samples") as task:
        _decode(model, drafts, sampling, stop_ids, task)
    samples_of = [[Sample(tuple(draft.ids), draft.finished, draft.logp) for draft in own] for own in drafts_of]
    return [own * sampling.n if sampling.temperature == 0 else own for own in samples_of]


def _drafts(prompts: Sequence[Sequence[int]], sampling: Sampling, context: int | None) -> list[list[Draft]]:
    """The drafts of each prompt: one if greedy, since all would be the same, else n."""
    seen: Counter[tuple[int, ...]] = Counter()
    drafts = []
    for number, prompt in enumerate(map(tuple, prompts)):
        room = sampling.max_new_tokens if context is None else min(sampling.max_new_tokens, context - len(prompt))
        if not prompt:
            raise DataError(f"Prompt {number} is empty: there is nothing to continue.")
        if room < 1:
            raise DataError(
                f"Prompt {number} has {len(prompt)} tokens, but the model takes {context} with its answer. Shorten it."
            )
        count = 1 if sampling.temperature == 0 else sampling.n
        first = seen[prompt] * count
        streams = [stream(sampling.seed, prompt, first + index) for index in range(count)]
        drafts.append([Draft(prompt=prompt, stream=one, limit=room) for one in streams])
        seen[prompt] += 1
    return drafts


def _decode(model: Any, drafts: Sequence[Draft], sampling: Sampling, stop_ids: frozenset[int], task: Task) -> None:
    how: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop_ids": stop_ids,
        "batch_size": sampling.batch_size,
        "pace": Pace(task),
    }
    if not drafts:
        return
    try:
        with using_attention(model):
            decode(model, drafts, **how)
        return
    except UnsupportedAttention as reason:
        log.warning("sampling with padding, which is slower: %s", reason)
    decode_padded(model, drafts, **how)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """No dropout and no gradients within the block."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
