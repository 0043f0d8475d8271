"""How alike two models are: what one answers to a few built-in prompts, and how likely the other finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fairlead.data.records import Message
from fairlead.engine.rendering import Renderer
from fairlead.engine.sampling import Sampling, sample
from fairlead.models.language_model import LanguageModel
from fairlead.models.reward_model import is_reward_model

PROMPTS = (
    "Hello, who are you and what can you do?",
    "Where is my order? It should have arrived on Monday.",
    "Write a short note to a colleague who is ill.",
    "What is 17 plus 25? Explain it in one sentence.",
)
GREEDY = Sampling(temperature=0.0, max_new_tokens=32, batch_size=len(PROMPTS))

Answers = list[tuple[int, ...]]


@dataclass(frozen=True)
class Likeness:
    """What a model says of the prompts: its greedy answers, and its log-probs of a given set of answers, in nats.

    A reward model has no answers; in the place of log-probs stand its rewards of the prompts.
    """

    answers: Answers | None
    values: list[Tensor]

    @classmethod
    def of(cls, lm: LanguageModel, scored: Answers | None = None) -> Likeness:
        """Answer the prompts, and score the answers `scored` (by default the model's own)."""
        renderer = Renderer(lm.tokenizer)
        prompts = [renderer.prompt_ids([Message(role="user", content=text)]) for text in PROMPTS]
        if is_reward_model(lm.model):
            return cls(None, [_reward(lm.model, prompt) for prompt in prompts])
        answers = [row[0].ids for row in sample(lm.model, prompts, GREEDY, stop_ids=renderer.stop_ids)]
        pairs = zip(prompts, scored or answers, strict=True)
        return cls(answers, [_logps(lm.model, prompt, answer) for prompt, answer in pairs])

    def difference(self, other: Likeness) -> float:
        """Largest difference between the two models' values of one thing; NaN where a value is no number."""
        return float(torch.stack([(a - b).abs().max() for a, b in zip(self.values, other.values, strict=True)]).max())

    def equal_answers(self, other: Likeness) -> int | None:
        """How many greedy answers are token for token the same."""
        if self.answers is None or other.answers is None:
            return None
        return sum(a == b for a, b in zip(self.answers, other.answers, strict=True))


@torch.no_grad()
def _logps(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Log-probability of each token of the answer, in nats."""
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    logits: Tensor = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(dim=-1).gather(1, ids[0, len(prompt) :, None]).squeeze(1).cpu()


@torch.no_grad()
def _reward(model: Any, prompt: Sequence[int]) -> Tensor:
    rewards: Tensor = model(input_ids=torch.tensor([prompt], device=model.device)).logits
    return rewards[0].float().cpu()
