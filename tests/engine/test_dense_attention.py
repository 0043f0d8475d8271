"""Dense attention against PyTorch's own, values and derivatives."""

from __future__ import annotations

import pytest
import torch

from fairlead.engine.dense_attention import _DenseAttention, attend


def tensors(dtype: torch.dtype, *, values: int) -> tuple[torch.Tensor, ...]:
    """Four query heads on two key heads, five queries, seven keys; heads of 8, of `values` where values go."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 4, 5, 8), (1, 2, 7, 8), (1, 2, 7, values))
    made = tuple(torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes)
    mask = torch.zeros(5, 7, dtype=dtype).masked_fill_(torch.ones(5, 7).triu(3).bool(), float("-inf"))
    return *made, mask


@pytest.mark.parametrize("values", [8, 6])
def test_products_equal_pytorchs_attention(values: int) -> None:
    """Values may have a head size of their own."""
    query, key, value, mask = tensors(torch.float64, values=values)
    wanted = attend(query, key, value, mask, causal=False, scaling=0.3, dropout=0.0)
    ours = _DenseAttention.apply(query, key, value, mask, 0.3)
    assert (ours - wanted).abs().max() < 1e-14
    weights = torch.linspace(-1, 1, wanted.numel(), dtype=torch.float64).view_as(wanted)
    expected = torch.autograd.grad((wanted * weights).sum(), (query, key, value))
    found = torch.autograd.grad((ours * weights).sum(), (query, key, value))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-14


def test_bfloat16_on_a_cpu_takes_the_products() -> None:
    query, key, value, mask = tensors(torch.bfloat16, values=8)
    output = attend(query, key, value, mask, causal=False, scaling=0.3, dropout=0.0)
    assert type(output.grad_fn).__name__ == "_DenseAttentionBackward"
    wide = attend(*(each.double() for each in (query, key, value, mask)), causal=False, scaling=0.3, dropout=0.0)
    assert (output.double() - wide).abs().max() < 0.03
