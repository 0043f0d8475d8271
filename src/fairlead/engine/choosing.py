"""Which token comes next: greedy, temperature and nucleus (top-p) choices, each row with a random stream of its own.

Shapes: R rows, V vocabulary, K most likely tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fairlead.errors import ModelError
from fairlead.identity import digest
from fairlead.progress import Task

NUCLEUS = (64, 1024)
"""How many of the most likely tokens are looked at before a nucleus is searched for in the whole vocabulary."""


@dataclass
class Draft:
    """A sample in the making: its ids, their log-probability, and the stream that its choices are drawn from."""

    prompt: tuple[int, ...]
    stream: np.random.Generator
    limit: int
    ids: list[int] = field(default_factory=list)
    logp: float = 0.0
    finished: bool = False

    @property
    def done(self) -> bool:
        """Whether it has ended by itself or reached its limit."""
        return self.finished or len(self.ids) >= self.limit

    def append(self, token: int, logp: float, stop_ids: frozenset[int]) -> None:
        """Take the next token, with its log-probability in nats."""
        self.ids.append(token)
        self.logp += logp
        self.finished = token in stop_ids


class Pace:
    """Counts tokens and ended drafts against the clock, for a progress task whose units are drafts."""

    def __init__(self, task: Task) -> None:
        self._task, self._tokens, self._start = task, 0, time.monotonic()

    def took(self, *, tokens: int, ended: int) -> None:
        """So many more tokens were chosen, with which so many drafts ended."""
        self._tokens += tokens
        if ended:
            seconds = max(time.monotonic() - self._start, 1e-9)
            self._task.advance(ended, **{"tokens/s": self._tokens / seconds})


def stream(seed: int, prompt: Sequence[int], sample: int) -> np.random.Generator:
    """The random stream of one sample of one prompt: it depends on nothing else (Philox, a counter-based generator)."""
    key = [seed, int(digest(list(prompt))[:16], 16)]
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64), counter=[0, 0, 0, sample]))


def choose(
    logits_RV: Tensor, drafts: Sequence[Draft], *, temperature: float, top_p: float
) -> tuple[list[int], list[float]]:
    """The next token of each draft and its log-probability, in nats, under the model itself (temperature 1, top-p 1).

    Raises ModelError where logits are not finite.
    """
    logits = logits_RV.float()
    if temperature == 0:
        token_R = logits.argmax(dim=-1)
    else:
        uniform = torch.tensor([draft.stream.random() for draft in drafts], dtype=torch.float32, device=logits.device)
        probability_RV = torch.softmax(logits if temperature == 1 else logits / temperature, dim=-1)
        token_R = _draw(probability_RV, uniform) if top_p >= 1 else _draw_nucleus(probability_RV, uniform, top_p)
    logp_R = logits.gather(1, token_R[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
    if not bool(torch.isfinite(logp_R).all()):
        raise ModelError(
            "The model's logits are not finite. Its weights are damaged, or the precision is too low for it."
        )
    return token_R.tolist(), logp_R.tolist()


def _draw(probability_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """Inverse of the cumulative distribution at `uniform_R`: exact up to float32."""
    cumulative_RV = probability_RV.cumsum(dim=-1)
    return _invert(cumulative_RV, cumulative_RV[:, -1], uniform_R)


def _draw_nucleus(probability_RV: Tensor, uniform_R: Tensor, top_p: float) -> Tensor:
    """A draw from the fewest most likely tokens whose probabilities reach `top_p` (https://arxiv.org/abs/1904.09751)."""
    vocabulary = probability_RV.shape[-1]
    token_R = torch.empty_like(uniform_R, dtype=torch.int64)
    open_R = torch.arange(len(uniform_R), device=uniform_R.device)
    for size in (*(size for size in NUCLEUS if size < vocabulary), vocabulary):
        sorted_RK, index_RK = probability_RV[open_R].topk(size, dim=-1)
        cumulative_RK = sorted_RK.cumsum(dim=-1)
        inside_R = (cumulative_RK[:, -1] >= top_p) | (size == vocabulary)
        last_R = (cumulative_RK < top_p).sum(dim=-1, keepdim=True).clamp(max=size - 1)
        place_R = _invert(cumulative_RK, cumulative_RK.gather(1, last_R).squeeze(1), uniform_R[open_R])
        token_R[open_R] = index_RK.gather(1, place_R[:, None]).squeeze(1)
        open_R = open_R[~inside_R]
        if not len(open_R):
            break
    return token_R


def _invert(cumulative_RK: Tensor, mass_R: Tensor, uniform_R: Tensor) -> Tensor:
    """First index whose cumulative probability exceeds uniform · mass; never beyond the mass, for all rounding."""
    target_R = torch.minimum(uniform_R * mass_R, torch.nextafter(mass_R, torch.zeros_like(mass_R)))
    return torch.searchsorted(cumulative_RK, target_R[:, None], right=True).squeeze(1)
