"""Score prompt groups: log-probabilities of every trained token, packed where the model allows it, padded where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn

from fairlead.engine.attention import NAME, UnsupportedAttention, causal_of, trunk_of, using_attention
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.heads import token_logps, widen
from fairlead.engine.packing import PackedBatch, pack, pad
from fairlead.errors import ModelError
from fairlead.losses.scores import TokenScores

# Largest mean difference, in nats per token, between two ways of computing the same log-probabilities.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
LOW_PRECISION = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model and the way its batches are laid out. `note` says why a model is scored padded."""

    model: nn.Module
    packed: bool
    compute: torch.dtype
    note: str = ""

    @property
    def device(self) -> torch.device:
        """Where the model's parameters lie."""
        return next(self.model.parameters()).device

    @contextmanager
    def attention(self) -> Iterator[None]:
        """Hold this open around scoring *and* the backward pass of what was scored."""
        # Autocast brings an adapter's float32 weights to the type of its inputs; PEFT would widen the inputs first.
        narrow = self.compute in LOW_PRECISION
        name = NAME if self.packed else _native(self.model)
        with using_attention(self.model, name), disable_input_dtype_casting(self.model, active=narrow):
            yield

    def autocast(self) -> AbstractContextManager[Any]:
        """Low-precision products over float32 weights, where `compute` asks for it."""
        if self.compute in LOW_PRECISION:
            return torch.autocast(self.device.type, dtype=self.compute)
        return nullcontext()

    def batch(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> PackedBatch:
        """The groups' completions (`which` of each, by index; all by default) as one batch on the model's device."""
        made = pack(groups, which) if self.packed else pad(groups, which)
        return made.to(self.device)

    def hidden(self, batch: PackedBatch) -> Tensor:
        """Hidden states that predict the trained tokens, [N, H]; needs `attention()` and `autocast()` around it."""
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
        if batch.layout is not None:
            inputs["layout"] = batch.layout
        states: Tensor = trunk_of(self.model)(**inputs).last_hidden_state
        # Not `[source_N]`: its backward pass adds up in an order that changes between runs on several threads.
        return states.reshape(-1, states.shape[-1]).index_select(0, batch.source_N)

    def score(self, batch: PackedBatch) -> TokenScores:
        """Log-probabilities of the trained tokens of every completion, in nats, float32 or better."""
        assert causal_of(self.model).config._attn_implementation == (
            NAME if batch.layout is not None else _native(self.model)
        ), "score within Scorer.attention()"
        with self.autocast():
            return TokenScores(token_logps(self.model, self.hidden(batch), batch.target_N), batch.count_C)


def _native(model: nn.Module) -> str:
    """The attention that transformers itself chooses for the model's family: fused where the family allows it."""
    return "sdpa" if getattr(causal_of(model), "_supports_sdpa", False) else "eager"


def make_scorer(model: nn.Module, *, engine: str = "auto", compute: torch.dtype | None = None) -> Scorer:
    """Choose how `model` is scored and prove it on one short group against the model's own forward pass.

    `engine` is `packed`, `padded` or `auto` (packed, and padded where the proof fails); `compute` is the type of matrix
    products, by default the parameters' own. Raises ModelError where the wanted engine does not give the model's own
    log-probabilities.
    """
    compute = compute or next(model.parameters()).dtype
    reasons: list[str] = []
    for packed in {"auto": (True, False), "packed": (True,), "padded": (False,)}[engine]:
        scorer = Scorer(model=model, packed=packed, compute=compute, note="; ".join(reasons))
        fault = self_check(scorer)
        if fault is None:
            return scorer
        reasons.append(fault)
    raise ModelError(
        f"{type(causal_of(model)).__name__} cannot be scored with `engine: {engine}`: {'; '.join(reasons)}. "
        + ("Set `model.engine: padded`." if engine == "packed" else "This model family is not supported.")
    )


@torch.no_grad()
def self_check(scorer: Scorer) -> str | None:
    """Score one short group and compare with the model's own logits; None when they agree, else what differs.

    Raises ModelError where the model's own are not finite.
    """
    model = scorer.model
    name = type(causal_of(model)).__name__
    group = _probe(int(causal_of(model).config.get_text_config().vocab_size))
    training = model.training
    model.eval()
    try:
        with scorer.attention():
            ours = scorer.score(scorer.batch([group])).logp_N
        theirs = _own_logps(scorer, pad([group]).to(scorer.device))
    except UnsupportedAttention as refusal:
        return f"shared-prompt attention is not exact for it ({refusal})"
    except TypeError as refusal:
        return f"{name} does not pass the layout on to its attention ({refusal})"
    finally:
        model.train(training)
    if not bool(torch.isfinite(theirs).all()):
        raise ModelError(
            f"{name} gives log-probabilities that are not finite: its weights are damaged, or the precision is too low "
            "for it. Copy the model again, or set `train.precision: fp32`."
        )
    difference = (ours - theirs).abs().mean().item()
    bound = TOLERANCE[scorer.compute]
    if not difference <= bound:
        return f"{name} scored {'packed' if scorer.packed else 'padded'} differs by {difference:.2g} nats per token"
    return None


def _own_logps(scorer: Scorer, batch: PackedBatch) -> Tensor:
    with using_attention(scorer.model, _native(scorer.model)), scorer.autocast():
        logits = scorer.model(input_ids=batch.input_ids, use_cache=False).logits
    flat = logits.reshape(-1, logits.shape[-1])[batch.source_N]
    return torch.log_softmax(widen(flat), dim=-1).gather(1, batch.target_N[:, None]).squeeze(1)


def _probe(vocabulary: int) -> PromptGroup:
    def ids(start: int, length: int) -> tuple[int, ...]:
        return tuple((start + 7919 * i) % vocabulary for i in range(length))

    completions = tuple(Completion(ids=ids(s, n), trained=(True,) * n) for s, n in ((17, 9), (101, 6)))
    return PromptGroup(row_id="self-check", prompt=ids(5, 13), completions=completions)
