"""What is pointed out before training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairlead.engine.groups import PromptGroup
from fairlead.losses.binding import bind
from fairlead.losses.table import LOSSES
from fairlead.stages.advice import advise
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
    return advise(bound, made, learning_rate=learning_rate, epochs=epochs, is_full=is_full)


def thumbs(desirable: int, undesirable: int) -> list[PromptGroup]:
    groups = make_groups("kto", desirable + undesirable)
    return [replace(group, label=index < desirable) for index, group in enumerate(groups)]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_defaults_need_no_advice(loss: str) -> None:
    groups = thumbs(5, 4) if loss == "kto" else None
    for is_full in (True, False):
        rates = LOSSES[loss].learning_rates
        rate = rates.full if is_full else rates.lora
        assert advice(loss, groups, learning_rate=rate, is_full=is_full) == []


@pytest.mark.parametrize(("rate", "unusual"), [(4e-7, True), (5e-7, False), (5e-6, False), (1e-4, True)])
def test_a_learning_rate_out_of_the_usual_range(rate: float, unusual: bool) -> None:
    expected = f"train.learning_rate is {rate:g}; for full fine-tuning with dpo 5e-07 to 5e-06 is usual"
    assert advice("dpo", learning_rate=rate) == [expected] * unusual
    assert advice("dpo", learning_rate=rate, is_full=False) == []
    assert advice("sft", learning_rate=rate) == []


def test_many_epochs_of_preferences() -> None:
    assert advice("dpo", epochs=3) == advice("sft", epochs=9) == []
    assert advice("dpo", epochs=5)[0].startswith("train.epochs is 5; beyond 3 passes over preferences")


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


def test_thumbs_that_all_point_one_way() -> None:
    assert advice("kto", thumbs(3, 0)) == ["every row is desirable: there is nothing to tell apart"]
    assert advice("kto", thumbs(0, 3)) == ["every row is undesirable: there is nothing to tell apart"]
