"""What is wrong with the metrics that a configuration names, to pick the best checkpoint by or to stop the run.

Whether the loss gives a metric is seen later, when losses are at hand (`fairlead.stages.settling`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from fairlead.errors import Fault
from fairlead.runs.metrics import EVAL_PREFIX, METRICS, PROBE_PREFIX

HELD_OUT_REMEDY = "Set data.eval or data.eval_fraction."


def metric_faults(given: Mapping[str, Any], *, own: Collection[str], any_name: bool) -> list[Fault]:
    """Every fault of the metrics that `given`, the sections of a configuration, names.

    `own` are metrics of the user's. With `any_name` a held-out metric may have any name: losses of the user's own are
    in play, which may give any.
    """

    def get(section: str, key: str, default: Any = None) -> Any:
        found = given.get(section)
        return found.get(key, default) if isinstance(found, Mapping) else default

    def check(name: str, field: str) -> Iterator[Fault]:
        if name in own:
            return
        if name.startswith(PROBE_PREFIX):
            if name not in METRICS:
                yield _unknown(name, field, own)
            elif get("train", "sample_prompts", 4) == 0:
                problem = f"{name} is measured on sampled prompts, and train.sample_prompts is 0."
                yield Fault(field=field, problem=problem, remedy="Sample some.")
            return
        if name.removeprefix(EVAL_PREFIX) not in METRICS and not any_name:
            yield _unknown(name, field, own)
        elif not (get("data", "eval") or get("data", "eval_fraction")):
            yield Fault(field=field, problem=f"{name} needs held-out rows.", remedy=HELD_OUT_REMEDY)

    faults: list[Fault] = []
    best = get("train", "metric_for_best")
    if isinstance(best, str) and best:
        faults += check(best, "train.metric_for_best")
        known = METRICS.get(best.removeprefix(EVAL_PREFIX))
        if known is not None and best not in own and known.direction == "none":
            problem = f"neither way is better of {best} by itself, so it cannot pick a checkpoint."
            remedy = "Name another metric, or keep it in bounds with train.stop_if."
            faults.append(Fault(field="train.metric_for_best", problem=problem, remedy=remedy))
    rules = get("train", "stop_if")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, Mapping):
            faults += _rule_faults(rule, f"train.stop_if.{index}", check)
    return faults


def _rule_faults(rule: Mapping[str, Any], field: str, check: Callable[[str, str], Iterator[Fault]]) -> Iterator[Fault]:
    bounds = [key for key in ("above", "below") if rule.get(key) is not None]
    if len(bounds) != 1:
        problem = "has two bounds." if bounds else "has no bound."
        yield Fault(field=field, problem=problem, remedy="Write either above or below, with a number.")
    if isinstance(rule.get("metric"), str) and rule["metric"]:
        yield from check(rule["metric"], f"{field}.metric")


def _unknown(name: str, field: str, own: Collection[str]) -> Fault:
    near = difflib.get_close_matches(name.removeprefix(EVAL_PREFIX), [*METRICS, *own], n=1)
    remedy = f"Did you mean {near[0]}?" if near else "The metrics are in docs/metrics.md."
    return Fault(field=field, problem=f"there is no metric {name!r}.", remedy=remedy)
