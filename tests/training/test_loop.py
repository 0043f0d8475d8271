"""The loop: when it evaluates, saves and stops, what it records, and what it refuses."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fairlead.engine.groups import PromptGroup
from fairlead.errors import RunError, Stopped
from fairlead.training.checkpoint import Checkpoints, LoopState, load
from fairlead.training.loop import Fit, Settings, Watcher
from fairlead.training.optimizer import learning_rate_factor, make_optimizer, trainable
from fairlead.training.sources import OfflineRows
from tests.training.small import broken, make_groups, make_objective

METRIC = "eval/rewards/accuracies"


class Scripted:
    """An objective whose gradient is the weight itself, and whose held-out metric is read from a script."""

    def __init__(self, script: Sequence[float] = (), *, gradient: float = 1.0) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.model.weight, 5.0)
        self.scorer = SimpleNamespace(model=self.model)
        self.script, self.gradient = list(script), gradient
        self.trained: list[list[str]] = []
        self.running: dict[str, float] = {}
        self.reference_parameters: dict[str, nn.Parameter] = {}
        self.told: list[tuple[int, float]] = []

    def backward(self, groups: Sequence[PromptGroup]) -> dict[str, float]:
        assert self.model.weight.grad is None, "gradients of the last step are gone"
        self.trained.append([group.row_id for group in groups])
        self.model.weight.grad = self.gradient * self.model.weight.detach().clone()
        self.running["count"] = self.running.get("count", 0.0) + 0.1
        return {"loss": self.model.weight.item()}

    def after_step(self, step: int) -> None:
        self.told.append((step, self.model.weight.item()))

    def evaluate(self, step: int) -> dict[str, float]:
        """As `Fit.evaluate`: before the first step there is nothing to read off the script."""
        return {"eval/loss": 1.0, METRIC: self.script.pop(0) if step else 0.45}


@dataclass
class Events:
    """A recorder in memory."""

    kept: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        self.kept.append((step, dict(values)))

    def size(self) -> int:
        return len(self.kept)

    def of(self, name: str) -> dict[int, float]:
        """The values of one metric by step."""
        return {step: values[name] for step, values in self.kept if name in values}


SETTINGS = Settings(
    steps=6,
    learning_rate=0.1,
    warmup=0,
    schedule="constant",
    max_grad_norm=1.0,
    eval_steps=2,
    save_steps=100,
    metric_for_best=METRIC,
    best_is="up",
    patience=None,
)


def make_fit(
    folder: Path,
    objective: Any,
    *,
    held_out: bool = True,
    stop_after: int | None = None,
    watchers: Sequence[Watcher] = (),
    **settings: Any,
) -> Fit:
    """A loop over eight rows, two to a step. `stop_after` asks it to stop with SIGTERM once so many steps are done."""
    parameters = trainable(objective.scorer.model)
    events = Events()

    def asked() -> int | None:
        return 15 if stop_after is not None and len(events.of("loss")) >= stop_after else None

    return Fit(
        objective=objective,
        source=OfflineRows(make_groups("dpo", 8), 2, 0),
        evaluate=objective.evaluate if held_out else lambda step: {},
        parameters=parameters,
        optimizer=make_optimizer(parameters, learning_rate=0.1, betas=(0.9, 0.99), epsilon=1e-8, weight_decay=0.0),
        settings=replace(SETTINGS, **settings),
        checkpoints=Checkpoints(folder, 2),
        recorder=events,
        asked_to_stop=asked,
        watchers=watchers,
    )


def events_of(fit: Fit) -> Events:
    assert isinstance(fit.recorder, Events)
    return fit.recorder


def test_it_evaluates_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.5] * 4), steps=7)
    assert fit.run(LoopState()).step == 7
    assert list(events_of(fit).of(METRIC)) == [0, 2, 4, 6, 7]


def test_the_end_is_evaluated_once(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.5] * 3), steps=6)
    fit.run(LoopState())
    assert list(events_of(fit).of("eval/loss")) == [0, 2, 4, 6]


def test_without_held_out_rows_nothing_is_evaluated_and_the_last_is_saved(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted(), held_out=False)
    state = fit.run(LoopState())
    assert (state.best_step, events_of(fit).of("eval/loss")) == (None, {})
    assert os.listdir(tmp_path) == ["step-000006"]


def test_the_best_and_the_last_checkpoint_are_there(tmp_path: Path) -> None:
    state = make_fit(tmp_path, Scripted([0.5, 0.8, 0.7, 0.6, 0.5]), steps=10).run(LoopState())
    assert (state.best_step, state.best_value, state.evaluations_without_improvement) == (4, 0.8, 3)
    assert sorted(os.listdir(tmp_path)) == ["step-000004", "step-000010"]


def test_it_saves_every_so_many_steps(tmp_path: Path) -> None:
    make_fit(tmp_path, Scripted(), held_out=False, save_steps=2, steps=5).run(LoopState())
    assert sorted(os.listdir(tmp_path)) == ["step-000004", "step-000005"]


def test_patience_counts_evaluations_without_improvement(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.5, 0.6, 0.6, 0.55, 0.9]), steps=20, patience=2)
    state = fit.run(LoopState())
    assert (state.step, state.best_step, state.best_value) == (8, 4, 0.6)


def test_an_improvement_restores_patience(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.6]), steps=20, patience=2)
    assert fit.run(LoopState()).step == 14


def test_lower_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    state = make_fit(tmp_path, Scripted([0.5, 0.3, 0.4]), best_is="down").run(LoopState())
    assert (state.best_step, state.best_value) == (4, 0.3)


@pytest.mark.parametrize("best_is", ["up", "down"])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_best(tmp_path: Path, best_is: str, odd: float) -> None:
    state = make_fit(tmp_path, Scripted([odd, 0.5, odd]), best_is=best_is).run(LoopState())
    assert (state.best_step, state.best_value) == (4, 0.5)
    state = make_fit(tmp_path / "none", Scripted([odd] * 3), best_is=best_is).run(LoopState())
    assert (state.best_step, state.best_value, state.evaluations_without_improvement) == (None, None, 3)


def test_the_objective_is_told_of_each_step_once_the_weights_have_taken_it(tmp_path: Path) -> None:
    objective = Scripted()
    fit = make_fit(tmp_path, objective, held_out=False, steps=3)
    fit.run(LoopState())
    before = events_of(fit).of("loss")
    assert [step for step, _ in objective.told] == [1, 2, 3]
    assert [weight for _, weight in objective.told] == [before[2], before[3], objective.model.weight.item()]


def test_running_means_and_weights_of_the_reference_are_part_of_a_checkpoint(tmp_path: Path) -> None:
    first = Scripted()
    first.reference_parameters = {"reference.weight": nn.Parameter(torch.tensor([3.0]), requires_grad=False)}
    fit = make_fit(tmp_path, first, held_out=False, stop_after=3)
    with pytest.raises(Stopped):
        fit.run(LoopState())
    second = Scripted()
    second.reference_parameters = {"reference.weight": nn.Parameter(torch.zeros(1), requires_grad=False)}
    resumed = make_fit(tmp_path, second, held_out=False)
    kept = {**resumed.parameters, **second.reference_parameters}
    state = load(fit.checkpoints.path(3), kept, resumed.optimizer)
    assert second.reference_parameters["reference.weight"].item() == 3
    assert state.statistics == first.running
    state = resumed.run(state)
    whole = Scripted()
    make_fit(tmp_path / "whole", whole, held_out=False).run(LoopState())
    assert state.statistics == second.running == whole.running
    assert torch.equal(second.model.weight, whole.model.weight)


def test_rows_come_from_the_source_step_by_step(tmp_path: Path) -> None:
    objective = Scripted()
    fit = make_fit(tmp_path, objective, held_out=False)
    fit.run(LoopState())
    assert objective.trained == [[group.row_id for group in fit.source.at(step)] for step in range(6)]


def test_every_step_is_recorded_with_its_learning_rate_norm_and_epoch(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted(gradient=3.0), held_out=False, schedule="cosine", warmup=2)
    fit.run(LoopState())
    factors = [learning_rate_factor(step, steps=6, warmup=2, schedule="cosine") for step in range(6)]
    events = events_of(fit)
    assert list(events.of("learning_rate").values()) == [0.1 * factor for factor in factors]
    assert events.of("grad_norm")[1] == pytest.approx(15)  # as it was before clipping
    assert events.of("epoch") == {step: step / 4 for step in range(1, 7)}
    assert all(value > 0 for name in ("tokens/s", "examples/s") for value in events.of(name).values())


def test_asked_to_stop_it_saves_and_says_so(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.5]), stop_after=3)
    with pytest.raises(Stopped, match=r"saved after step 3.*--resume") as caught:
        fit.run(LoopState())
    assert caught.value.exit_code == 143
    assert fit.checkpoints.newest().path == tmp_path / "step-000003"


def test_asked_to_stop_at_the_last_step_it_ends(tmp_path: Path) -> None:
    assert make_fit(tmp_path, Scripted([0.5] * 3), stop_after=6).run(LoopState()).step == 6


def test_it_goes_on_where_a_checkpoint_stands(tmp_path: Path) -> None:
    whole = Scripted([0.5, 0.6, 0.4])
    expected = make_fit(tmp_path / "whole", whole).run(LoopState())
    first = make_fit(tmp_path / "parts", Scripted([0.5, 0.6, 0.4]), stop_after=3)
    with pytest.raises(Stopped):
        first.run(LoopState())
    objective = Scripted([0.6, 0.4])
    second = make_fit(tmp_path / "parts", objective)
    state = load(first.checkpoints.path(3), second.parameters, second.optimizer)
    assert state.events_size == 5  # three steps and two evaluations
    assert replace(second.run(state), events_size=0) == replace(expected, events_size=0)
    assert objective.trained == whole.trained[3:]
    assert torch.equal(objective.model.weight, whole.model.weight)


def test_nothing_is_left_to_do_after_the_last_step(tmp_path: Path) -> None:
    objective = Scripted()
    done = LoopState(step=6)
    assert make_fit(tmp_path, objective).run(done) == done
    assert objective.trained == []


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def assert_stops_untouched(fit: Fit, words: str) -> None:
    before = weights(fit.objective.scorer.model)
    with pytest.raises(RunError, match=words):
        fit.run(LoopState())
    after = weights(fit.objective.scorer.model)
    assert all(torch.equal(a, b) and torch.isfinite(b).all() for a, b in zip(before, after, strict=True))
    assert not fit.checkpoints.folder.exists()


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    fit = make_fit(tmp_path / "c", broken("r3"), held_out=False)
    at = next(step for step in range(4) if "r3" in [group.row_id for group in fit.source.at(step)])
    # The steps before are good ones: begin with the one that holds the row.
    fit = replace(fit, source=replace(fit.source, groups=list(fit.source.at(at))))
    assert_stops_untouched(fit, "the loss of row r3 is not finite.*the weights are as they were")


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    objective = make_objective("dpo")
    weight = objective.scorer.model.get_parameter("model.layers.0.self_attn.q_proj.weight")
    weight.register_hook(lambda gradient: gradient * math.inf)
    fit = make_fit(tmp_path / "c", objective, held_out=False)
    rows = " and ".join(group.row_id for group in fit.source.at(0))
    assert_stops_untouched(fit, f"the gradient of step 1 is not finite.*The step holds rows {rows}")


@pytest.mark.parametrize("gradient", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_later_leaves_the_last_checkpoint(tmp_path: Path, gradient: float) -> None:
    objective = Scripted()
    fit = make_fit(tmp_path, objective, held_out=False, save_steps=1)
    stopped = replace(fit, settings=replace(fit.settings, steps=2)).run(LoopState())
    before = weights(objective.model)
    objective.gradient = gradient
    with pytest.raises(RunError, match="step 3 is not finite"):
        fit.run(stopped)
    assert torch.equal(objective.model.weight, before[0])
    assert fit.checkpoints.newest().path == tmp_path / "step-000002"


def test_before_the_first_step_there_is_no_best(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.1, 0.2, 0.15]))  # 0.45 before the first step
    state = fit.run(LoopState())
    assert (state.best_step, state.best_value) == (4, 0.2)
    assert events_of(fit).of(METRIC) == {0: 0.45, 2: 0.1, 4: 0.2, 6: 0.15}


def test_without_a_metric_for_best_the_last_is_the_result(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.5, 0.6, 0.4]), metric_for_best=None, patience=1)
    state = fit.run(LoopState())
    assert (state.step, state.best_step, state.stopped) == (6, None, "")
    assert list(events_of(fit).of(METRIC)) == [0, 2, 4, 6]


def test_lost_patience_says_so(tmp_path: Path) -> None:
    state = make_fit(tmp_path, Scripted([0.5, 0.4, 0.3]), steps=20, patience=2).run(LoopState())
    assert state.stopped == "eval/rewards/accuracies has not improved at 2 evaluations in a row"


def stops_at(step: int, reason: str, seen: list[tuple[int, set[str]]]) -> Watcher:
    def watch(now: int, values: Mapping[str, float]) -> str | None:
        seen.append((now, set(values)))
        return reason if now == step else None

    return watch


def test_watchers_see_every_step_and_every_evaluation(tmp_path: Path) -> None:
    seen: list[tuple[int, set[str]]] = []
    make_fit(tmp_path, Scripted([0.5] * 2), steps=3, watchers=[stops_at(-1, "", seen)]).run(LoopState())
    assert [step for step, _ in seen] == [0, 1, 2, 2, 3, 3]
    assert [METRIC in names for _, names in seen] == [True, False, False, True, False, True]


def test_a_watcher_that_stops_at_a_step_ends_the_run_with_an_evaluation_and_a_checkpoint(tmp_path: Path) -> None:
    seen: list[tuple[int, set[str]]] = []
    watchers = [stops_at(3, "enough", seen), stops_at(3, "too late", seen)]
    fit = make_fit(tmp_path, Scripted([0.6, 0.5]), watchers=watchers)
    state = fit.run(LoopState())
    assert (state.step, state.stopped, state.best_step) == (3, "enough", 2)
    assert list(events_of(fit).of(METRIC)) == [0, 2, 3]
    assert sorted(os.listdir(tmp_path)) == ["step-000002", "step-000003"]
    assert len([step for step, _ in seen if step == 3]) == 4  # both see the step and the evaluation after it


def test_a_watcher_that_stops_at_an_evaluation_keeps_the_best(tmp_path: Path) -> None:
    def watch(step: int, values: Mapping[str, float]) -> str | None:
        return f"fell to {values[METRIC]}" if values.get(METRIC, 1) < 0.4 else None

    fit = make_fit(tmp_path, Scripted([0.6, 0.3]), watchers=[watch], steps=9)
    state = fit.run(LoopState())
    assert (state.step, state.stopped, state.best_step) == (4, "fell to 0.3", 2)
    assert sorted(os.listdir(tmp_path)) == ["step-000002", "step-000004"]


def test_a_run_that_was_stopped_for_a_reason_is_over_when_it_is_resumed(tmp_path: Path) -> None:
    first = make_fit(tmp_path, Scripted([0.6, 0.5]), watchers=[stops_at(3, "enough", [])])
    first.run(LoopState())
    objective = Scripted()
    second = make_fit(tmp_path, objective)
    state = load(first.checkpoints.path(3), second.parameters, second.optimizer)
    assert second.run(state) == state
    assert (state.stopped, objective.trained) == ("enough", [])


def test_a_reason_to_stop_counts_more_than_a_signal(tmp_path: Path) -> None:
    fit = make_fit(tmp_path, Scripted([0.5]), stop_after=3, watchers=[stops_at(3, "enough", [])])
    fit.objective.script.extend([0.4])
    assert fit.run(LoopState()).stopped == "enough"


def test_training_is_done_in_training_mode(tmp_path: Path) -> None:
    objective = Scripted()
    objective.model.eval()
    make_fit(tmp_path, objective, held_out=False).run(LoopState())
    assert objective.model.training
