from __future__ import annotations

import pytest
import torch

from fairlead.losses.scores import Demonstrations
from fairlead.losses.supervised import negative_log_likelihood, sft
from tests.losses.batches import reduced, scores


def test_sft_is_the_mean_over_the_tokens_of_the_batch() -> None:
    output = sft(Demonstrations(scores([-1.0, -2.0, -3.0], [-6.0])))
    assert reduced(output, rows=2, tokens=4).item() == pytest.approx(3.0)
    assert output.metrics["nll_loss"].tolist() == [2.0, 6.0]


def test_sft_equals_cross_entropy() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([1, 0, 6, 3, 3])
    logp = logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
    output = sft(Demonstrations(scores(logp[:2].tolist(), logp[2:].tolist())))
    torch.testing.assert_close(reduced(output, rows=2, tokens=5), torch.nn.functional.cross_entropy(logits, target))


def test_negative_log_likelihood_is_per_token() -> None:
    assert negative_log_likelihood(scores([-1.0, -3.0])).tolist() == [2.0]
