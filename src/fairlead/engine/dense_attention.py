"""Attention over short segments as two batched matrix products, for CPUs that multiply bfloat16 natively.

PyTorch's fused CPU kernel is made for long sequences; on segments of a few hundred tokens two plain products are about
four times as fast, forward and backward. The probabilities are computed again in the backward pass rather than kept, so
nothing quadratic outlives the call.

Shapes: B batch, H query heads, G key heads, T queries, S keys, D head size, E head size of the values (mostly D).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, causal: bool, scaling: float, dropout: float
) -> Tensor:
    """softmax(scaling · query·keyᵀ + mask)·value, [B, H, T, E]; `mask` is additive, [T, S], in the type of `query`.

    `causal` says that the mask is the plain causal one, which fused kernels know without it.
    """
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and dropout == 0:
        return _DenseAttention.apply(query, key, value, mask, scaling)  # type: ignore[no-any-return, no-untyped-call]
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if causal else mask,
        is_causal=causal,
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=True,
    )


class _DenseAttention(torch.autograd.Function):
    """All query heads of a key head are laid end to end, so that one product serves the whole group of heads."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
        b, h, t, d = query.shape
        g, s = key.shape[1:3]
        rows, keys, values = query.reshape(b * g, -1, d), key.reshape(b * g, s, d), value.reshape(b * g, s, -1)
        ctx.save_for_backward(rows, keys, values, mask)
        ctx.scaling, ctx.shape = scaling, (b, h, g)
        return torch.bmm(_probabilities(rows, keys, mask, scaling), values).view(b, h, t, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        rows, keys, values, mask = ctx.saved_tensors
        b, h, g = ctx.shape
        grad = grads[0].reshape(b * g, rows.shape[1], -1)
        probabilities = _probabilities(rows, keys, mask, ctx.scaling)
        grad_values = torch.bmm(probabilities.transpose(1, 2), grad)
        grad_probabilities = torch.bmm(grad, values.transpose(1, 2))
        # softmax's derivative, fused: p · (∂p − Σ p·∂p)
        grad_scores = torch._softmax_backward_data(grad_probabilities, probabilities, -1, probabilities.dtype)
        grad_rows = torch.bmm(grad_scores, keys).mul_(ctx.scaling)
        grad_keys = torch.bmm(grad_scores.transpose(1, 2), rows).mul_(ctx.scaling)
        grad_query = grad_rows.view(b, h, -1, keys.shape[2])
        return grad_query, grad_keys.view(b, g, *keys.shape[1:]), grad_values.view(b, g, *values.shape[1:]), None, None


def _probabilities(rows: Tensor, keys: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """[B·G, H/G·T, S]: the mask of one head, repeated for each query head of the group."""
    heads = rows.shape[1] // mask.shape[0]
    repeated = mask.repeat(heads, 1).expand(rows.shape[0], -1, -1)
    return torch.softmax(torch.baddbmm(repeated, rows, keys.transpose(1, 2), alpha=scaling), dim=-1)
