"""What a report needs of one run directory, read once and checked: curves, configuration, ledger, samples, inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from fairlead.errors import RunError
from fairlead.identity import digest
from fairlead.runs.directory import Input, RunDirectory
from fairlead.runs.metrics import EVAL_PREFIX, METRICS, Metric, evaluated_name

MOST_SAMPLES = 24
DIGEST_SHOWN = 12
"""Digits of a digest that a page shows."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric over steps. A step written twice (a resumed run) counts once, with its last value."""

    steps: Sequence[int]
    values: Sequence[float]

    @property
    def not_finite(self) -> list[int]:
        """Steps whose value is nan or infinite."""
        return [step for step, value in zip(self.steps, self.values, strict=True) if not isfinite(value)]

    def at(self, step: int | None) -> float | None:
        """The value at `step`, if there is one."""
        return self.values[self.steps.index(step)] if step in self.steps else None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The row ledger in numbers: rows_in = ok + fixed + quarantined, and how many rows met each reason code."""

    rows_in: int
    ok: int
    fixed: int
    quarantined: int
    by_code: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One prompt with the model's completion before and after training; a run that was cut short has no `after`."""

    prompt: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class RunData:
    """One run, ready to be laid out."""

    directory: RunDirectory
    name: str
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    user_set: frozenset[str]
    inputs: Sequence[Input]
    series: Mapping[str, Series]
    ledger: Ledger | None
    samples: Sequence[Sample]

    @property
    def extra(self) -> Mapping[str, Any]:
        """What the stage added to run.json."""
        extra = self.record.get("extra")
        return extra if isinstance(extra, Mapping) else {}

    @property
    def own_metrics(self) -> Mapping[str, Metric]:
        """The metrics of the user's own, as the run described them."""
        noted = self.extra.get("own_metrics")
        described = noted if isinstance(noted, Mapping) else {}
        return {str(name): _metric(each) for name, each in described.items() if isinstance(each, Mapping)}

    @property
    def findings(self) -> list[str]:
        """What was unusual about the run or went wrong, a sentence each; why it was stopped comes first."""
        diagnosis = self.extra.get("diagnosis")
        noted = diagnosis if isinstance(diagnosis, list) else []
        found = [str(each["text"]) for each in noted if isinstance(each, Mapping) and "text" in each]
        reason = self.extra.get("stop_reason")
        return [f"training was stopped: {reason}", *found] if reason else found

    @property
    def method(self) -> str:
        """Name of the loss, or of each summand; the stage where there is no loss."""
        losses = self.config.get("loss")
        losses = losses if isinstance(losses, list) else [losses]
        names = [str(loss["name"]) for loss in losses if isinstance(loss, Mapping) and "name" in loss]
        return " + ".join(names) or str(self.record.get("stage", "run"))

    @property
    def model(self) -> str:
        """Path or id of the model as configured."""
        model = self.config.get("model")
        return str(model["path"]) if isinstance(model, Mapping) and model.get("path") else ""

    @property
    def data_digest(self) -> str:
        """sha256 of the rows read: that of the file if there is one, else of all their sha256 in order."""
        data = [item.sha256 for item in self.inputs if item.rows is not None]
        return data[0] if len(data) == 1 else digest(data) if data else ""

    @property
    def data_sets(self) -> tuple[str, ...]:
        """Data set versions that were read, as `data_set_text` names them."""
        return tuple(dict.fromkeys(data_set_text(item) for item in self.inputs if item.data_set))

    @property
    def rows(self) -> int:
        """Rows in all files read."""
        return sum(item.rows or 0 for item in self.inputs)

    @property
    def seconds(self) -> float | None:
        """Wall-clock from start to end; None while it runs, or when it was killed."""
        try:
            started, ended = (datetime.fromisoformat(str(self.record[key])) for key in ("created", "ended"))
            return (ended - started).total_seconds()
        except (KeyError, ValueError, TypeError):
            return None

    @property
    def metric_for_best(self) -> str:
        """Name, as evaluations recorded it, of the metric that chose the best checkpoint."""
        train = self.config.get("train")
        named = self.extra.get("metric_for_best") or (
            train.get("metric_for_best") if isinstance(train, Mapping) else None
        )
        default = "rewards/accuracies" if EVAL_PREFIX + "rewards/accuracies" in self.series else "loss"
        name = str(named or default)
        # Of probes and of a user's own metrics nothing is measured in training: they have no prefix.
        return name if EVAL_PREFIX + name not in self.series and name in self.series else evaluated_name(name)

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint: as the run recorded it, else the first best value of the chosen metric."""
        recorded = self.extra.get("best_step")
        if isinstance(recorded, int):
            return recorded
        series = self.series.get(self.metric_for_best)
        if series is None:
            return None
        metric = known_metrics([self]).get(self.metric_for_best.removeprefix(EVAL_PREFIX))
        sign = -1 if metric is not None and metric.direction == "down" else 1
        finite = [
            (sign * value, -step) for step, value in zip(series.steps, series.values, strict=True) if isfinite(value)
        ]
        return -max(finite)[1] if finite else None


def known_metrics(runs: Sequence[RunData]) -> Mapping[str, Metric]:
    """What is known of metrics, by their names without `eval/`: of Fairlead's own, and of those that users added."""
    return {name: metric for run in reversed(runs) for name, metric in run.own_metrics.items()} | dict(METRICS)


def data_set_text(item: Input) -> str:
    """The name of the data set version that a file is of, and the start of its hash over the set; empty without one."""
    return "" if item.data_set is None else f"{item.data_set['name']}, set hash {item.data_set['set'][:DIGEST_SHOWN]}"


def read_run(path: str | Path) -> RunData:
    """Read the run in the folder `path`. Raises RunError where there is none or where a file of it is damaged."""
    run = RunDirectory.open(path)
    try:
        inputs = run.inputs
        config, user_set = run.config, run.user_set
    except (TypeError, KeyError):
        raise RunError(
            f"{path}: inputs.json or config.json does not hold what a run writes there. "
            "The run was damaged; restore it from a copy, or run it again."
        ) from None
    return RunData(
        directory=run,
        name=run.path.resolve().name,
        record=run.record,
        config=config,
        user_set=frozenset(user_set),
        inputs=inputs,
        series=_series(run),
        ledger=_ledger(run.path / "ledger.json"),
        samples=_samples(run.artifacts / "samples.jsonl"),
    )


def _metric(described: Mapping[str, Any]) -> Metric:
    direction = described.get("direction")
    return Metric(
        meaning=str(described.get("meaning", "")),
        direction=direction if direction in ("up", "down") else "none",
        unit=str(described.get("unit", "")),
    )


def _series(run: RunDirectory) -> dict[str, Series]:
    found: dict[str, dict[int, float]] = {}
    for event in run.events():
        found.setdefault(event.name, {})[event.step] = event.value
    return {
        name: Series(steps=sorted(values), values=[values[step] for step in sorted(values)])
        for name, values in found.items()
    }


def _ledger(path: Path) -> Ledger | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        counts = {name: int(content[name]) for name in ("rows_in", "ok", "fixed", "quarantined")}
        by_code = {str(code): int(count) for code, count in content["by_code"].items()}
        return Ledger(**counts, by_code=by_code)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: is not the summary of a row ledger ({error!r}). The file was damaged.") from None


def _samples(path: Path) -> list[Sample]:
    if not path.exists():
        return []
    samples: list[Sample] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip() or len(samples) == MOST_SAMPLES:
            continue
        try:
            item = json.loads(line)
            answers = {name: _as_text(item[name]) if name in item else None for name in ("before", "after")}
            samples.append(Sample(prompt=_as_text(item["prompt"]), **answers))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RunError(
                f"{path}:{number}: this line is not a sample with prompt, before and after. The file was damaged."
            ) from None
    return samples


def _as_text(value: Any) -> str:
    """A text, or turns as `role: content` when there are several of them."""
    if isinstance(value, str):
        return value
    turns = [(str(turn["role"]), str(turn.get("content", ""))) for turn in value]
    if len(turns) == 1:
        return turns[0][1]
    return "\n".join(f"{role}: {content}" for role, content in turns)
