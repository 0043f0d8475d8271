"""What is wrong with a run, told from its metrics; and nothing where nothing is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from fairlead.runs.diagnosis import CHOSEN_MAY_LOSE, Best, Finding, diagnose


def steps(values: Sequence[float], *, first: int = 1, every: int = 1) -> dict[int, float]:
    return {first + every * index: value for index, value in enumerate(values)}


def codes(recorded: Mapping[str, Mapping[int, float]], best: Best | None = None) -> list[str]:
    return [finding.code for finding in diagnose(recorded, best=best)]


def only(recorded: Mapping[str, Mapping[int, float]], best: Best | None = None) -> Finding:
    (finding,) = diagnose(recorded, best=best)
    return finding


HEALTHY = {
    "loss": steps([0.69, 0.6, 0.5, 0.55, 0.4, 0.3, 0.35, 0.2, 0.25, 0.1, 0.2, 0.1]),
    "grad_norm": steps([3.0] * 12),
    "rewards/accuracies": steps([0.5, 0.5, 0.75, 1.0, 0.75, 1.0, 1.0, 1.0, 0.75, 1.0, 1.0, 1.0]),
    "rewards/margins": steps([0.1 * step for step in range(12)]),
    "logps/chosen_change": steps([-0.02 * step for step in range(12)]),
    "eval/rewards/accuracies": steps([0.5, 0.6, 0.75], first=0, every=6),
    "eval/loss": steps([0.69, 0.5, 0.45], first=0, every=6),
    "eval/logps/chosen_change": steps([0.0, -0.1, -0.3], first=0, every=6),
}
ACCURACY = Best(metric="eval/rewards/accuracies", direction="up")


def test_a_healthy_run_has_nothing_to_say() -> None:
    assert diagnose(HEALTHY, best=ACCURACY) == diagnose({}, best=ACCURACY) == []


@pytest.mark.parametrize(("value", "words"), [(0.0, "swapped"), (0.5, "learning rate is too low"), (1.0, "length")])
def test_an_accuracy_that_never_moves(value: float, words: str) -> None:
    stuck = HEALTHY | {"rewards/accuracies": steps([0.5] + [value] * 10)}
    assert only(stuck).code == "accuracy_stuck"
    assert f"rewards/accuracies was {value:g} at every step: " in only(stuck).text
    assert words in only(stuck).text
    assert codes(HEALTHY | {"rewards/accuracies": steps([0.5] + [value] * 9)}) == []  # too few to tell
    assert codes(HEALTHY | {"rewards/accuracies": steps([0.5, 0.25] + [value] * 20)}) == []


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_held_out_accuracy_that_never_moves(value: float) -> None:
    stuck = HEALTHY | {"eval/rewards/accuracies": steps([0.5] + [value] * 3, first=0, every=5)}
    assert codes(stuck, ACCURACY) == ["accuracy_stuck"]
    assert "at every evaluation" in only(stuck).text
    assert codes(HEALTHY | {"eval/rewards/accuracies": steps([0.5, value, value], first=0)}) == []


def test_margins_that_are_nothing_but_rounding() -> None:
    still = HEALTHY | {"rewards/margins": steps([1e-7, -2e-6] * 6)}
    assert only(still).code == "accuracy_stuck"
    assert "rewards/margins stayed at 0 (within 1e-05): policy and reference stay one model" in only(still).text
    assert codes(HEALTHY | {"rewards/margins": steps([0.1] + [1e-7] * 20)}) == []
    assert codes(HEALTHY | {"rewards/margins": steps([1e-7] * 9)}) == []


def test_another_constant_accuracy_is_not_stuck() -> None:
    assert codes(HEALTHY | {"rewards/accuracies": steps([0.75] * 20)}) == []


def test_a_loss_of_zero_hides_the_gradient_that_follows_from_it() -> None:
    zero = {"loss": steps([0.7, 0.3, 0.0, 0.0, 0.0]), "grad_norm": steps([1.0, 1.0, 0.0, 0.0, 0.0])}
    assert codes(HEALTHY | zero) == ["loss_zero"]
    assert codes(HEALTHY | {"loss": steps([0.7, 0.0, 0.0, 1e-9])}) == []


def test_a_gradient_of_zero() -> None:
    assert codes(HEALTHY | {"grad_norm": steps([0.0, 0.0, 0.0])}) == ["gradient_zero"]
    assert codes(HEALTHY | {"grad_norm": steps([0.0, 0.0])}) == []


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_not_finite_is_named_with_its_step(odd: float) -> None:
    found = only(HEALTHY | {"eval/loss": steps([0.7, odd, odd], first=0, every=5)})
    assert (found.code, "eval/loss was not a finite number 2 times, first at step 5" in found.text) == (
        "not_finite",
        True,
    )
    once = only(HEALTHY | {"loss": steps([0.7, 0.6, odd, 0.5])})
    assert "loss was not a finite number once, at step 3" in once.text


def test_a_metric_that_no_row_of_a_step_has_is_no_fault() -> None:
    assert codes(HEALTHY | {"rewards/rejected": steps([math.nan] * 12)}) == []


def test_chosen_answers_that_fall_on_held_out_rows() -> None:
    fallen = HEALTHY | {
        "eval/logps/chosen_change": steps([0.0, -0.2, -0.75], first=0, every=6),
        "eval/logps/rejected_change": steps([0.0, -0.4, -1.5], first=0, every=6),
    }
    text = only(fallen).text
    assert "lost 0.75 nats per token (the rejected ones 1.50) at step 12, on held-out rows" in text
    assert f"{1 - math.exp(-0.75):.0%} less likely" in text
    assert "loss.nll_weight" in text
    assert "dpop" in text
    assert "train.learning_rate" in text


def test_the_band_ends_at_half_a_nat() -> None:
    def fallen(by: float) -> list[str]:
        return codes(HEALTHY | {"eval/logps/chosen_change": {0: 0.0, 6: -by}})

    assert fallen(CHOSEN_MAY_LOSE) == []
    assert fallen(CHOSEN_MAY_LOSE + 1e-6) == ["chosen_falls"]
    assert fallen(math.nan) == []
    assert CHOSEN_MAY_LOSE == 0.5


def test_without_held_out_rows_the_last_steps_tell() -> None:
    recorded = {"logps/chosen_change": steps([0.0] + [-0.6] * 10), "logps/rejected_change": steps([0.0] + [-0.2] * 10)}
    assert "lost 0.60 nats per token (the rejected ones 0.20) over the last 10 steps" in only(recorded).text
    assert "nll_weight" not in only(recorded).text  # no pairs, no anchor
    assert codes({"logps/chosen_change": steps([-0.6] * 9)}) == []
    assert codes({"logps/chosen_change": steps([-9.0] * 5 + [-0.1] * 10)}) == []


def test_a_run_that_never_got_better() -> None:
    worse = HEALTHY | {"eval/rewards/accuracies": steps([0.625, 0.5, 0.6], first=0, every=6)}
    found = only(worse, ACCURACY)
    assert found.code == "never_better"
    assert "was 0.625 before training and never got better (0.6 at best, at step 12)" in found.text
    assert codes(worse) == []  # amid a run it is too early to say so
    down = HEALTHY | {"eval/loss": steps([0.7, 0.7, 0.9], first=0, every=6)}
    assert codes(down, Best(metric="eval/loss", direction="down")) == ["never_better"]
    assert codes(HEALTHY, Best(metric="eval/loss", direction="down")) == []
