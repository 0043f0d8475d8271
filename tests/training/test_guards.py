"""Rules that stop a run, the diagnosis amid one, and callbacks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from fairlead.errors import RunError
from fairlead.training.guards import FIRST_LOOK, StopRule, watch_by, watch_health, watch_rules


def rule(*, above: float | None = None, below: float | None = None, evaluations: int = 1) -> StopRule:
    return StopRule(metric="probe/repetition", above=above, below=below, evaluations=evaluations)


@pytest.mark.parametrize(
    ("made", "values", "stops"),
    [
        (rule(above=0.3), {0: 0.1, 5: 0.2, 10: 0.31}, True),
        (rule(above=0.3), {0: 0.1, 5: 0.9, 10: 0.3}, False),  # only the last counts, and the bound is allowed
        (rule(below=0.3), {0: 0.1, 5: 0.29}, True),
        (rule(below=0.3), {0: 0.1, 5: 0.3}, False),
        (rule(above=0.3), {0: 0.9}, False),  # before the first step
        (rule(above=0.3), {0: 0.9, 5: math.nan}, False),
        (rule(below=0.3), {0: 0.9, 5: math.nan}, False),
        (rule(above=0.3), {5: math.inf}, True),
        (rule(above=0.3, evaluations=2), {0: 0.9, 5: 0.9}, False),
        (rule(above=0.3, evaluations=2), {5: 0.9, 10: 0.2, 15: 0.9}, False),
        (rule(above=0.3, evaluations=2), {5: 0.2, 10: 0.4, 15: 0.5}, True),
        (rule(above=0.3, evaluations=3), {5: 0.4, 10: math.nan, 15: 0.5}, False),
        (rule(above=0.0), {5: 0.1}, True),
    ],
)
def test_when_a_rule_stops_a_run(made: StopRule, values: dict[int, float], stops: bool) -> None:
    assert (made.reason(values) is not None) == stops


def test_what_a_rule_says() -> None:
    assert rule(above=0.3).reason({40: 0.41234}) == (
        "probe/repetition was 0.4123 at step 40, above 0.3 (train.stop_if)"
    )
    assert rule(below=0.5, evaluations=2).reason({5: 0.2, 9: 0.1}) == (
        "probe/repetition was 0.1 at step 9, below 0.5, at 2 evaluations in a row (train.stop_if)"
    )


def test_rules_are_asked_where_their_metric_was_measured() -> None:
    recorded = {"probe/repetition": {5: 0.9}, "loss": {6: 1.0}}
    watch = watch_rules([rule(below=0.1), rule(above=0.3)], recorded)
    assert watch(6, {"loss": 1.0}) is None
    assert "above 0.3" in (watch(5, {"probe/repetition": 0.9}) or "")
    assert watch_rules([], recorded)(5, {"probe/repetition": 0.9}) is None


def test_what_is_wrong_is_said_once() -> None:
    recorded: dict[str, dict[int, float]] = {"grad_norm": {1: 0.0, 2: 0.0, 3: 0.0}, "eval/loss": {0: 0.7, 3: 0.7}}
    said: list[str] = []
    watch = watch_health(recorded, said.append)
    assert watch(3, {"loss": 0.6}) is None
    assert said == []  # neither an evaluation nor the first look
    assert watch(3, {"eval/loss": 0.7}) is None
    assert watch(6, {"probe/length": 3.0}) is None
    assert [line.startswith("note: the gradient was exactly 0") for line in said] == [True]
    recorded["eval/loss"][6] = math.nan
    watch(6, {"eval/loss": math.nan})
    assert len(said) == 2
    assert "eval/loss was not a finite number" in said[1]


def test_a_run_without_evaluations_is_looked_at_once() -> None:
    said: list[str] = []
    watch = watch_health({"grad_norm": dict.fromkeys(range(1, 30), 0.0)}, said.append)
    for step in range(1, 30):
        watch(step, {"grad_norm": 0.0})
        assert len(said) == (step >= FIRST_LOOK)


def test_before_the_first_step_nothing_is_wrong_yet() -> None:
    said: list[str] = []
    watch_health({"eval/loss": {0: math.nan}}, said.append)(0, {"eval/loss": math.nan})
    assert said == []


def test_a_callback_gets_a_copy_and_leaves_the_random_streams_alone() -> None:
    seen: list[Any] = []

    def callback(step: int, values: Mapping[str, float]) -> None:
        torch.rand(7)
        assert isinstance(values, dict)
        values["loss"] = 0.0
        seen.append(step)

    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    values = {"loss": 0.5}
    assert watch_by(callback)(4, values) is None
    assert (seen, values) == ([4], {"loss": 0.5})
    assert torch.equal(torch.rand(3), expected)


def test_what_a_callback_may_give() -> None:
    assert watch_by(lambda step, values: "enough")(1, {}) == "enough"
    assert watch_by(lambda step, values: None)(1, {}) is None
    assert watch_by(lambda step, values: "")(1, {}) is None

    def careless(step: int, values: Mapping[str, float]) -> Any:
        return True

    with pytest.raises(
        RunError, match=r"the callback careless gave True at step 3. Return None to go on, or the reason"
    ):
        watch_by(careless)(3, {})
