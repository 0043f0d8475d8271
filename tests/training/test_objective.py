"""The binding of losses to batches: accumulation, statistics, weights, margins, and what is not finite."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fairlead.engine.packing import micro_batches
from fairlead.errors import RunError
from fairlead.losses.binding import bind
from fairlead.losses.table import LOSSES
from fairlead.training.objective import Objective, metric_names, name_rows
from tests.training.small import OtherModel, broken, make_groups, make_objective

SMALL = 45
"""Tokens in a micro-batch: two or three groups."""


def gradients(objective: Objective) -> Tensor:
    """Every gradient of the model, in one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in objective.scorer.model.parameters()])  # type: ignore[union-attr]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("loss", ["sft", "dpo", "orpo", "kto"])
def test_micro_batches_give_the_loss_and_gradient_of_one_batch(loss: str, dtype: torch.dtype, bound: float) -> None:
    groups = make_groups(loss, 11, weighted=True)
    assert len(micro_batches(groups, SMALL)) >= 3
    whole, parts = make_objective(loss, dtype=dtype), make_objective(loss, dtype=dtype, budget=SMALL)
    one, many = whole.backward(groups), parts.backward(groups)
    assert many == pytest.approx(one, rel=bound)
    expected, found = gradients(whole), gradients(parts)
    assert expected.norm() > 1e-3
    assert (found - expected).norm() <= bound * expected.norm()


def test_ktos_reference_point_does_not_depend_on_the_micro_batch() -> None:
    groups = make_groups("kto", 9)
    kl = [make_objective("kto", dtype=torch.float64, budget=b).evaluate(groups)["kl"] for b in (1, SMALL, 10_000)]
    assert kl[0] > 0.1
    assert kl == pytest.approx([kl[2]] * 3, rel=1e-12)


def test_ktos_reference_point_is_taken_on_mismatched_completions_of_the_whole_step() -> None:
    groups = make_groups("kto", 9)
    objective = make_objective("kto", dtype=torch.float64)
    assert isinstance(objective.reference, OtherModel)
    with torch.no_grad(), objective.scorer.attention():
        policy = objective.scorer.score(objective.scorer.batch(groups, (1,)))
    ratio = policy.total - objective.reference.scores(groups, (1,)).total
    assert ratio.mean() > 0.1
    assert objective.evaluate(groups)["kl"] == pytest.approx(ratio.mean().item(), rel=1e-12)


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_metrics_are_means_over_the_examples_that_have_them(loss: str) -> None:
    groups = make_groups(loss, 7, weighted=True)
    objective = make_objective(loss, dtype=torch.float64, budget=SMALL)
    alone = [objective.evaluate([group]) for group in groups]
    together = objective.evaluate(groups)
    for name in ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected"):
        values = [each[name] for each in alone if not math.isnan(each[name])]
        assert len(values) == (7 if loss == "dpo" else {"chosen": 4, "rejected": 3}[name.split("/")[1]])
        assert together[name] == pytest.approx(sum(values) / len(values), rel=1e-10)


def test_a_metric_that_no_example_has_is_not_a_number() -> None:
    liked = [replace(group, label=True) for group in make_groups("kto", 3)]
    assert math.isnan(make_objective("kto").evaluate(liked)["rewards/rejected"])


@pytest.mark.parametrize("loss", ["sft", "dpo", "kto"])
def test_a_row_weight_multiplies_the_rows_loss(loss: str) -> None:
    groups = make_groups(loss, 6)
    objective = make_objective(loss, dtype=torch.float64)
    # One row's part of the step's loss: what is missing where its weight is 0.
    whole = objective.evaluate(groups)["loss"]
    without = objective.evaluate([replace(groups[0], weight=0.0), *groups[1:]])["loss"]
    tripled = objective.evaluate([replace(groups[0], weight=3.0), *groups[1:]])["loss"]
    assert whole != pytest.approx(without, rel=1e-3)
    assert tripled == pytest.approx(without + 3 * (whole - without), rel=1e-6)


def test_a_sum_over_tokens_is_divided_by_the_trained_tokens_of_the_step() -> None:
    groups = make_groups("sft", 5)
    objective = make_objective("sft", dtype=torch.float64)
    counts = [sum(group.completions[0].trained) for group in groups]
    assert len(set(counts)) > 1
    each = [objective.evaluate([group])["loss"] * count for group, count in zip(groups, counts, strict=True)]
    assert objective.evaluate(groups)["loss"] == pytest.approx(sum(each) / sum(counts), rel=1e-10)


def test_a_margin_is_taken_off_the_difference_of_rewards() -> None:
    groups = make_groups("dpo", 4)
    margins = [0.5, 0.0, 2.0, 0.25]
    held = [replace(group, margin=margin) for group, margin in zip(groups, margins, strict=True)]
    objective = make_objective("dpo", dtype=torch.float64, budget=SMALL)
    rewards = [objective.evaluate([group])["rewards/margins"] for group in groups]
    expected = [math.log1p(math.exp(-(r - m))) for r, m in zip(rewards, margins, strict=True)]
    assert objective.evaluate(held)["loss"] == pytest.approx(sum(expected) / 4, rel=1e-6)


def test_rows_whose_loss_is_not_finite_are_named() -> None:
    groups = make_groups("dpo", 8)
    with pytest.raises(RunError, match="the loss of row r5 is not finite"):
        broken("r5").backward(groups)
    with pytest.raises(RunError, match="the loss of rows r0 and r1 is not finite"):
        broken("r0", "r1").backward(groups)


def test_an_evaluation_that_is_not_finite_says_so_and_stops_nothing() -> None:
    assert math.isnan(broken("r5").evaluate(make_groups("dpo", 8))["loss"])


def test_many_rows_are_named_in_short() -> None:
    assert name_rows(["a"]) == "row a"
    assert name_rows(["a", "b", "c"]) == "rows a, b and c"
    assert name_rows([str(n) for n in range(12)]) == "rows 0, 1, 2, 3, 4, 5, 6, 7 and 4 more"


@pytest.mark.parametrize("loss", LOSSES)
def test_the_metrics_of_a_loss_are_known_beforehand(loss: str) -> None:
    found = make_objective(loss).evaluate(make_groups(loss, 3))
    assert metric_names(bind([(loss, {}, 1.0)])) == list(found)


def test_evaluation_leaves_gradient_mode_and_random_state_alone() -> None:
    objective = make_objective("kto")
    objective.scorer.model.train()
    before = torch.get_rng_state()
    objective.evaluate(make_groups("kto", 4))
    assert objective.scorer.model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in objective.scorer.model.parameters())


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    groups = make_groups("orpo", 4)
    objective = make_objective("orpo", attention_dropout=0.5)
    objective.scorer.model.train()
    assert objective.evaluate(groups) == objective.evaluate(groups)
    assert objective.backward(groups) != objective.backward(groups)


def test_only_losses_with_a_reference_ask_for_one() -> None:
    assert make_objective("orpo").reference is None
    assert make_objective("orpo").evaluate(make_groups("orpo", 3))["loss"] > 0
