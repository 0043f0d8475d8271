"""What an evaluation measures, and that it disturbs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from fairlead.data.records import Message
from fairlead.errors import RunError
from fairlead.losses.table import LOSSES
from fairlead.runs.metrics import METRICS
from fairlead.training.measuring import Evaluation, Evaluator, Measure, Reply, probe_values, reply_kl
from fairlead.training.objective import Objective
from tests.training.small import make_groups, make_objective


def reply(text: str = "well", ids: Sequence[int] = (5, 6, 7, 8, 9), *, ended: bool = True) -> Reply:
    prompt = (Message(role="user", content="why?"),)
    return Reply(prompt=prompt, prompt_ids=(11, 12, 13), ids=tuple(ids), text=text, ended=ended)


def evaluator(objective: Objective, **changes: Any) -> Evaluator:
    given: dict[str, Any] = {
        "objective": objective,
        "held_out": make_groups("dpo", 5),
        "answer": lambda step: [],
        "reference": None,
        "measures": {},
        "recorded": {},
    }
    return Evaluator(**{**given, **changes})


def test_the_measures_of_replies() -> None:
    replies = [
        reply("I'm sorry, but I can't.\n- one\n- two", [3, 4, 3, 4, 3, 4, 3, 2]),
        reply("# Yes", [5] * 7, ended=False),
        reply("no", [9, 2]),  # one token before the end: too short for an n-gram
        reply("well", [5, 6, 7, 8, 2]),
    ]
    values = probe_values(replies)
    assert values == {
        "probe/length": pytest.approx((8 + 7 + 2 + 5) / 4),
        "probe/repetition": pytest.approx(((1 - 2 / 4) + (1 - 1 / 4) + 0) / 3),
        "probe/ended": 0.75,
        "probe/bullets": 0.25,
        "probe/markdown": 0.25,
        "probe/apologies": 0.25,
        "probe/refusals": 0.25,
    }
    assert values.keys() <= METRICS.keys()


def test_replies_too_short_to_repeat_anything_give_no_number_and_not_0() -> None:
    assert math.isnan(probe_values([reply("no", [9, 2])])["probe/repetition"])


@pytest.mark.parametrize("budget", [10_000, 20])
def test_the_divergence_is_taken_over_the_tokens_of_the_replies(budget: int) -> None:
    objective = make_objective("dpo", dtype=torch.float64)
    replies = [reply(ids=ids) for ids in ([5, 6, 7, 2], [8, 9], [30, 31, 32, 33, 34, 35, 36])]
    total = 0.0
    for each in replies:
        ids = torch.tensor([[*each.prompt_ids, *each.ids]])
        start = len(each.prompt_ids) - 1
        for sign, scorer in ((1, objective.scorer), (-1, objective.reference.scorer)):  # type: ignore[union-attr]
            logps = torch.log_softmax(scorer.model(ids).logits[0, :-1], -1)  # type: ignore[operator]
            total += sign * logps.gather(1, ids[0, 1:, None])[start:].sum().item()
    objective.scorer.model.train()
    assert objective.reference is not None
    found = reply_kl(replies, objective.scorer, objective.reference, budget)
    assert found == pytest.approx(total / 13, rel=1e-9)
    assert objective.scorer.model.training


def test_held_out_values_are_those_of_the_objective() -> None:
    objective, groups = make_objective("dpo"), make_groups("dpo", 5)
    values = evaluator(objective)(3)
    expected = {f"eval/{name}": value for name, value in objective.evaluate(groups).items()}
    changes = {"eval/logps/chosen_change", "eval/logps/rejected_change"}
    assert {name: value for name, value in values.items() if name not in changes} == {
        name: value for name, value in expected.items() if name not in changes
    }


@pytest.mark.parametrize("loss", ["dpo", "simpo", "kto"])
def test_changes_on_held_out_rows_are_since_before_the_first_step(loss: str) -> None:
    groups = make_groups(loss, 6)
    objective = make_objective(loss, dtype=torch.float64)
    before = evaluator(objective, held_out=groups)(0)
    assert before["eval/logps/chosen_change"] == before["eval/logps/rejected_change"] == 0
    recorded = {name: {0: value} for name, value in before.items()}
    other = make_objective(loss, dtype=torch.float64, seed=5)
    after = evaluator(other, held_out=groups, recorded=recorded)(4)
    for side in ("chosen", "rejected"):
        if loss == "kto":
            chosen = [g.completions[0] for g in groups if g.label is (side == "chosen")]
        else:
            chosen = [g.completions[side == "rejected"] for g in groups]
        moved = (after[f"eval/logps/{side}"] - before[f"eval/logps/{side}"]) * len(chosen)
        assert abs(moved) > 0.1
        tokens = sum(sum(completion.trained) for completion in chosen)
        assert after[f"eval/logps/{side}_change"] == pytest.approx(moved / tokens, rel=1e-9)


def test_what_has_no_answers_that_win_has_no_change() -> None:
    values = evaluator(make_objective("sft"), held_out=make_groups("sft", 3))(0)
    assert set(values) == {"eval/loss", "eval/nll_loss"}


def test_measures_of_the_users_own_see_the_values_so_far_and_the_replies() -> None:
    seen: list[Evaluation] = []

    def polite(evaluation: Evaluation) -> float:
        seen.append(evaluation)
        return sum("thank" in each.text for each in evaluation.replies) / len(evaluation.replies)

    replies = [reply("thank you"), reply("no")]
    measures = {
        "polite": Measure(function=polite),
        "twice": Measure(function=lambda evaluation: 2 * evaluation.values["polite"]),
        "as_tensor": Measure(function=lambda evaluation: torch.tensor(1.5)),  # type: ignore[arg-type, return-value]
    }
    values = evaluator(make_objective("dpo"), answer=lambda step: replies, measures=measures)(7)
    assert (values["polite"], values["twice"], values["as_tensor"]) == (0.5, 1.0, 1.5)
    assert (seen[0].step, seen[0].replies) == (7, replies)
    assert seen[0].values["eval/loss"] == values["eval/loss"]


def test_a_measure_that_gives_no_number_is_named() -> None:
    bad = {"polite": Measure(function=lambda evaluation: "very")}  # type: ignore[arg-type, return-value]
    with pytest.raises(RunError, match=r"the metric polite gave 'very', which is no number. Return a float"):
        evaluator(make_objective("dpo"), measures=bad)(1)


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "reward"])
def test_an_evaluation_leaves_the_model_its_mode_and_the_random_streams_as_they_are(loss: str) -> None:
    def draws(evaluation: Evaluation) -> float:
        return float(torch.rand(3).sum())

    objective = make_objective(loss)
    objective.scorer.model.train()
    weights = [parameter.clone() for parameter in objective.scorer.model.parameters()]
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    evaluator(
        objective,
        held_out=make_groups(loss, 4),
        answer=lambda step: [reply()],
        reference=make_objective("dpo").reference,
        measures={"draws": Measure(function=draws)},
    )(1)
    assert torch.equal(torch.rand(4), expected)
    assert objective.scorer.model.training
    for before, now in zip(weights, objective.scorer.model.parameters(), strict=True):
        assert torch.equal(before, now)
        assert now.grad is None


def test_nothing_to_measure_gives_nothing() -> None:
    assert evaluator(make_objective("dpo"), held_out=[])(0) == {}
