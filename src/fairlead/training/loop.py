"""The one training loop. It owns time: steps, learning rate, clipping, evaluation, early stopping, checkpoints.

What a step computes is the objective's business, what an evaluation measures that of `evaluate`; the loop knows no
method and no metric by name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from torch import nn
from torch.optim import AdamW

from fairlead.errors import RunError, Stopped
from fairlead.progress import SILENT, Progress
from fairlead.training.checkpoint import Checkpoints, LoopState
from fairlead.training.objective import Objective, name_rows
from fairlead.training.optimizer import Schedule, clip_gradients, learning_rate_factor
from fairlead.training.sources import OfflineRows

Watcher = Callable[[int, Mapping[str, float]], str | None]
"""Sees what was recorded for a step, or at an evaluation after it; gives the reason to stop training, if there is one.

It is called again for the steps that a resumed run repeats.
"""


class Recorder(Protocol):
    """Where metrics go."""

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of one step."""
        ...

    def size(self) -> int:
        """A mark such that everything recorded until now can be told from what comes later."""
        ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """When things happen. Steps are counted from 1 here: `eval_steps` 10 evaluates after steps 10, 20, …

    `metric_for_best` is the name under which evaluations give it; None: the last checkpoint is the result.
    """

    steps: int
    learning_rate: float
    warmup: int
    schedule: Schedule
    max_grad_norm: float
    eval_steps: int
    save_steps: int
    metric_for_best: str | None
    best_is: Literal["up", "down"]
    patience: int | None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A training run in memory, ready to go: `run` takes it from `state` to its end.

    `evaluate` measures the model as it stands and must leave it, and the random streams, as they are.
    """

    objective: Objective
    source: OfflineRows
    evaluate: Callable[[int], Mapping[str, float]]
    parameters: Mapping[str, nn.Parameter]
    optimizer: AdamW
    settings: Settings
    checkpoints: Checkpoints
    recorder: Recorder
    asked_to_stop: Callable[[], int | None]
    watchers: Sequence[Watcher] = ()
    progress: Progress = field(default=SILENT)

    def run(self, state: LoopState) -> LoopState:
        """Train until the last step, or until a watcher or lost patience stops it; returns the final state.

        Raises RunError when a loss or a gradient is not finite (before the step), Stopped when asked to stop.
        """
        self.objective.scorer.model.train()
        self.objective.running.update(state.statistics)
        steps = self.settings.steps
        if state.step == 0:
            state = self._evaluate(state)
        with self.progress.task("train", total=steps, unit="steps", done=state.step) as task:
            while state.step < steps and not state.stopped:
                values = self._step(state.step)
                state = self._record(replace(state, step=state.step + 1), values)
                task.advance(1, **{name: values[name] for name in SHOWN if name in values})
                state = self._after_step(state)
        return state

    def _step(self, step: int) -> dict[str, float]:
        started = time.perf_counter()
        groups = self.source.at(step)
        factor = learning_rate_factor(
            step, steps=self.settings.steps, warmup=self.settings.warmup, schedule=self.settings.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        values = self.objective.backward(groups)
        norm = clip_gradients(self.parameters, self.settings.max_grad_norm)
        if not math.isfinite(norm):
            raise RunError(
                f"the gradient of step {step + 1} is not finite, so training stopped before it; the weights are as "
                f"they were. The step holds {name_rows([group.row_id for group in groups])}. Lower "
                "`train.learning_rate`, or train in fp32."
            )
        self.optimizer.step()
        self.objective.after_step(step + 1)
        seconds = time.perf_counter() - started
        return {
            **values,
            "grad_norm": norm,
            "learning_rate": self.settings.learning_rate * factor,
            "epoch": (step + 1) / self.source.steps_per_epoch,
            "tokens/s": sum(group.tokens for group in groups) / seconds,
            "examples/s": len(groups) / seconds,
        }

    def _record(self, state: LoopState, values: Mapping[str, float]) -> LoopState:
        """Keep the values and show them to every watcher; the first reason to stop is the one that counts."""
        self.recorder.append(state.step, values)
        reasons = [watch(state.step, values) for watch in self.watchers]
        return replace(state, stopped=state.stopped or next(filter(None, reasons), ""))

    def _after_step(self, state: LoopState) -> LoopState:
        """Evaluate, save and stop where due."""
        settings = self.settings
        last = state.step == settings.steps or bool(state.stopped)
        if last or state.step % settings.eval_steps == 0:
            state = self._evaluate(state)
        last = last or bool(state.stopped)
        signal = self.asked_to_stop()
        if last or signal is not None or state.step % settings.save_steps == 0 or state.best_step == state.step:
            state = replace(state, events_size=self.recorder.size(), statistics=dict(self.objective.running))
            self.checkpoints.save(state, {**self.parameters, **self.objective.reference_parameters}, self.optimizer)
        if signal is not None and not last:
            raise Stopped(signal, state.step)
        return state

    def _evaluate(self, state: LoopState) -> LoopState:
        """Measure, and judge the step by it; before the first step there is no checkpoint that could be the best."""
        values = self.evaluate(state.step)
        if not values:
            return state
        state = self._record(state, values)
        metric = self.settings.metric_for_best
        if metric is None or state.step == 0:
            return state
        value = values[metric]
        better = state.best_value is None or (
            value > state.best_value if self.settings.best_is == "up" else value < state.best_value
        )
        if better and math.isfinite(value):
            return replace(state, best_step=state.step, best_value=value, evaluations_without_improvement=0)
        without, patience = state.evaluations_without_improvement + 1, self.settings.patience
        stopped = state.stopped
        if patience is not None and without >= patience:
            stopped = stopped or f"{metric} has not improved at {without} evaluations in a row"
        return replace(state, evaluations_without_improvement=without, stopped=stopped)


SHOWN = ("loss", "rewards/accuracies")
"""Metrics beside the progress bar."""
