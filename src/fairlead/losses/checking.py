"""Whether losses that a user asks for exist, take the parameters given, and go together."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.errors import Fault
from fairlead.losses.contract import Loss, Range
from fairlead.losses.scores import Demonstrations, Examples, Pairs, RewardPairs
from fairlead.losses.table import LOSSES, choice, defaults

NamedLoss = tuple[str, Mapping[str, Any], float]
"""A loss asked for: its name, the parameters that differ from its defaults, its weight in the sum."""


def check_losses(losses: Sequence[NamedLoss], *, table: Mapping[str, Loss] = LOSSES) -> list[Fault]:
    """Everything wrong with a sum of losses: names, parameters, weights, and losses that do not go together."""
    if not losses:
        return [Fault(field="loss", problem="no loss is named.", remedy=f"Name one of {', '.join(table)}.")]
    faults: list[Fault] = []
    for index, (name, given, weight) in enumerate(losses):
        field = "loss" if len(losses) == 1 else f"loss.{index}"
        faults += check_parameters(name, given, field=field, table=table)
        if not 0 < weight < float("inf"):
            faults.append(
                Fault(field=f"{field}.weight", problem=f"{weight} is no weight.", remedy="Write one above 0.")
            )
    kinds = {table[name].examples: name for name, _, _ in losses if name in table}
    if len(kinds) > 1 and kinds.keys() != {Pairs, Demonstrations}:
        faults.append(_do_not_go_together(kinds))
    return faults


def _do_not_go_together(kinds: Mapping[type[Examples], str]) -> Fault:
    names = " and ".join(kinds.values())
    if RewardPairs in kinds:
        problem = f"{names} train different models: {kinds[RewardPairs]} trains one that gives a score."
        return Fault(field="loss", problem=problem, remedy=f"Train with {kinds[RewardPairs]} alone.")
    remedy = "Sum losses over one kind of rows; sft may join losses over pairs."
    return Fault(field="loss", problem=f"{names} take different kinds of rows.", remedy=remedy)


def check_parameters(
    name: str, given: Mapping[str, Any], *, field: str = "loss", table: Mapping[str, Loss] = LOSSES
) -> list[Fault]:
    """Everything wrong with a loss asked for by name with these parameters; `field` is its place in the config."""
    if name not in table:
        remedy = _nearest(name, table) or f"The losses are {', '.join(table)}."
        return [Fault(field=f"{field}.name", problem=f"there is no loss named {name!r}.", remedy=remedy)]
    checked = (_check_parameter(name, key, value, table) for key, value in given.items())
    faults = [fault for fault in checked if fault is not None]
    faults += _without_use(defaults(table[name]), given) if not faults else []
    return [Fault(field=f"{field}.{f.field}", problem=f.problem, remedy=f.remedy) for f in faults]


def _without_use(known: Mapping[str, Any], given: Mapping[str, Any]) -> Iterable[Fault]:
    """A parameter that was changed, but that only another word of a second one would bring into force."""
    settled = {**known, **given}
    key, needs, word = "divergence_alpha", "f_divergence", "alpha"
    if key in given and given[key] != known[key] and settled[needs] != word:
        problem = f"it belongs to the alpha divergence, and {needs} is {settled[needs]}."
        yield Fault(field=key, problem=problem, remedy=f"Remove it, or write {needs}: {word}.")


def _check_parameter(name: str, key: str, value: Any, table: Mapping[str, Loss]) -> Fault | None:
    known = defaults(table[name])
    if key not in known:
        return _unknown(name, key, table)
    allowed = choice(table[name], key)
    if isinstance(allowed, Range):
        return _check_number(key, value, allowed, known[key])
    if isinstance(allowed, tuple):
        if isinstance(value, str) and value in allowed:
            return None
        return Fault(field=key, problem=f"{value!r} is none of its words.", remedy=f"Write {' or '.join(allowed)}.")
    if isinstance(value, bool):
        return None
    return Fault(field=key, problem=f"{value!r} is neither true nor false.", remedy="Write true or false.")


def _check_number(key: str, value: Any, choice: Range, default: object) -> Fault | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        remedy = f"Write a number {choice}, such as {default}."
        if isinstance(value, str) and _reads_as_number(value):
            remedy = f"YAML reads {value} as text; write {float(value):f}".rstrip("0").rstrip(".") + "."
        return Fault(field=key, problem=f"{value!r} is not a number.", remedy=remedy)
    if not math.isfinite(value) or value not in choice:
        remedy = f"Write a number {choice}; the default is {default}."
        return Fault(field=key, problem=f"{value} is out of range.", remedy=remedy)
    return None


def _unknown(name: str, key: str, table: Mapping[str, Loss]) -> Fault:
    known = defaults(table[name])
    others = [other for other, loss in table.items() if key in defaults(loss)]
    remedy = f"It is a parameter of {', '.join(others)}." if others else _nearest(key, known)
    takes = f"{name} takes {', '.join(known)}." if known else f"{name} takes no parameters."
    return Fault(field=key, problem=f"{name} has no parameter {key!r}.", remedy=f"{remedy} {takes}".strip())


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {matches[0]}?" if matches else ""


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
