"""Who watches a run as it trains: rules that stop it, a diagnosis of what goes wrong, and functions of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.errors import RunError
from fairlead.runs.diagnosis import diagnose
from fairlead.runs.metrics import EVAL_PREFIX, PROBE_PREFIX
from fairlead.training.loop import Watcher
from fairlead.training.measuring import Recorded
from fairlead.training.randomness import random_state, restore_random_state

FIRST_LOOK = 20
"""The step after which a run without evaluations is looked at for the first and only time before its end."""

Callback = Callable[[int, Mapping[str, float]], str | None]
"""A function of the user's of a step and its metrics, or those of an evaluation; a text asks to stop, and says why."""


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """Stop once `metric`, under the name that evaluations record it by, is out of bounds that often in a row.

    NaN is never out of bounds. What is measured before the first step does not count: training has not caused it.
    """

    metric: str
    above: float | None
    below: float | None
    evaluations: int

    def reason(self, values: Mapping[int, float]) -> str | None:
        """Why training should stop, by the values of the metric so far; None where it should not."""
        last = [(step, value) for step, value in sorted(values.items()) if step > 0][-self.evaluations :]
        if len(last) < self.evaluations or not all(self._is_out(value) for _, value in last):
            return None
        step, value = last[-1]
        bound = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
        often = f", at {self.evaluations} evaluations in a row" if self.evaluations > 1 else ""
        return f"{self.metric} was {value:.4g} at step {step}, {bound}{often} (train.stop_if)"

    def _is_out(self, value: float) -> bool:
        if self.above is not None:
            return value > self.above
        assert self.below is not None
        return value < self.below


def watch_rules(rules: Sequence[StopRule], recorded: Recorded) -> Watcher:
    """A watcher that stops training by the first rule that is broken."""

    def watch(step: int, values: Mapping[str, float]) -> str | None:
        broken = (rule.reason(recorded[rule.metric]) for rule in rules if rule.metric in values)
        return next(filter(None, broken), None)

    return watch


def watch_health(recorded: Recorded, say: Callable[[str], None]) -> Watcher:
    """A watcher that says what is wrong once each, at evaluations and after the first so many steps; it never stops."""
    said: set[str] = set()

    def watch(step: int, values: Mapping[str, float]) -> str | None:
        evaluated = any(name.startswith((EVAL_PREFIX, PROBE_PREFIX)) for name in values)
        if (evaluated and step > 0) or step == FIRST_LOOK:
            for finding in diagnose(recorded):
                if finding.code not in said:
                    said.add(finding.code)
                    say(f"note: {finding.text}")
        return None

    return watch


def watch_by(callback: Callback) -> Watcher:
    """A function of the user's as a watcher: what it draws at random changes nothing in training.

    The watcher raises RunError where the function gives neither None nor a text.
    """
    name = getattr(callback, "__name__", repr(callback))

    def watch(step: int, values: Mapping[str, float]) -> str | None:
        state = random_state()
        try:
            reason = callback(step, dict(values))
        finally:
            restore_random_state(state)
        if reason is not None and not isinstance(reason, str):
            raise RunError(
                f"the callback {name} gave {reason!r} at step {step}. Return None to go on, or the reason to stop as "
                "a text."
            )
        return reason or None

    return watch
