"""Losses and metrics of the user's own: their names, and whether a loss gives what the engine takes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fairlead.errors import ConfigError, Fault
from fairlead.losses.contract import Loss
from fairlead.losses.scores import Examples, LossOutput, Pairs, RewardPairs
from fairlead.losses.table import LOSSES
from fairlead.runs.metrics import EVAL_PREFIX, METRICS, PROBE_PREFIX
from fairlead.training.measuring import Measure


def checked(losses: Mapping[str, Loss], measures: Mapping[str, Measure]) -> dict[str, Loss]:
    """The losses, each of which says so at once when it does not give one value per example.

    Raises ConfigError where a name is taken already or cannot be used.
    """
    faults = []
    for name in losses:
        if name in LOSSES or not name.isidentifier():
            problem = "is a loss of Fairlead's own." if name in LOSSES else "is no word of letters, digits and _."
            faults.append(Fault(field=f"losses.{name}", problem=problem, remedy="Choose another name."))
    for name in measures:
        if name in METRICS or name.startswith((EVAL_PREFIX, PROBE_PREFIX)):
            problem = "is a name of Fairlead's own metrics."
            faults.append(Fault(field=f"metrics.{name}", problem=problem, remedy="Choose another name."))
    if faults:
        raise ConfigError(faults, source="arguments")
    return {name: replace(loss, function=_checked(name, loss)) for name, loss in losses.items()}


def _checked(name: str, loss: Loss) -> Any:
    @functools.wraps(loss.function)
    def function(examples: Examples, **parameters: Any) -> LossOutput:
        output = loss.function(examples, **parameters)
        fault = _fault(output, examples)
        if fault:
            raise ConfigError([Fault(field=f"losses.{name}", problem=fault)], source="arguments")
        return output

    return function


def _fault(output: object, examples: Examples) -> str:
    if not isinstance(output, LossOutput):
        return f"its function gives {type(output).__name__}. Return LossOutput((Term(values),), metrics)."
    count = _count(examples)
    for term in output.terms:
        if tuple(term.value.shape) != (count,):
            return (
                f"its function gives a term of shape {tuple(term.value.shape)} for {count} examples. Return one value "
                "per example, not their mean: the engine divides by the examples of the whole step."
            )
    odd = [key for key, value in output.metrics.items() if value.requires_grad or value.ndim != 1]
    if odd:
        return f"its metric {odd[0]} must be detached and hold one value per example."
    return ""


def _count(examples: Examples) -> int:
    if isinstance(examples, RewardPairs):
        return len(examples.chosen)
    return len((examples.chosen if isinstance(examples, Pairs) else examples.completion).count)
