"""What a run is, before anything is loaded: losses, metrics that decide, and times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import ConfigError
from fairlead.losses.contract import Loss
from fairlead.losses.scores import LossOutput, Pairs, Term
from fairlead.runs.diagnosis import Best
from fairlead.stages.settling import Settled, evaluated_metrics, settle
from fairlead.training.guards import StopRule
from fairlead.training.measuring import Measure


def settled(
    loss: str = "dpo", *, adapter: bool = True, held_out: bool = True, own: Any = None, **train: Any
) -> Settled:
    sections: dict[str, Any] = {
        "model": {"path": "org/model"},
        "data": {"train": "a.jsonl", **({"eval": "b.jsonl"} if held_out else {})},
        "loss": {"name": loss},
        "adapter": {"r": 4} if adapter else None,
        "train": train,
    }
    return settle(sections, **(own or {}))


def faults(*arguments: Any, **options: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        settled(*arguments, **options)
    return {fault.field: f"{fault.problem} {fault.remedy}".strip() for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("loss", "named", "metric", "direction"),
    [
        ("dpo", None, "eval/rewards/accuracies", "up"),
        ("sft", None, "eval/loss", "down"),
        ("kto", None, "eval/loss", "down"),
        ("dpo", "eval/rewards/margins", "eval/rewards/margins", "up"),
        ("dpo", "loss", "eval/loss", "down"),
        ("dpo", "probe/repetition", "probe/repetition", "down"),
        ("dpo", "probe/ended", "probe/ended", "up"),
        ("dpo", "probe/kl", "probe/kl", "down"),
        ("simpo", "logps/chosen_change", "eval/logps/chosen_change", "up"),
    ],
)
def test_the_metric_that_picks_the_best(loss: str, named: str | None, metric: str, direction: Any) -> None:
    assert settled(loss, metric_for_best=named).best == Best(metric=metric, direction=direction)


def test_where_nothing_is_held_out_nothing_picks_but_what_is_named() -> None:
    assert settled(held_out=False).best is None
    assert settled(held_out=False).times(5).metric_for_best is None
    assert settled(held_out=False, metric_for_best="probe/ended").best == Best(metric="probe/ended", direction="up")


def test_rules_by_the_names_that_evaluations_record() -> None:
    given = [{"metric": "loss", "above": 2}, {"metric": "probe/length", "below": 3, "evaluations": 2}]
    assert settled(stop_if=given).rules == [
        StopRule(metric="eval/loss", above=2, below=None, evaluations=1),
        StopRule(metric="probe/length", above=None, below=3, evaluations=2),
    ]


def test_metrics_that_a_run_cannot_have_are_told_together() -> None:
    rules = [
        {"metric": "rewards/margins", "below": 0},
        {"metric": "probe/kl", "above": 1},
        {"metric": "learning_rate", "above": 1},
        {"metric": "nll_loss", "above": 3},
    ]
    found = faults("sft", adapter=False, metric_for_best="rewards/accuracies", stop_if=rules)
    assert found == {
        "train.metric_for_best": "this loss gives no metric 'rewards/accuracies'. It gives loss, nll_loss.",
        "train.stop_if.0.metric": "this loss gives no metric 'rewards/margins'. It gives loss, nll_loss.",
        "train.stop_if.1.metric": "this run has no probe/kl: full fine-tuning keeps no reference weights to measure it "
        "by.",
        "train.stop_if.2.metric": "this loss gives no metric 'learning_rate'. It gives loss, nll_loss.",
    }


def test_a_reward_model_has_no_probes() -> None:
    found = faults("reward", stop_if=[{"metric": "probe/length", "above": 1}])
    assert "a reward model writes no replies" in found["train.stop_if.0.metric"]


@pytest.mark.parametrize(("loss", "has"), [("dpo", True), ("simpo", True), ("kto", True), ("sft", False)])
def test_changes_of_log_probabilities_belong_to_answers_that_were_judged(loss: str, has: bool) -> None:
    names = evaluated_metrics(settled(loss).loss)
    assert ("logps/chosen_change" in names) == has
    assert len(names) == len(set(names))


def squared(pairs: Pairs, *, beta: float = 0.1) -> LossOutput:
    return LossOutput((Term((1 - beta * pairs.delta) ** 2),), {"mine/gap": pairs.delta.detach()})


def test_a_loss_of_the_users_own_needs_a_metric_that_it_gives() -> None:
    loss = Loss(function=squared, examples=Pairs, needs_reference=True)
    found = faults("squared", own={"losses": {"squared": loss}})
    assert found["train.metric_for_best"].startswith(
        "this loss gives no metric 'rewards/accuracies'. It gives loss, mine/gap"
    )
    by_loss = settled("squared", metric_for_best="loss", own={"losses": {"squared": loss}})
    assert by_loss.best == Best(metric="eval/loss", direction="down")
    found = faults("squared", metric_for_best="mine/gap", own={"losses": {"squared": loss}})
    assert "which way is better of mine/gap is not known" in found["train.metric_for_best"]
    rule = [{"metric": "mine/gap", "below": -3}]
    assert settled("squared", metric_for_best="loss", stop_if=rule, own={"losses": {"squared": loss}}).rules


def test_a_measure_of_the_users_own_picks_the_best_if_it_has_a_direction() -> None:
    def own(direction: Any) -> dict[str, Any]:
        return {"measures": {"polite": Measure(function=lambda evaluation: 1.0, direction=direction)}}

    best = settled(metric_for_best="polite", held_out=False, own=own("up")).best
    assert best == Best(metric="polite", direction="up")
    found = faults(metric_for_best="polite", own=own("none"))
    assert "which way is better of polite is not known" in found["train.metric_for_best"]


@pytest.mark.parametrize(("loss", "adapter", "rate"), [("dpo", True, 1e-5), ("dpo", False, 1e-6), ("sft", True, 2e-4)])
def test_the_rate_is_the_methods_unless_the_user_says(tmp_path: Path, loss: str, adapter: bool, rate: float) -> None:
    assert settled(loss, adapter=adapter).times(7).learning_rate == rate
    assert settled(loss, adapter=adapter, learning_rate=3e-3).times(7).learning_rate == 3e-3


def test_times() -> None:
    times = settled(epochs=1.4, warmup_ratio=0.25).times(5)
    assert (times.steps, times.warmup, times.eval_steps, times.save_steps) == (7, 2, 5, 5)
    times = settled(epochs=9, max_steps=4, eval_steps=3).times(5)
    assert (times.steps, times.eval_steps, times.save_steps) == (4, 3, 3)
