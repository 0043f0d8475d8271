"""What went wrong in a training run, seen in its metrics: one sentence each, with the likely cause and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from fairlead.runs.metrics import EVAL_PREFIX

Recorded = Mapping[str, Mapping[int, float]]
"""Every value recorded so far, by metric and step."""

STUCK_STEPS = 10
"""Training steps in a row that make a value stuck."""
STUCK_EVALUATIONS = 3
"""Evaluations in a row that do."""
STILL = 1e-5
"""A reward margin that is no more than what rounding makes of 0."""
ZERO_STEPS = 3
"""Steps in a row with a loss or a gradient of exactly 0 that are no accident."""
CHOSEN_MAY_LOSE = 0.5
"""Nats per token that the chosen answers may lose: each of their tokens is then 39 % less likely than before training.

DPO lowers chosen and rejected answers alike, some tenths of a nat in healthy runs, because it is paid for the gap alone
(Pal et al. 2024, arXiv:2402.13228; Razin et al. 2024, arXiv:2410.08847). Whatever the chosen answers lose goes to
answers that nobody judged.
"""
FINITE = ("loss", "grad_norm", "nll_loss", f"{EVAL_PREFIX}loss", f"{EVAL_PREFIX}nll_loss")
"""Metrics that always have a value: NaN in others can mean that no row of the step has them."""
ACCURACY = "rewards/accuracies"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong or unusual: `code` names its kind, `text` says what, why and what to do."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Best:
    """The metric that picks the best checkpoint, as evaluations record it, and which way is better."""

    metric: str
    direction: Literal["up", "down"]


def diagnose(recorded: Recorded, *, best: Best | None = None) -> list[Finding]:
    """What the metrics of a run show to be wrong; nothing where all is well.

    `best` is given at the end of a run: whether it taught anything that held-out rows show can be said only then.
    """
    nothing_learnt = [*_zero(recorded), *_stuck(recorded)]
    findings = [*_not_finite(recorded), *nothing_learnt, *_chosen_falls(recorded)]
    if best is not None and not nothing_learnt:
        findings += _never_better(recorded, best)
    return findings


def _not_finite(recorded: Recorded) -> Iterator[Finding]:
    for name in FINITE:
        steps = [step for step, value in recorded.get(name, {}).items() if not math.isfinite(value)]
        if steps:
            count = f"{len(steps)} times, first" if len(steps) > 1 else "once,"
            yield Finding(
                code="not_finite",
                text=f"{name} was not a finite number {count} at step {steps[0]}: numbers outgrew their format. Lower "
                "train.learning_rate, set train.precision: fp32, and look at the rows of that step.",
            )
            return


def _zero(recorded: Recorded) -> Iterator[Finding]:
    """A loss of 0 has a gradient of 0: only the cause is told."""
    if _all(_last(recorded, "loss", ZERO_STEPS), 0.0):
        yield Finding(
            code="loss_zero",
            text=f"the loss was exactly 0 at the last {ZERO_STEPS} steps, so nothing is learnt any more: every margin "
            "is beyond what the loss asks for (or what its numbers can tell apart), or the rows have weight 0. Lower "
            "train.learning_rate or loss.beta, train for fewer steps, and check the rows' weights.",
        )
    elif _all(_last(recorded, "grad_norm", ZERO_STEPS), 0.0):
        yield Finding(
            code="gradient_zero",
            text=f"the gradient was exactly 0 at the last {ZERO_STEPS} steps, so nothing is learnt: what is trained "
            "does not reach the loss, or both answers of every pair are the same to it. Check adapter.targets, and "
            "look at a row with fairlead show-tokens.",
        )


STUCK_AT: Mapping[float, str] = {
    0.0: "the rejected answer wins every pair. Probably chosen and rejected are swapped in the data; else the learning "
    "rate is far too high. Look at a row with fairlead show-tokens, and lower train.learning_rate.",
    0.5: "policy and reference stay one model. The learning rate is too low (a warm-up as long as the run keeps it "
    "there), or what is trained does not reach the loss. Raise train.learning_rate, check train.warmup_ratio and "
    "adapter.targets.",
    1.0: "every pair is won from the start, so there is nothing to learn from them: something plain tells the answers "
    "apart (length, format, a missing end token), or the model has seen these pairs before. Look at a few rows with "
    "fairlead show-tokens.",
}


def _stuck(recorded: Recorded) -> Iterator[Finding]:
    """An accuracy that never moved. At step 1 it is ½ by construction where there is a reference."""
    margins = _last(recorded, "rewards/margins", STUCK_STEPS)
    if margins and max(abs(value) for value in recorded["rewards/margins"].values()) <= STILL:
        yield Finding(code="accuracy_stuck", text=f"rewards/margins stayed at 0 (within {STILL:g}): {STUCK_AT[0.5]}")
        return
    trained = [value for step, value in sorted(recorded.get(ACCURACY, {}).items()) if step > 1]
    held_out = [value for step, value in sorted(recorded.get(EVAL_PREFIX + ACCURACY, {}).items()) if step > 0]
    for name, values, enough in (
        (ACCURACY, trained, STUCK_STEPS),
        (EVAL_PREFIX + ACCURACY, held_out, STUCK_EVALUATIONS),
    ):
        for stuck, cause in STUCK_AT.items():
            if len(values) >= enough and _all(values, stuck):
                where = "evaluation" if name.startswith(EVAL_PREFIX) else "step"
                yield Finding(code="accuracy_stuck", text=f"{name} was {stuck:g} at every {where}: {cause}")
                return


def _chosen_falls(recorded: Recorded) -> Iterator[Finding]:
    """The alarm band of the chosen answers' log-probability: by the last evaluation, else by the last steps' mean."""
    held_out = {step: v for step, v in recorded.get(f"{EVAL_PREFIX}logps/chosen_change", {}).items() if step > 0}
    if held_out:
        step = max(held_out)
        chosen = held_out[step]
        rejected = recorded.get(f"{EVAL_PREFIX}logps/rejected_change", {}).get(step, math.nan)
        when = f"at step {step}, on held-out rows"
    else:
        last = _last(recorded, "logps/chosen_change", STUCK_STEPS)
        if not last:
            return
        others = _last(recorded, "logps/rejected_change", STUCK_STEPS)
        chosen, rejected = fmean(last), fmean(others) if others else math.nan
        when = f"over the last {STUCK_STEPS} steps"
    if not chosen < -CHOSEN_MAY_LOSE:
        return
    beside = f" (the rejected ones {-rejected:.2f})" if math.isfinite(rejected) else ""
    over_pairs = "rewards/margins" in recorded
    anchor = "Add loss.nll_weight (1 is usual), use dpop, or lower" if over_pairs else "Lower"
    yield Finding(
        code="chosen_falls",
        text=f"the chosen answers lost {-chosen:.2f} nats per token{beside} {when}: each of their tokens is "
        f"{1 - math.exp(chosen):.0%} less likely than before training, and what they lost went to answers that nobody "
        f"judged. {anchor} train.learning_rate, and read the replies in the report.",
    )


def _never_better(recorded: Recorded, best: Best) -> Iterator[Finding]:
    values = recorded.get(best.metric, {})
    before = values.get(0, math.nan)
    later = {step: value for step, value in values.items() if step > 0 and math.isfinite(value)}
    if not later or not math.isfinite(before):
        return
    sign = 1 if best.direction == "up" else -1
    step = max(later, key=lambda each: (sign * later[each], -each))
    if sign * later[step] <= sign * before:
        yield Finding(
            code="never_better",
            text=f"{best.metric} was {before:.4g} before training and never got better ({later[step]:.4g} at best, at "
            f"step {step}): the run taught nothing that held-out rows show. Look at the data, and try another "
            "train.learning_rate.",
        )


def _last(recorded: Recorded, name: str, count: int) -> list[float]:
    """The values of the last `count` steps; empty while there are fewer."""
    values = [value for step, value in sorted(recorded.get(name, {}).items()) if step > 0]
    return values[-count:] if len(values) >= count else []


def _all(values: Sequence[float], value: float) -> bool:
    return len(values) > 0 and all(each == value for each in values)
