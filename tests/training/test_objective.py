"""The binding of losses to batches: accumulation, statistics, weights, margins, and what is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fairlead.engine.packing import micro_batches
from fairlead.engine.scoring import Scorer
from fairlead.errors import RunError
from fairlead.losses.binding import BoundLoss, NamedLoss, Summand, bind
from fairlead.losses.contract import Loss, Statistic
from fairlead.losses.scores import LossOutput, Pairs, Term, Thumbs
from fairlead.losses.table import LOSSES
from fairlead.training import objective as objective_module
from fairlead.training.objective import Objective, metric_names, name_rows
from tests.tiny import tiny_qwen3_moe
from tests.training.small import OtherModel, broken, make_groups, make_objective

SMALL = 45
"""Tokens in a micro-batch: two or three groups."""
RUNNING = {"reward_shift": "running"}
SUMS: dict[str, list[NamedLoss]] = {
    **{name: [(name, {}, 1.0)] for name in LOSSES},
    "bco with a running shift": [("bco", RUNNING, 1.0)],
    "bco_pair with a running shift": [("bco_pair", RUNNING, 1.0)],
    "bco and kto": [("bco", RUNNING, 1.0), ("kto", {}, 0.5)],
    "aot and dpo and sft": [("aot", {}, 1.0), ("dpo", {}, 0.3), ("sft", {}, 0.1)],
    "dpo weighted by the policy": [("dpo", {"wpo": True}, 1.0)],
}
"""Every loss of the table, and sums of losses."""


def gradients(objective: Objective) -> Tensor:
    """Every gradient of the model, in one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in objective.scorer.model.parameters()])  # type: ignore[union-attr]


def over(losses: Sequence[NamedLoss], **more: Any) -> Objective:
    """An objective over a sum of losses."""
    leading = bind(losses).leading.name
    made = make_objective(leading, **more)
    other = made.reference or make_objective("dpo", dtype=more.get("dtype", torch.float32)).reference
    return replace(made, loss=bind(losses), reference=other if bind(losses).needs_reference else None)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", SUMS)
def test_micro_batches_give_the_loss_and_gradient_of_one_batch(name: str, dtype: torch.dtype, bound: float) -> None:
    loss = bind(SUMS[name])
    groups = make_groups(loss.leading.name, 11, weighted=loss.takes_weights)
    assert len(micro_batches(groups, SMALL)) >= 3
    whole, parts = over(SUMS[name], dtype=dtype), over(SUMS[name], dtype=dtype, budget=SMALL)
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


@pytest.mark.parametrize("name", SUMS)
def test_the_metrics_of_a_loss_are_known_beforehand(name: str) -> None:
    found = over(SUMS[name]).evaluate(make_groups(bind(SUMS[name]).leading.name, 3))
    assert metric_names(bind(SUMS[name])) == list(found)


def own_loss(examples: type[Any], function: Any, statistic: Statistic) -> BoundLoss:
    """A loss that is in no table."""
    loss = Loss(
        function=function,
        examples=examples,
        needs_reference=True,
        normalization="sum",
        equation="",
        source="",
        ranges={},
        statistic=statistic,
    )
    summand = Summand(name="own", loss=loss, parameters={}, nll_weight=0.0, wpo=False, weight=1.0)
    return BoundLoss(summands=(summand,))


def column(examples: Any) -> Tensor:
    """One number for each example, in which policy, reference and margin or label have a part; [E]."""
    if isinstance(examples, Pairs):
        assert examples.margin is None
        return examples.delta
    return examples.log_ratio * torch.where(examples.label, 1.0, 7.0)


def unlike(examples: Any, *, statistic: Tensor) -> LossOutput:
    """How far each example's number is from the statistic's."""
    value = column(examples)
    return LossOutput((Term((value - statistic).abs()),), {"value": value.detach()})


ECHO = Statistic(completions="own", compute=column, per_example=True)


@pytest.mark.parametrize("budget", [1, SMALL, 10_000])
@pytest.mark.parametrize(("kind", "examples"), [("dpo", Pairs), ("bco", Thumbs)])
def test_a_statistic_for_each_example_is_that_of_its_own_gradient_pass(
    kind: str, examples: type[Any], budget: int
) -> None:
    objective = replace(
        make_objective(kind, budget=budget, attention_dropout=0.5), loss=own_loss(examples, unlike, ECHO)
    )
    objective.scorer.model.train()
    torch.manual_seed(5)
    first, second = (objective.backward(make_groups(kind, 9)) for _ in range(2))
    assert first["loss"] == second["loss"] == 0  # the same dropout in both passes of a step
    assert first["value"] != second["value"]  # and another one in the next step


def test_a_statistic_follows_its_rows_into_whatever_micro_batch_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = replace(make_objective("dpo", attention_dropout=0.5), loss=own_loss(Pairs, unlike, ECHO))
    objective.scorer.model.train()
    monkeypatch.setattr(objective_module, "micro_batches", lambda groups, budget: [[6, 2], [0], [5, 4, 1], [3]])
    assert objective.backward(make_groups("dpo", 7))["loss"] == 0


@pytest.mark.parametrize(("budget", "evaluates", "passes"), [(1, False, 8), (10_000, False, 1), (1, True, 4)])
def test_what_a_statistic_is_taken_on_is_scored_again_only_where_a_graph_would_pile_up(
    budget: int, evaluates: bool, passes: int
) -> None:
    objective = replace(make_objective("dpo", budget=budget), loss=own_loss(Pairs, unlike, ECHO))
    seen: list[int] = []
    objective.scorer.model.model.register_forward_hook(lambda *_: seen.append(1))
    (objective.evaluate if evaluates else objective.backward)(make_groups("dpo", 4))
    assert len(seen) == passes


def test_a_statistic_carries_no_gradient() -> None:
    found: list[Tensor] = []

    def noted(examples: Any, *, statistic: Tensor) -> LossOutput:
        found.append(statistic)
        return unlike(examples, statistic=statistic)

    for budget in (1, 10_000):
        replace(make_objective("dpo", budget=budget), loss=own_loss(Pairs, noted, ECHO)).backward(make_groups("dpo", 3))
    assert [statistic.requires_grad for statistic in found] == [False] * 4


def mean_column(examples: Any) -> Tensor:
    return column(examples).mean()


def test_a_running_mean_moves_with_each_step_and_stands_still_in_evaluation() -> None:
    statistic = Statistic(completions="own", compute=mean_column, momentum=0.75)
    objective = replace(make_objective("dpo", dtype=torch.float64), loss=own_loss(Pairs, unlike, statistic))
    steps = [make_groups("dpo", 5, seed=seed) for seed in (1, 2, 3)]
    means = [objective.evaluate(step)["value"] for step in steps]
    assert objective.running == {}
    expected, shift = [], None
    for step, mean in zip(steps, means, strict=True):
        shift = mean if shift is None else 0.75 * shift + 0.25 * mean
        expected.append(shift)
        values = objective.backward(step)
        assert objective.running == {"own": pytest.approx(shift, rel=1e-12)}
        assert values["value"] == pytest.approx(mean, rel=1e-12)
        apart = [abs(objective.evaluate([group])["value"] - shift) for group in step]
        assert values["loss"] == pytest.approx(sum(apart) / 5, rel=1e-10)
        assert objective.evaluate(step)["loss"] == pytest.approx(values["loss"], rel=1e-12)
    assert len(set(expected)) == 3


def test_a_running_mean_is_the_same_over_micro_batches() -> None:
    steps = [make_groups("bco", 9, seed=seed) for seed in (1, 2)]
    found = []
    for budget in (1, SMALL, 10_000):
        objective = over([("bco", RUNNING, 1.0)], dtype=torch.float64, budget=budget)
        for step in steps:
            objective.backward(step)
        found.append(objective.running["bco"])
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)
    assert abs(found[0]) > 0.1


def experts(*, budget: int = 10_000, **config: Any) -> Objective:
    """A DPO objective on a tiny mixture of experts."""
    scorer = Scorer(model=tiny_qwen3_moe(**config), packed=True, compute=torch.float32)
    return replace(make_objective("dpo", budget=budget), scorer=scorer)


def test_the_load_balancing_loss_is_added_with_the_models_own_weight() -> None:
    groups = make_groups("dpo", 5)
    plain, asked = experts(), experts(output_router_logits=True, router_aux_loss_coef=0.5)
    without, found = plain.backward(groups), asked.backward(groups)
    assert "aux_loss" not in without
    assert list(found)[:2] == ["loss", "aux_loss"]
    assert found["aux_loss"] > 1
    assert found["loss"] == pytest.approx(without["loss"] + 0.5 * found["aux_loss"], rel=1e-5)
    assert asked.evaluate(groups) == pytest.approx(found, rel=1e-5)
    routers = [
        torch.cat([w.grad.flatten() for n, w in each.scorer.model.named_parameters() if "mlp.gate" in n])  # type: ignore[union-attr]
        for each in (plain, asked)
    ]
    assert (routers[1] - routers[0]).norm() > 1e-3


def test_micro_batches_of_a_mixture_of_experts_are_averaged_by_their_tokens() -> None:
    groups = make_groups("dpo", 7)
    asked = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
    parts = [[groups[index] for index in batch] for batch in micro_batches(groups, SMALL)]
    alone = [experts(**asked).evaluate(part)["aux_loss"] for part in parts]
    tokens = [sum(group.tokens for group in part) for part in parts]
    expected = sum(a * t for a, t in zip(alone, tokens, strict=True)) / sum(tokens)
    assert len(parts) > 2
    assert experts(budget=SMALL, **asked).evaluate(groups)["aux_loss"] == pytest.approx(expected, rel=1e-5)


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
