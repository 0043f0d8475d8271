"""The losses: one literal table that says what each is, needs, accepts and defaults to.

A new loss is one function and one row here. Defaults are those of the function's signature; every parameter has its
range in the row.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from fairlead.errors import Fault
from fairlead.losses.pairwise import dpo, dpo_norm, dpop, hinge, ipo, orpo, simpo
from fairlead.losses.scores import Demonstrations, Examples, LossOutput, Pairs, Thumbs, TokenScores
from fairlead.losses.supervised import sft
from fairlead.losses.unpaired import kto, mismatched_kl

Parameter = float | str

NLL_WEIGHT = "nll_weight"
"""Parameter of every loss over pairs: adds −nll_weight · mean_w, the NLL per token of the chosen completion."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers a parameter may take; an end is part of the range unless it is `open`."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.low_open else f"at least {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.high_open else 'at most'} {self.high:g}"


POSITIVE = Range(low=0, low_open=True)
NOT_NEGATIVE = Range(low=0)
NOISE_RATE = Range(low=0, high=0.5, high_open=True)


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """What a loss needs to know of the whole batch before any of its gradients.

    The training loop scores the named completions of the whole batch without gradient, under policy and reference,
    and hands `compute` both, concatenated over micro-batches and ranks; its result is the keyword `statistic` of the
    loss. `mismatched` completions are those of other rows, each hung off the row's own prompt, one per row.
    """

    completions: str
    compute: Callable[[TokenScores, TokenScores], Tensor]


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Default peak learning rates, and the range usual for full fine-tuning (None where there is no advice)."""

    full: float
    lora: float
    usual_full: Range | None


PREFERENCE_RATES = LearningRates(full=1e-6, lora=1e-5, usual_full=Range(low=5e-7, high=5e-6))
IMITATION_RATES = LearningRates(full=2e-5, lora=2e-4, usual_full=None)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One row of the table.

    `function` takes `examples` (of the class named here) and keyword parameters; `ranges` says what each may be: a
    range of numbers, or the words allowed. `normalization` is what the loss takes log-probabilities over: their sum
    over a completion, or their mean per token. `margin` says whether rows may carry a margin. `best_metric` is the
    held-out metric that picks the best checkpoint; its direction is in `fairlead.runs.metrics`.
    """

    function: Callable[..., LossOutput]
    examples: type[Examples]
    needs_reference: bool
    normalization: Literal["sum", "mean"]
    equation: str
    source: str
    ranges: Mapping[str, Range | tuple[str, ...]]
    statistic: Statistic | None = None
    margin: bool = False
    learning_rates: LearningRates = PREFERENCE_RATES
    best_metric: str = "rewards/accuracies"


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "sft": Loss(
            function=sft,
            examples=Demonstrations,
            needs_reference=False,
            normalization="sum",
            equation="−total, divided by the trained tokens of the batch",
            source="cross-entropy of the trained tokens",
            ranges={},
            learning_rates=IMITATION_RATES,
            best_metric="loss",
        ),
        "dpo": Loss(
            function=dpo,
            examples=Pairs,
            needs_reference=True,
            normalization="sum",
            equation="−(1−ε)·log σ(βΔ) − ε·log σ(−βΔ)",
            source="Rafailov et al. 2023 (arXiv:2305.18290), eq. 7; ε: Mitchell 2023",
            ranges={"beta": POSITIVE, "label_smoothing": NOISE_RATE},
            margin=True,
        ),
        "ipo": Loss(
            function=ipo,
            examples=Pairs,
            needs_reference=True,
            normalization="mean",
            equation="(Δ̄ − 1/(2β))²",
            source="Azar et al. 2023 (arXiv:2310.12036), eq. 17",
            ranges={"beta": POSITIVE, "normalize": ("mean", "sum")},
        ),
        "hinge": Loss(
            function=hinge,
            examples=Pairs,
            needs_reference=True,
            normalization="sum",
            equation="(1−ε)·max(0, 1 − βΔ) + ε·max(0, 1 + βΔ)",
            source="SLiC: Zhao et al. 2023 (arXiv:2305.10425); RSO: Liu et al. 2023 (arXiv:2309.06657)",
            ranges={"beta": POSITIVE, "label_smoothing": NOISE_RATE},
        ),
        "dpo_norm": Loss(
            function=dpo_norm,
            examples=Pairs,
            needs_reference=True,
            normalization="mean",
            equation="−(1−ε)·log σ(βΔ̄) − ε·log σ(−βΔ̄)",
            source="Tülu 3: Lambert et al. 2024 (arXiv:2411.15124)",
            ranges={"beta": POSITIVE, "label_smoothing": NOISE_RATE},
            margin=True,
        ),
        "dpop": Loss(
            function=dpop,
            examples=Pairs,
            needs_reference=True,
            normalization="sum",
            equation="−log σ(β(Δ − λ·max(0, −r_w)))",
            source="Smaug: Pal et al. 2024 (arXiv:2402.13228)",
            ranges={"beta": POSITIVE, "dpop_lambda": NOT_NEGATIVE},
            margin=True,
        ),
        "simpo": Loss(
            function=simpo,
            examples=Pairs,
            needs_reference=False,
            normalization="mean",
            equation="−(1−ε)·log σ(z) − ε·log σ(−z), z = β(mean_w − mean_l) − γ",
            source="Meng, Xia and Chen 2024 (arXiv:2405.14734), eq. 6",
            ranges={"beta": POSITIVE, "gamma": NOT_NEGATIVE, "label_smoothing": NOISE_RATE},
            margin=True,
        ),
        "orpo": Loss(
            function=orpo,
            examples=Pairs,
            needs_reference=False,
            normalization="mean",
            equation="−mean_w − β·log σ(log_odds_w − log_odds_l), log_odds = mean − log(1 − e^mean)",
            source="Hong, Lee and Thorne 2024 (arXiv:2403.07691), eqs. 6 and 7",
            ranges={"beta": NOT_NEGATIVE},
        ),
        "kto": Loss(
            function=kto,
            examples=Thumbs,
            needs_reference=True,
            normalization="sum",
            equation="λ_D·(1 − σ(β(r − z))) if desirable, λ_U·(1 − σ(β(z − r))) if not",
            source="Ethayarajh et al. 2024 (arXiv:2402.01306), eqs. 7 and 8",
            ranges={"beta": POSITIVE, "desirable_weight": NOT_NEGATIVE, "undesirable_weight": NOT_NEGATIVE},
            statistic=Statistic(completions="mismatched", compute=mismatched_kl),
            best_metric="loss",
        ),
    }
)


def parameters(name: str) -> dict[str, Parameter]:
    """The parameters of the loss `name` with their defaults, in the order of its signature."""
    loss = LOSSES[name]
    signature = inspect.signature(loss.function).parameters
    defaults = {key: p.default for key, p in signature.items() if p.default is not inspect.Parameter.empty}
    return defaults | ({NLL_WEIGHT: 0.0} if loss.examples is Pairs else {})


def allowed(name: str, parameter: str) -> Range | tuple[str, ...]:
    """What a parameter of the loss `name` may be: a range of numbers, or the words allowed."""
    return NOT_NEGATIVE if parameter == NLL_WEIGHT else LOSSES[name].ranges[parameter]


def check_parameters(name: str, given: Mapping[str, Any], *, field: str = "loss") -> list[Fault]:
    """Everything wrong with a loss asked for by name with these parameters; `field` is its place in the config."""
    if name not in LOSSES:
        remedy = _nearest(name, LOSSES) or f"The losses are {', '.join(LOSSES)}."
        return [Fault(field=f"{field}.name", problem=f"there is no loss named {name!r}.", remedy=remedy)]
    faults = [_check_parameter(name, key, value) for key, value in given.items()]
    return [Fault(field=f"{field}.{f.field}", problem=f.problem, remedy=f.remedy) for f in faults if f is not None]


def _check_parameter(name: str, key: str, value: Any) -> Fault | None:
    known = parameters(name)
    if key not in known:
        others = [other for other in LOSSES if key in parameters(other)]
        remedy = f"It is a parameter of {', '.join(others)}." if others else _nearest(key, known)
        takes = f"{name} takes {', '.join(known)}." if known else f"{name} takes no parameters."
        return Fault(field=key, problem=f"{name} has no parameter {key!r}.", remedy=f"{remedy} {takes}".strip())
    choice = allowed(name, key)
    if isinstance(choice, tuple):
        if isinstance(value, str) and value in choice:
            return None
        return Fault(field=key, problem=f"{value!r} is none of its words.", remedy=f"Write {' or '.join(choice)}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        remedy = f"Write a number {choice}, such as {known[key]}."
        if isinstance(value, str) and _reads_as_number(value):
            remedy = f"YAML reads {value} as text; write {float(value):f}".rstrip("0").rstrip(".") + "."
        return Fault(field=key, problem=f"{value!r} is not a number.", remedy=remedy)
    if not math.isfinite(value) or value not in choice:
        remedy = f"Write a number {choice}; the default is {known[key]}."
        return Fault(field=key, problem=f"{value} is out of range.", remedy=remedy)
    return None


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    matches = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {matches[0]}?" if matches else ""


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
