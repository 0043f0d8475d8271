"""What is pointed out before training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from fairlead.engine.groups import PromptGroup
from fairlead.engine.scoring import Scorer
from fairlead.losses.binding import bind
from fairlead.losses.scores import Thumbs
from fairlead.losses.table import LOSSES
from fairlead.stages.advice import advise, advise_tuning_first, chosen_nats
from tests.tiny import tiny_llama
from tests.training.small import make_groups


def advice(
    loss: str,
    groups: list[PromptGroup] | None = None,
    *,
    learning_rate: float = 1e-6,
    epochs: float = 1,
    is_full: bool = True,
    **parameters: Any,
) -> list[str]:
    bound = bind([(loss, parameters, 1.0)])
    made = make_groups(loss, 6) if groups is None else groups
    found = advise(bound, made, learning_rate=learning_rate, epochs=epochs, is_full=is_full)
    return [finding.text for finding in found]


def thumbs(desirable: int, undesirable: int) -> list[PromptGroup]:
    groups = make_groups("kto", desirable + undesirable)
    return [replace(group, label=index < desirable) for index, group in enumerate(groups)]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_defaults_need_no_advice(loss: str) -> None:
    groups = thumbs(5, 4) if LOSSES[loss].examples is Thumbs else None
    for is_full in (True, False):
        rates = LOSSES[loss].learning_rates
        rate = rates.full if is_full else rates.lora
        assert advice(loss, groups, learning_rate=rate, is_full=is_full) == []


@pytest.mark.parametrize(("rate", "unusual"), [(4e-7, True), (5e-7, False), (5e-6, False), (1e-4, True)])
def test_a_learning_rate_out_of_the_usual_range(rate: float, unusual: bool) -> None:
    expected = f"train.learning_rate is {rate:g}; for full fine-tuning with dpo 5e-07 to 5e-06 is usual"
    assert advice("dpo", learning_rate=rate) == [expected] * unusual
    assert advice("sft", learning_rate=rate) == []


@pytest.mark.parametrize(("rate", "unusual"), [(4e-6, True), (5e-6, False), (5e-5, False), (1e-3, True)])
def test_the_usual_range_of_an_adapter_is_as_much_higher_as_its_default(rate: float, unusual: bool) -> None:
    expected = f"train.learning_rate is {rate:g}; for an adapter with dpo 5e-06 to 5e-05 is usual"
    assert advice("dpo", learning_rate=rate, is_full=False) == [expected] * unusual


def test_many_epochs_of_preferences() -> None:
    assert advice("dpo", epochs=3) == advice("sft", epochs=9) == []
    assert advice("dpo", epochs=5)[0].startswith("train.epochs is 5; beyond 3 passes over preferences")


def untuned(loss: str, *, has_template: bool = True, nats: float = 1.0, **parameters: Any) -> dict[str, str]:
    found = advise_tuning_first(bind([(loss, parameters, 1.0)]), has_template=has_template, nats=nats)
    return {finding.code: finding.text for finding in found}


def test_a_model_that_finds_the_chosen_answers_unlikely() -> None:
    text = untuned("dpo", nats=2.31)["unlikely_answers"]
    assert "2.31 nats per token (a perplexity of 10.1; up to 2 nats are usual" in text
    assert "`loss.name: sft`" in text
    assert "loss.nll_weight" in text
    assert untuned("dpo", nats=2.0) == untuned("dpo", nats=math.nan) == {}
    assert list(untuned("simpo", nats=2.01)) == ["unlikely_answers"]
    assert "desirable answers" in untuned("kto", nats=9)["unlikely_answers"]


def test_a_tokenizer_without_a_template_of_its_own() -> None:
    assert "no chat template of its own" in untuned("dpo", has_template=False)["no_template"]
    assert list(untuned("kto", has_template=False, nats=5)) == ["no_template", "unlikely_answers"]


@pytest.mark.parametrize(
    ("loss", "parameters"), [("sft", {}), ("reward", {}), ("orpo", {}), ("dpo", {"nll_weight": 1.0})]
)
def test_what_imitates_needs_no_tuning_before(loss: str, parameters: dict[str, Any]) -> None:
    assert untuned(loss, has_template=False, nats=5, **parameters) == {}


@pytest.mark.parametrize(("loss", "budget"), [("dpo", 10_000), ("dpo", 30), ("kto", 30)])
def test_the_nats_of_the_answers_that_win(loss: str, budget: int) -> None:
    model, groups = tiny_llama().to(torch.float64).train(), make_groups(loss, 7)
    scorer = Scorer(model=model, packed=True, compute=torch.float64)
    total, count = 0.0, 0
    for group in groups:
        if group.label is not False:
            ids = torch.tensor([[*group.prompt, *group.completions[0].ids]])
            logps = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])
            total -= logps[len(group.prompt) - 1 :].sum().item()
            count += len(group.completions[0].ids)
    assert chosen_nats(scorer, groups, budget) == pytest.approx(total / count, rel=1e-9)
    assert model.training


def test_the_nats_of_no_answers() -> None:
    scorer = Scorer(model=tiny_llama(), packed=True, compute=torch.float32)
    assert math.isnan(chosen_nats(scorer, thumbs(0, 3), 100))


@pytest.mark.parametrize(
    ("counts", "weights", "expected"),
    [
        ((4, 4), {}, None),
        ((8, 6), {}, None),  # 4/3
        ((9, 6), {}, "undesirable_weight between 1.12 and 1.5"),
        ((9, 6), {"undesirable_weight": 1.3}, None),
        ((4, 8), {}, "desirable_weight between 2 and 2.67"),
        ((4, 8), {"desirable_weight": 2.0}, None),
        ((4, 8), {"undesirable_weight": 0.5}, None),
        ((6, 6), {"desirable_weight": 3.0}, "undesirable_weight between 2.25 and 3"),
    ],
)
def test_ktos_balance(counts: tuple[int, int], weights: dict[str, float], expected: str | None) -> None:
    found = advice("kto", thumbs(*counts), **weights)
    if expected is None:
        assert found == []
    else:
        said = f"{counts[0]} rows are desirable and {counts[1]} are not; loss.{expected} would balance them"
        assert found == [said]
