"""Score prompt groups: log-probabilities of every trained token, packed where the model allows it, padded where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fairlead.engine.attention import NAME, UnsupportedAttention, causal_of, check_layers, trunk_of, using_attention
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.heads import token_logps, widen
from fairlead.engine.packing import PackedBatch, pack, pad
from fairlead.engine.routing import Balance, load_balancing_loss, routing_of
from fairlead.errors import ModelError
from fairlead.losses.scores import TokenScores
from fairlead.models.reward_model import is_reward_model, reward_head, skipped_token
from fairlead.models.stacks import inputs_as_they_are

# Largest mean difference, in nats per token, between two ways of computing the same log-probabilities.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
LOW_PRECISION = (torch.bfloat16, torch.float16)

LOG_SUM_SQ_PROBS = "log_sum_sq_probs"
"""Column of `TokenScores` that is filled only where it is asked for."""
NO_COLUMNS: frozenset[str] = frozenset()


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
        with using_attention(self.model, name), inputs_as_they_are(self.model, active=narrow):
            yield

    def autocast(self) -> AbstractContextManager[Any]:
        """Low-precision products over float32 weights, where `compute` asks for it."""
        if self.compute in LOW_PRECISION:
            return torch.autocast(self.device.type, dtype=self.compute)
        return nullcontext()

    def batch(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> PackedBatch:
        """The groups' completions (`which` of each, by index; all by default) as one batch on the model's device."""
        return (pack if self.packed else pad)(groups, which, skipped=self.skipped).to(self.device)

    @property
    def skipped(self) -> int | None:
        """The token that a reward is not read from where it ends a completion, or None."""
        return skipped_token(self.model) if is_reward_model(self.model) else None

    def hidden(self, batch: PackedBatch) -> Tensor:
        """Hidden states that predict the trained tokens, [N, H]; needs `attention()` and `autocast()` around it."""
        return _states(self._trunk(batch), batch.source_N)

    def score(self, batch: PackedBatch, columns: frozenset[str] = NO_COLUMNS) -> TokenScores:
        """Log-probabilities of the trained tokens of every completion, in nats, float32 or better.

        `columns` names further columns of the result that are wanted: `log_sum_sq_probs`.
        """
        self._check_attention(batch)
        with self.autocast():
            return self._read(self.hidden(batch), batch, columns)

    def score_with_balance(
        self, batch: PackedBatch, columns: frozenset[str] = NO_COLUMNS
    ) -> tuple[TokenScores, Balance | None]:
        """As `score`, and beside it the load-balancing loss over the tokens that went through the trunk.

        None unless the model's own configuration asks for that loss. Raises ModelError where it does, and the model
        does not give the logits of its routers.
        """
        self._check_attention(batch)
        with self.autocast():
            output = self._trunk(batch)
            scores = self._read(_states(output, batch.source_N), batch, columns)
        return scores, self._balance(output, batch)

    def score_sequences(self, batch: PackedBatch) -> Tensor:
        """The reward of every completion, [C], in float32 or better; the model must be a reward model."""
        return self.score_sequences_with_balance(batch)[0]

    def score_sequences_with_balance(self, batch: PackedBatch) -> tuple[Tensor, Balance | None]:
        """As `score_sequences`, and beside it the load-balancing loss as in `score_with_balance`."""
        hidden_CH, balance = self.last_hidden(batch)
        head = reward_head(self.model)
        # Not in autocast: the head is float32, and what rounding took from rewards would show in their differences.
        return widen(head(hidden_CH.to(head.weight.dtype))).squeeze(-1), balance

    def last_hidden(self, batch: PackedBatch) -> tuple[Tensor, Balance | None]:
        """The hidden states that rewards are read from, [C, H], and the load-balancing loss."""
        self._check_attention(batch)
        with self.autocast():
            output = self._trunk(batch)
            return _states(output, batch.last_C), self._balance(output, batch)

    def _balance(self, output: Any, batch: PackedBatch) -> Balance | None:
        routing = routing_of(self.model)
        if routing is None:
            return None
        logits = getattr(output, "router_logits", None)
        if not logits:
            raise ModelError(
                f"{type(causal_of(self.model)).__name__} does not give the logits of its routers, which "
                "`output_router_logits` in its config.json asks for. Set that to false."
            )
        value = load_balancing_loss(logits, routing.experts_per_token, batch.real)
        return Balance(value=value, coefficient=routing.coefficient)

    def _trunk(self, batch: PackedBatch) -> Any:
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
        if batch.layout is not None:
            inputs["layout"] = batch.layout
        return trunk_of(self.model)(**inputs)

    def _read(self, hidden_NH: Tensor, batch: PackedBatch, columns: frozenset[str]) -> TokenScores:
        with_squares = LOG_SUM_SQ_PROBS in columns
        logp_N, squares_N = token_logps(self.model, hidden_NH, batch.target_N, with_squares=with_squares)
        return TokenScores(logp_N, batch.count_C, squares_N)

    def _check_attention(self, batch: PackedBatch) -> None:
        wanted = NAME if batch.layout is not None else _native(self.model)
        assert causal_of(self.model).config._attn_implementation == wanted, "score within Scorer.attention()"


def _states(output: Any, index_N: Tensor) -> Tensor:
    """The hidden states of the trunk's output at these flat indices, [N, H]."""
    states: Tensor = output.last_hidden_state
    # Not `[index_N]`: its backward pass adds up in an order that changes between runs on several threads.
    return states.reshape(-1, states.shape[-1]).index_select(0, index_N)


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
    rewards = is_reward_model(model)
    group = _probe(int(causal_of(model).config.get_text_config().vocab_size))
    training = model.training
    model.eval()
    try:
        with scorer.attention():
            batch = scorer.batch([group])
            ours = scorer.last_hidden(batch)[0] if rewards else scorer.score(batch).logp_N
        if batch.layout is not None:
            check_layers(model, batch.layout.layers)
        padded = pad([group], skipped=scorer.skipped).to(scorer.device)
        theirs = (_own_last_hidden if rewards else _own_logps)(scorer, padded)
    except UnsupportedAttention as refusal:
        return f"shared-prompt attention is not exact for it ({refusal})"
    except TypeError as refusal:
        return f"{name} does not pass the layout on to its attention ({refusal})"
    finally:
        model.train(training)
    if not bool(torch.isfinite(theirs).all()):
        raise ModelError(
            f"{name} gives {'hidden states' if rewards else 'log-probabilities'} that are not finite: its weights are "
            "damaged, or the precision is too low for it. Copy the model again, or set `train.precision: fp32`."
        )
    difference = (ours - theirs).abs().mean().item()
    # Hidden states have a size of their own; what is compared is the difference as a share of it.
    size, unit = (theirs.abs().mean().item(), "of its hidden states") if rewards else (1.0, "nats per token")
    bound = TOLERANCE[scorer.compute] * size
    if not difference <= bound:
        how = "packed" if scorer.packed else "padded"
        return f"{name} scored {how} differs by {difference / size:.2g} {unit}"
    return None


def _own_logps(scorer: Scorer, batch: PackedBatch) -> Tensor:
    with using_attention(scorer.model, _native(scorer.model)), scorer.autocast():
        logits = scorer.model(input_ids=batch.input_ids, use_cache=False).logits
    flat = logits.reshape(-1, logits.shape[-1])[batch.source_N]
    return torch.log_softmax(widen(flat), dim=-1).gather(1, batch.target_N[:, None]).squeeze(1)


def _own_last_hidden(scorer: Scorer, batch: PackedBatch) -> Tensor:
    """What the model's own forward pass hands to its reward head; the head itself may still be all zeros."""
    seen: list[Tensor] = []
    hook = reward_head(scorer.model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with using_attention(scorer.model, _native(scorer.model)), scorer.autocast():
            for row in batch.input_ids:  # one by one: without a padding token the model refuses several
                scorer.model(input_ids=row[None], use_cache=False)
    finally:
        hook.remove()
    return torch.cat(seen).flatten(0, 1)[batch.last_C]


def _probe(vocabulary: int) -> PromptGroup:
    def ids(start: int, length: int) -> tuple[int, ...]:
        return tuple((start + 7919 * i) % vocabulary for i in range(length))

    completions = tuple(Completion(ids=ids(s, n), trained=(True,) * n) for s, n in ((17, 9), (101, 6)))
    return PromptGroup(row_id="self-check", prompt=ids(5, 13), completions=completions)
