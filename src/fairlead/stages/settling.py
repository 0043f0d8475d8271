"""What a training run is, settled before anything is loaded: configuration, loss, metrics that decide, times."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.config import Config, Own, make_config, read_config
from fairlead.errors import ConfigError, Fault
from fairlead.losses.binding import BoundLoss, bind
from fairlead.losses.contract import Loss
from fairlead.losses.scores import Pairs, RewardPairs, Thumbs
from fairlead.losses.table import LOSSES
from fairlead.models.sources import locate
from fairlead.runs.diagnosis import Best
from fairlead.runs.metrics import EVAL_PREFIX, KL, METRICS, PROBES, evaluated_name
from fairlead.stages.own import checked
from fairlead.training.guards import StopRule
from fairlead.training.loop import Settings
from fairlead.training.measuring import Measure
from fairlead.training.objective import metric_names


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A configuration that has no fault, and what it stands for.

    `best` is None where nothing is measured that could pick a checkpoint: the last one is the result.
    """

    config: Config
    path: Path | None
    loss: BoundLoss
    losses: Mapping[str, Loss]
    measures: Mapping[str, Measure]
    best: Best | None
    rules: Sequence[StopRule]

    @property
    def learning_rate(self) -> float:
        """The peak learning rate: the user's, or the method's."""
        rates = self.loss.leading.loss.learning_rates
        return self.config.train.learning_rate or (rates.full if trains_everything(self.config) else rates.lora)

    def times(self, steps_per_epoch: int) -> Settings:
        """When things happen in a run with so many steps in an epoch."""
        config = self.config.train
        steps = _ceil(config.epochs * steps_per_epoch)
        steps = steps if config.max_steps is None else min(steps, config.max_steps)
        eval_steps = config.eval_steps or steps_per_epoch
        return Settings(
            steps=steps,
            learning_rate=self.learning_rate,
            warmup=_ceil(config.warmup_ratio * steps),
            schedule=config.schedule,
            max_grad_norm=config.max_grad_norm,
            eval_steps=eval_steps,
            save_steps=config.save_steps or eval_steps,
            metric_for_best=None if self.best is None else self.best.metric,
            best_is="up" if self.best is None else self.best.direction,
            patience=config.early_stopping_patience,
        )


def settle(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    overrides: Sequence[str] = (),
    losses: Mapping[str, Loss] | None = None,
    measures: Mapping[str, Measure] | None = None,
) -> Settled:
    """Read and check everything that can be known without a model and without rows.

    `config` is a `Config`, its sections as mappings, or the path of a YAML file; `losses` and `measures` are the
    user's own. Raises ConfigError with all the faults that can be told at once.
    """
    measures = measures or {}
    losses = checked(losses or {}, measures)
    own = Own(losses=losses, metrics=tuple(measures))
    if isinstance(config, Config):
        settled, source = config, "configuration"
    elif isinstance(config, Mapping):
        settled, source = make_config(config, overrides, own=own), "configuration"
    else:
        settled, source = read_config(config, overrides, own=own), str(config)
    path = None if isinstance(config, Config | Mapping) else Path(config)
    loss = bind([(each.name, each.parameters, each.weight) for each in settled.losses], table={**LOSSES, **losses})
    metrics = _Metrics(config=settled, loss=loss, measures=measures)
    best, rules = metrics.best(), metrics.rules()
    if metrics.faults:
        raise ConfigError(metrics.faults, source=source)
    return Settled(config=settled, path=path, loss=loss, losses=losses, measures=measures, best=best, rules=rules)


@dataclass(frozen=True, kw_only=True)
class _Metrics:
    """The metrics that a run will have, and the faults of those that were asked for."""

    config: Config
    loss: BoundLoss
    measures: Mapping[str, Measure]
    faults: list[Fault] = field(default_factory=list)

    def best(self) -> Best | None:
        """The metric that picks the best checkpoint."""
        named = self.config.train.metric_for_best
        if named is None:
            default = self.loss.leading.loss.best_metric
            return self._best(EVAL_PREFIX + default, "train.metric_for_best") if self._held_out else None
        return self._best(evaluated_name(named, self.measures), "train.metric_for_best")

    def rules(self) -> list[StopRule]:
        """The rules that stop a run."""
        rules = []
        for index, rule in enumerate(self.config.train.stop_if):
            name = evaluated_name(rule.metric, self.measures)
            self._check(name, f"train.stop_if.{index}.metric")
            rules.append(StopRule(metric=name, above=rule.above, below=rule.below, evaluations=rule.evaluations))
        return rules

    @property
    def _held_out(self) -> bool:
        return bool(self.config.data.eval or self.config.data.eval_fraction)

    def _best(self, name: str, field: str) -> Best | None:
        if not self._check(name, field):
            return None
        bare = name.removeprefix(EVAL_PREFIX)
        known = self.measures.get(name) or METRICS.get(bare)
        if known is None or known.direction == "none":
            problem = f"which way is better of {bare} is not known, so it cannot pick a checkpoint."
            remedy = "Name another metric, or give one of your own with a direction (`metrics` of fairlead.train)."
            self.faults.append(Fault(field=field, problem=problem, remedy=remedy))
            return None
        return Best(metric=name, direction=known.direction)

    def _check(self, name: str, field: str) -> bool:
        """Whether this run measures it; else a fault is noted."""
        if name in self.measures:
            return True
        rewards = self.loss.examples is RewardPairs
        if name in PROBES:
            problem = "a reward model writes no replies that could be measured" if rewards else ""
            if name == KL and not problem and trains_everything(self.config):
                problem = "full fine-tuning keeps no reference weights to measure it by"
            if problem:
                self.faults.append(Fault(field=field, problem=f"this run has no {name}: {problem}.", remedy=""))
            return not problem
        bare, known = name.removeprefix(EVAL_PREFIX), evaluated_metrics(self.loss)
        if bare in known:
            return True
        near = difflib.get_close_matches(bare, known, n=1)
        remedy = f"Did you mean {near[0]}? " if near else ""
        problem = f"this loss gives no metric {bare!r}."
        self.faults.append(Fault(field=field, problem=problem, remedy=f"{remedy}It gives {', '.join(known)}."))
        return False


def trains_everything(config: Config) -> bool:
    """Whether all weights are trained, and not an adapter."""
    model = config.model
    return config.adapter is None and locate(model.path, adapter=model.adapter).adapter is None


def evaluated_metrics(loss: BoundLoss) -> list[str]:
    """The metrics of held-out rows under `loss`, without their prefix."""
    names = metric_names(loss)
    changes = ["logps/chosen_change", "logps/rejected_change"] if loss.examples in (Pairs, Thumbs) else []
    return [*names, *(name for name in changes if name not in names)]


def _ceil(value: float) -> int:
    """The next whole number, but for what rounding added: 1.1 · 10 is 11."""
    return math.ceil(round(value, 9))
