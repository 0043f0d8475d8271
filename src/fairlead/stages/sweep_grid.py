"""The grid of a sweep: every combination of the values in `--set`, each a whole configuration that has no fault."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from fairlead.config import Config
from fairlead.errors import ConfigError, Fault
from fairlead.identity import digest
from fairlead.losses.scores import RewardPairs
from fairlead.stages.settling import Settled, settle

NAME_LENGTH = 60
LAID_OUT = ("train.output", "train.run")
"""Where a point's run lies is the sweep's to say."""
BASE, PROMPTING = "base", "prompting"


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """One training run of the grid: its name, what `--set` gave it, and its settled configuration."""

    name: str
    settings: Mapping[str, Any]
    settled: Settled

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.settled.config

    def at(self, folder: Path) -> Settled:
        """The configuration whose run lies in `folder`."""
        train = self.config.train.model_copy(update={"output": str(folder.parent), "run": folder.name})
        return replace(self.settled, config=self.config.model_copy(update={"train": train}))


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """One `--set`: dotted fields that vary together, one as a rule, and what they are given, as it was written.

    Each of `values` has one entry for each of `fields`.
    """

    fields: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


def make_grid(config: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> list[GridPoint]:
    """All points, the last `--set` running fastest. Raises one ConfigError with the faults of all of them.

    overrides: such as `loss.beta=0.1,0.3`: after the sign a list of values in YAML's flow syntax, without its brackets.
    A value that holds a comma stands in brackets, braces or quotes of its own. Several fields before the sign vary
    together: `loss.name,data.train=[dpo, pairs.jsonl],[kto, thumbs.jsonl]` makes two points.
    """
    source = "configuration" if isinstance(config, Mapping) else str(config)
    axes, faults = _axes(overrides)
    if faults:
        raise ConfigError(faults, source=source)
    chosen = list(product(*(axis.values for axis in axes)))
    names = _names(axes, chosen)
    points: list[GridPoint] = []
    found: dict[Fault, list[str]] = {}
    for values, name in zip(chosen, names, strict=True):
        joint = zip(axes, values, strict=True)
        given = [f"{field}={one}" for axis, value in joint for field, one in zip(axis.fields, value, strict=True)]
        try:
            settled = settle(config, overrides=given)
        except ConfigError as error:
            for fault in error.faults:
                found.setdefault(fault, []).append(name)
            continue
        dumped = settled.config.model_dump(mode="json")
        settings = {field: _at(dumped, field) for axis in axes for field in axis.fields}
        point = GridPoint(
            name=name or "-".join(each.name for each in settled.config.losses), settings=settings, settled=settled
        )
        points.append(point)
    faults = [fault if len(where) == len(chosen) else _of(fault, where) for fault, where in found.items()]
    faults += _faults_between(points)
    if faults:
        raise ConfigError(faults, source=source)
    return points


def changes_of(point: GridPoint, config: str | Path | Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What a point's settings change: the field, its value in the configuration (None: not there) and in the point."""
    try:
        before = settle(config).config.model_dump(mode="json")
    except ConfigError:  # what is missing there is given by --set
        before = {}
    found = {field: (_at(before, field), value) for field, value in point.settings.items()}
    return {field: values for field, values in found.items() if values[0] != values[1]}


def _axes(overrides: Sequence[str]) -> tuple[list[_Axis], list[Fault]]:
    axes: list[_Axis] = []
    faults: list[Fault] = []
    for override in overrides:
        name, equals, text = override.partition("=")
        fields = tuple(part.strip() for part in name.split(","))
        values = _split(text)
        joint = tuple(_split(each[1:-1]) if each[:1] == "[" else () for each in values)
        if not equals or not all(part for field in fields for part in field.split(".")):
            problem, remedy = "is not of the form path=value,value.", "For instance --set loss.beta=0.1,0.3."
        elif not values:
            problem, remedy = "holds no list of values in YAML's flow syntax.", "Put odd values in quotes."
        elif laid_out := sorted(set(fields) & set(LAID_OUT)):
            problem, remedy = f"{laid_out[0]} is where runs lie, which the sweep says itself.", "Give --out."
        elif len(fields) > 1 and any(len(each) != len(fields) for each in joint):
            problem = f"gives {len(fields)} fields together, and not every value is a list of so many."
            remedy = "For instance --set loss.name,data.train=[dpo, pairs.jsonl],[kto, thumbs.jsonl]."
        else:
            axes.append(_Axis(fields=fields, values=joint if len(fields) > 1 else tuple((each,) for each in values)))
            continue
        faults.append(Fault(field=f"--set {override}", problem=problem, remedy=remedy))
    for field, count in Counter(field for axis in axes for field in axis.fields).items():
        if count > 1:
            remedy = "Write all of its values into one."
            faults.append(Fault(field=f"--set {field}", problem=f"is given {count} times.", remedy=remedy))
    return axes, faults


def _split(text: str) -> tuple[str, ...]:
    """The values of a flow sequence without its brackets, each as it was written; none where it is no such list."""
    try:
        node = yaml.compose(f"[{text}]", Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return ()
    if not isinstance(node, yaml.SequenceNode):
        return ()
    return tuple(text[each.start_mark.index - 1 : each.end_mark.index - 1].strip() for each in node.value)


def _names(axes: Sequence[_Axis], chosen: Sequence[Sequence[tuple[str, ...]]]) -> list[str]:
    """Names that are good for folders, of the values that vary; of all of them where none does.

    Of fields that vary together, the first gives the name.
    """
    varied = [place for place, axis in enumerate(axes) if len(axis.values) > 1] or list(range(len(axes)))
    last = Counter(axes[place].fields[0].rpartition(".")[2] for place in varied)
    labels = {place: axes[place].fields[0].rpartition(".")[2] for place in varied}
    labels = {place: label if last[label] == 1 else axes[place].fields[0] for place, label in labels.items()}
    names = [
        ",".join(f"{labels[place]}={_clean(values[place][0])}" for place in varied)[:NAME_LENGTH] for values in chosen
    ]
    count = Counter(names)
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):
        seen[name] += 1
        names[place] = f"{name}-{seen[name]}" if count[name] > 1 else name
    return names


def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_-]+", " ", text).strip(" .").replace(" ", "-") or "empty"


def _at(values: Any, field: str) -> Any:
    """The value of a dotted field; None where it is not there."""
    for part in field.split("."):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def _of(fault: Fault, names: Sequence[str]) -> Fault:
    return replace(fault, field=f"{', '.join(names)}: {fault.field}")


def _faults_between(points: Sequence[GridPoint]) -> list[Fault]:
    """Points that are one and the same, that start from different models, or that are no language models."""
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for point in points:
        same = seen.setdefault(digest(point.config.model_dump(mode="json")), point.name)
        if same != point.name:
            faults.append(
                Fault(field=point.name, problem=f"is the same run as {same}.", remedy="Give each value once.")
            )
        if point.settled.loss.examples is RewardPairs:
            problem = "trains a reward model, which writes no answers to be measured."
            faults.append(Fault(field=f"{point.name}: loss.name", problem=problem, remedy="Sweep a policy's loss."))
    starts = dict.fromkeys((point.config.model.path, point.config.model.adapter) for point in points)
    if len(starts) > 1:
        told = ", ".join(path if adapter is None else f"{path} + {adapter}" for path, adapter in starts)
        problem = f"points start from different models ({told}), and all are held against the one they start from."
        faults.append(Fault(field="model", problem=problem, remedy="Sweep each by itself."))
    return faults
