"""Output heads: log-probabilities and log Σ p² of every trained token against dense float64, and their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fairlead.engine import heads
from fairlead.engine.heads import logits_function, output_head, token_logps
from tests.tiny import FAMILIES, VOCABULARY

ROWS = 23
PLAIN, MODULE = "llama", "gemma2"
"""A head that is one matrix, and one with a soft cap behind it, which goes through its own module."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, the last one not full."""
    monkeypatch.setattr(heads, "chunk_rows", lambda vocabulary: 5)


def made(family: str, dtype: torch.dtype, *, trained: bool) -> tuple[Any, Tensor, Tensor]:
    """A model, hidden states that are trained through, and target tokens."""
    model = FAMILIES[family](tie_word_embeddings=False).to(dtype)
    output_head(model).requires_grad_(trained)
    dice = torch.Generator().manual_seed(3)
    hidden = torch.randn(ROWS, 32, generator=dice, dtype=torch.float64).to(dtype).requires_grad_()
    return model, hidden, torch.randint(0, VOCABULARY, (ROWS,), generator=dice)


def dense(model: Any, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both columns from whole logits in float64."""
    logp = torch.log_softmax(logits_function(model.double())(hidden.detach().double()), dim=-1)
    return logp.gather(1, target[:, None]).squeeze(1).detach(), torch.logsumexp(2 * logp, dim=-1).detach()


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("family", [PLAIN, MODULE])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_both_columns_are_those_of_whole_logits(family: str, trained: bool, dtype: torch.dtype, bound: float) -> None:
    model, hidden, target = made(family, dtype, trained=trained)
    logps, squares = token_logps(model, hidden, target, with_squares=True)
    assert squares is not None
    assert not squares.requires_grad
    assert logps.dtype == squares.dtype == dtype
    expected = dense(model, hidden, target)
    for ours, theirs in zip((logps, squares), expected, strict=True):
        assert ours.shape == (ROWS,)
        assert (ours.detach().double() - theirs).abs().max().item() <= bound
    assert squares.std() > 0.1
    assert (-torch.tensor(VOCABULARY).log() <= squares).all()
    assert (squares <= 0).all()


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("family", [PLAIN, MODULE])
def test_asking_for_the_second_column_changes_neither_the_first_nor_its_gradients(family: str, trained: bool) -> None:
    found = []
    for with_squares in (False, True):
        model, hidden, target = made(family, torch.float32, trained=trained)
        logps, squares = token_logps(model, hidden, target, with_squares=with_squares)
        assert (squares is not None) == with_squares
        (logps * torch.linspace(-1, 1, ROWS)).sum().backward()
        weight = output_head(model).weight.grad
        assert (weight is not None) == trained
        found.append([logps.detach(), hidden.grad, *([weight] if trained else [])])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("with_squares", [False, True])
def test_no_trained_token_gives_empty_columns(with_squares: bool) -> None:
    model, hidden, target = made(PLAIN, torch.float32, trained=True)
    logps, squares = token_logps(model, hidden[:0], target[:0], with_squares=with_squares)
    assert logps.shape == (0,)
    assert squares is None if not with_squares else squares.shape == (0,)


def test_a_certain_token_and_a_uniform_one() -> None:
    model, _, _ = made(PLAIN, torch.float32, trained=False)
    hidden = torch.zeros(2, 32)
    hidden[1] = 1e4 * output_head(model).weight[7]
    _, squares = token_logps(model, hidden, torch.tensor([0, 7]), with_squares=True)
    assert squares.tolist() == pytest.approx([-torch.tensor(VOCABULARY).log().item(), 0.0], abs=1e-6)
