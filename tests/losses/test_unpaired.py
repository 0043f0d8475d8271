from __future__ import annotations

import pytest
import torch

from fairlead.losses.scores import Thumbs
from fairlead.losses.unpaired import kto, mismatched_kl
from tests.losses.batches import random_batch, scores


def test_gradient_of_kto() -> None:
    batch, policy_N = random_batch(Thumbs)
    policy_N.requires_grad_()
    thumbs = batch.examples(policy_N)
    assert isinstance(thumbs, Thumbs)
    z = torch.tensor(0.4, dtype=torch.float64)
    output = kto(thumbs, statistic=z, beta=0.7, desirable_weight=1.5, undesirable_weight=0.5)
    (gradient,) = torch.autograd.grad(output.terms[0].value.sum(), policy_N)
    sigma = torch.sigmoid(0.7 * (thumbs.log_ratio - z))
    slope = 0.7 * sigma * (1 - sigma) * torch.where(thumbs.label, -1.5, 0.5)
    torch.testing.assert_close(gradient, torch.repeat_interleave(slope.detach(), thumbs.completion.count))


def test_the_reference_point_takes_no_gradient() -> None:
    z = torch.tensor(0.4, requires_grad=True)
    thumbs = Thumbs(scores([-1.0], grad=True), torch.tensor([True]), scores([-2.0]))
    kto(thumbs, statistic=z).terms[0].value.sum().backward()
    assert z.grad is None


@pytest.mark.parametrize(("shift", "expected"), [(0.5, 0.75), (-0.5, 0.0)])
def test_mismatched_kl_is_the_mean_log_ratio_or_zero(shift: float, expected: float) -> None:
    policy = scores([-1.0, -1.0], [-2.0], grad=True)
    reference = scores([-1.0 - shift, -1.0 - shift], [-2.0 - shift])
    z = mismatched_kl(policy, reference)
    assert z.item() == expected
    assert not z.requires_grad


def test_mismatched_kl_of_no_completion_is_zero() -> None:
    assert mismatched_kl(scores(), scores()).item() == 0.0


def test_metrics_are_per_label_even_where_one_label_is_missing() -> None:
    thumbs = Thumbs(scores([-1.0], [-2.0]), torch.tensor([True, True]), scores([-2.0], [-2.0]))
    metrics = kto(thumbs, statistic=torch.tensor(0.25), beta=0.5).metrics
    assert metrics["rewards/chosen"].tolist() == [0.5, 0.0]
    assert metrics["logps/chosen"].tolist() == [-1.0, -2.0]
    assert metrics["rewards/rejected"].tolist() == metrics["logps/rejected"].tolist() == []
    assert metrics["kl"].tolist() == [0.25, 0.25]


def test_labels_are_booleans() -> None:
    thumbs = Thumbs(scores([-1.0]), torch.tensor([-1]), scores([-2.0]))
    with pytest.raises(AssertionError, match="boolean"):
        kto(thumbs, statistic=torch.tensor(0.0))
