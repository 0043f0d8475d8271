"""What was decided: of the sweep, the gates and the registry, read from the runs that hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairlead.errors import RunError
from fairlead.reports.figures import short_number
from fairlead.runs.atomic import write_json
from fairlead.stages import registry

CHANNEL = "production"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of the gate: what it asks, whether that was met, and by what."""

    rule: str
    passed: bool
    reason: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None

    @property
    def figures(self) -> str:
        """The value with its interval, and a comma; nothing for a rule without one."""
        if self.value is None:
            return ""
        ends = (
            "" if self.low is None or self.high is None else f" ({short_number(self.low)} to {short_number(self.high)})"
        )
        return f"{short_number(self.value)}{ends}, "


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A gate's decision about one adapter."""

    passed: bool
    rules: tuple[Rule, ...]

    @property
    def failed(self) -> list[Rule]:
        return [rule for rule in self.rules if not rule.passed]

    def record(self) -> dict[str, Any]:
        """As the summary holds it."""
        return {"passed": self.passed, "rules": [asdict(rule) for rule in self.rules]}


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the registry said to promoting one model: done, or why not."""

    name: str
    promoted: bool
    said: str


def read_decision(gate: Path) -> Decided:
    """The decision in the run of a gate."""
    content = json.loads((gate / "decision.json").read_bytes())
    rules = [Rule(**{key: rule[key] for key in Rule.__dataclass_fields__}) for rule in content["rules"]]
    return Decided(passed=content["passed"], rules=tuple(rules))


def read_frontier(sweep: Path) -> dict[str, Any]:
    """The frontier of a sweep."""
    content: dict[str, Any] = json.loads((sweep / "frontier.json").read_bytes())
    return content


def point_of(sweep: Path, settings: Mapping[str, Any]) -> Path:
    """The training run of a sweep's point. Raises RunError where that point could not be made."""
    for point in read_frontier(sweep)["points"]:
        if point["settings"] == settings and point["run"] is not None:
            return sweep / str(point["run"])
    raise RunError(f"{sweep}: the sweep has no model with {settings}. Its report says why.")


def register(home: Path, runs: Mapping[str, Path], gates: Mapping[str, Path]) -> list[Step]:
    """Add every run under its name with its gate, and try to promote those that were gated, in the order given.

    A refusal is no error here: it is kept as what the registry said.
    """
    for name, run in runs.items():
        registry.add(home, name, run, gate=gates.get(name))
    steps = []
    for name in gates:
        try:
            entry = registry.promote(home, name, to=CHANNEL)
        except RunError as error:
            steps.append(Step(name=name, promoted=False, said=str(error).removeprefix(f"{home}: ")))
        else:
            steps.append(Step(name=name, promoted=True, said=f"{name} is in {CHANNEL}; head {entry.sha256}"))
    return steps


def write_steps(steps: Sequence[Step], path: Path) -> None:
    write_json(path, [asdict(step) for step in steps])


def read_steps(path: Path) -> list[Step]:
    return [Step(**step) for step in json.loads(path.read_bytes())]
