"""Output heads: hidden states at trained positions → what losses need of the trained tokens, chunk by chunk.

Logits never exist whole: the largest buffer is one chunk of rows × vocabulary.
Shapes: N trained tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fairlead.engine.attention import causal_of

CHUNK_BYTES = 64 << 20
"""Memory that one float32 chunk of logits may take."""


def chunk_rows(vocabulary: int) -> int:
    """Rows of hidden states per chunk of logits."""
    return max(16, CHUNK_BYTES // (4 * vocabulary))


def widen(x: Tensor) -> Tensor:
    """float32 or better."""
    return x if x.dtype == torch.float64 else x.float()


class _TokenLogProbs(torch.autograd.Function):
    """log softmax(hidden · weightᵀ)[target], with the derivative taken chunk by chunk.

    The derivative of a token's log-probability by its hidden state, W[target] − softmax·W, does not depend on the loss.
    With a frozen head it is therefore taken in the forward pass, where the chunk's logits are at hand, and the backward
    pass costs nothing; a trained head recomputes each chunk instead. The second result is `log_sum_sq_probs`, if asked
    for.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, target_N: Tensor, dtype: torch.dtype, with_squares: bool
    ) -> tuple[Tensor, Tensor | None]:
        hidden, weight = hidden_NH.to(dtype), weight_VH.to(dtype)
        rows = chunk_rows(weight.shape[0])
        early = ctx.needs_input_grad[0] and not ctx.needs_input_grad[1]
        derivative = torch.empty_like(hidden) if early else None
        none = widen(hidden.new_zeros(0))
        logps, squares = [none], [none]
        for at in range(0, hidden.shape[0], rows):
            target = target_N[at : at + rows, None]
            logp = torch.log_softmax(widen(hidden[at : at + rows] @ weight.T), dim=-1)
            logps.append(logp.gather(1, target).squeeze(1))
            if derivative is None and not with_squares:
                continue
            probs = logp.exp_()
            if with_squares:
                squares.append(_log_sum_squares(probs))
            if derivative is not None:
                derivative[at : at + rows] = weight[target.squeeze(1)] - probs.to(dtype) @ weight
        ctx.rows, ctx.dtype, ctx.early = rows, dtype, early
        ctx.save_for_backward(*((derivative,) if early else (hidden_NH, weight_VH, target_N)))
        ctx.hidden_dtype = hidden_NH.dtype
        if not with_squares:
            return torch.cat(logps), None
        column = torch.cat(squares)
        ctx.mark_non_differentiable(column)
        return torch.cat(logps), column

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        grad_N, _ = grads
        if ctx.early:
            (derivative,) = ctx.saved_tensors
            return (grad_N[:, None] * derivative).to(ctx.hidden_dtype), None, None, None, None
        hidden_NH, weight_VH, target_N = ctx.saved_tensors
        hidden, weight = hidden_NH.to(ctx.dtype), weight_VH.to(ctx.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight_VH) if ctx.needs_input_grad[1] else None
        for at in range(0, hidden.shape[0], ctx.rows):
            chunk, target, grad = hidden[at : at + ctx.rows], target_N[at : at + ctx.rows], grad_N[at : at + ctx.rows]
            grad_logits = torch.softmax(widen(chunk @ weight.T), dim=-1).mul_(-grad[:, None])
            grad_logits[torch.arange(len(target), device=target.device), target] += grad
            narrow = grad_logits.to(ctx.dtype)
            grad_hidden[at : at + ctx.rows] = narrow @ weight
            if grad_weight is not None:
                grad_weight += narrow.T @ chunk
        return grad_hidden.to(ctx.hidden_dtype), grad_weight, None, None, None


def token_logps(
    model: nn.Module, hidden_NH: Tensor, target_N: Tensor, *, with_squares: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the target tokens, [N]; `with_squares` also log Σ_v p_v² at each of them, else None.

    In nats and float32 or better; the second, [N], carries no gradient.
    """
    head = output_head(model)
    dtype = compute_dtype(hidden_NH)
    if _is_plain(model, head):
        return _TokenLogProbs.apply(hidden_NH, head.weight, target_N, dtype, with_squares)  # type: ignore[no-any-return, no-untyped-call]
    logits = logits_function(model)
    rows = chunk_rows(int(causal_of(model).config.get_text_config().vocab_size))

    def chunk(hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        logp = torch.log_softmax(widen(logits(hidden)), dim=-1)
        squares = _log_sum_squares(logp.detach().exp()) if with_squares else None
        return logp.gather(1, target[:, None]).squeeze(1), squares

    pieces = [
        checkpoint(chunk, hidden_NH[at : at + rows], target_N[at : at + rows], use_reentrant=False)
        for at in range(0, hidden_NH.shape[0], rows)
    ]
    squares = torch.cat([squares for _, squares in pieces]) if with_squares else None
    return torch.cat([logps for logps, _ in pieces]), squares


def _log_sum_squares(probs: Tensor) -> Tensor:
    """log Σ_v p_v² of probabilities [n, V], [n]. The sum is at least 1/V, so nothing is lost on the way."""
    norm: Tensor = torch.linalg.vector_norm(probs, dim=-1)
    return 2 * norm.log()


def compute_dtype(x: Tensor) -> torch.dtype:
    """What a matrix product of `x` is computed in here: the autocast type where one is active."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def output_head(model: nn.Module) -> Any:
    """The module that turns hidden states into logits."""
    return causal_of(model).get_output_embeddings()


def logits_function(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Hidden states [n, H] → logits [n, V] as the model's own forward makes them: head, scale, soft cap."""
    head, config = output_head(model), causal_of(model).config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    multiplier = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)

    def logits(hidden: Tensor) -> Tensor:
        out: Tensor = head(hidden)
        out = out if multiplier is None else out * multiplier
        out = out if divisor is None else out / divisor
        return out if cap is None else torch.tanh(out / cap) * cap

    return logits


def _is_plain(model: nn.Module, head: Any) -> bool:
    config = causal_of(model).config.get_text_config()
    bent = any(getattr(config, name, None) for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"))
    return type(head) is nn.Linear and head.bias is None and not bent


@torch.no_grad()
def vocabulary_kl(
    policy_logits: Callable[[Tensor], Tensor],
    policy_hidden_NH: Tensor,
    reference_logits: Callable[[Tensor], Tensor],
    reference_hidden_NH: Tensor,
    *,
    vocabulary: int,
) -> Tensor:
    """KL(policy ‖ reference) over the whole vocabulary at each position, in nats, [N]."""
    rows = chunk_rows(vocabulary)
    pieces = []
    for at in range(0, policy_hidden_NH.shape[0], rows):
        policy = torch.log_softmax(widen(policy_logits(policy_hidden_NH[at : at + rows])), dim=-1)
        reference = torch.log_softmax(widen(reference_logits(reference_hidden_NH[at : at + rows])), dim=-1)
        pieces.append((policy.exp() * (policy - reference)).sum(dim=-1))
    return torch.cat(pieces)
