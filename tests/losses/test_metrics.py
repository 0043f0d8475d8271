from __future__ import annotations

import math

from fairlead.losses.pairwise import dpo
from fairlead.losses.reference_free import orpo
from fairlead.losses.scores import Pairs
from tests.losses.batches import scores


def test_metrics_of_a_loss_with_reference() -> None:
    chosen, rejected = scores([-1.0], [-2.0, -2.0], [-3.0]), scores([-2.0, -2.0], [-1.0], [-3.0])
    reference = scores([-2.0], [-1.5, -1.5], [-3.0]), scores([-2.0, -2.0], [-1.0], [-3.0])
    metrics = dpo(Pairs(chosen, rejected, *reference), beta=0.5).metrics
    assert metrics["rewards/chosen"].tolist() == [0.5, -0.5, 0.0]
    assert metrics["rewards/rejected"].tolist() == [0.0, 0.0, 0.0]
    assert metrics["rewards/margins"].tolist() == [0.5, -0.5, 0.0]
    assert metrics["rewards/accuracies"].tolist() == [1.0, 0.0, 0.5]
    assert metrics["ranking_accuracy"].tolist() == [1.0, 0.0, 0.5]
    assert metrics["logps/chosen"].tolist() == [-1.0, -4.0, -3.0]
    assert metrics["logps/rejected"].tolist() == [-4.0, -1.0, -3.0]


def test_metrics_of_a_loss_without_reference() -> None:
    pairs = Pairs(scores([-1.0, -3.0]), scores([-3.0]))
    assert orpo(pairs, beta=0.5).metrics["rewards/margins"].tolist() == [0.5]
    assert orpo(pairs).metrics["nll_loss"].tolist() == [2.0]


def test_an_accuracy_of_nan_is_nan() -> None:
    metrics = dpo(Pairs(scores([math.nan]), scores([-1.0]), scores([-1.0]), scores([-1.0]))).metrics
    assert metrics["rewards/accuracies"].isnan().all()
    assert metrics["ranking_accuracy"].isnan().all()
