from __future__ import annotations

import pytest
import torch

from fairlead.losses.scores import Thumbs
from fairlead.losses.table import LOSSES
from fairlead.losses.unpaired import apo_zero_unpaired, bco, kto, mean_log_ratio_of_labels, mismatched_kl
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


def thumbs(ratios: list[float], labels: list[bool], *, grad: bool = False) -> Thumbs:
    """Single tokens with these log-ratios."""
    return Thumbs(
        scores(*([ratio] for ratio in ratios), grad=grad), torch.tensor(labels), scores(*([0.0] for _ in ratios))
    )


def test_bco_is_a_classifier_with_a_threshold() -> None:
    given = thumbs([4.0, 2.0], [True, False])
    values = bco(given, statistic=torch.tensor(3.0), beta=0.2).terms[0].value
    expected = -torch.nn.functional.logsigmoid(torch.tensor([0.2, 0.2], dtype=torch.float64))
    torch.testing.assert_close(values, expected)
    plain = bco(thumbs([1.0, -1.0], [True, False]), statistic=None, beta=0.2, reward_shift="zero").terms[0].value
    torch.testing.assert_close(plain, expected)
    with pytest.raises(AssertionError, match="running mean"):
        bco(given, statistic=None)


def test_the_threshold_of_bco_lies_midway_between_the_labels() -> None:
    given = thumbs([1.0, 2.0, 3.0, -4.0], [True, True, True, False], grad=True)
    midway = mean_log_ratio_of_labels(given)
    assert midway.item() == pytest.approx((2.0 - 4.0) / 2)
    assert not midway.requires_grad
    assert mean_log_ratio_of_labels(thumbs([1.0, 2.0], [True, True])).item() == pytest.approx(1.5)
    assert mean_log_ratio_of_labels(thumbs([-1.0], [False])).item() == pytest.approx(-1.0)


def test_unpaired_apo_is_kto_counting_from_zero() -> None:
    batch, policy_N = random_batch(Thumbs)
    given = batch.examples(policy_N)
    assert isinstance(given, Thumbs)
    weights = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    from_zero = kto(given, statistic=torch.tensor(0.0), **weights)
    torch.testing.assert_close(apo_zero_unpaired(given, **weights).terms[0].value, from_zero.terms[0].value)


@pytest.mark.parametrize("name", ["kto", "bco", "apo_zero_unpaired"])
def test_weights_are_by_label(name: str) -> None:
    given = thumbs([0.3, 0.3, -0.2], [True, False, True])
    keywords = {} if name == "apo_zero_unpaired" else {"statistic": torch.tensor(0.1)}
    plain = LOSSES[name].function(given, **keywords).terms[0].value
    weighted = LOSSES[name].function(given, **keywords, desirable_weight=2.0, undesirable_weight=0.5).terms[0].value
    torch.testing.assert_close(weighted, plain * torch.tensor([2.0, 0.5, 2.0]))
