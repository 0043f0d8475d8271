"""From losses asked for by name to one callable: a weighted sum of rows of the table.

Every loss of a sum takes the same kind of examples, but that `sft` may join losses over pairs: it then imitates the
chosen completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor

from fairlead.errors import ConfigError, Fault
from fairlead.losses.scores import Demonstrations, Examples, LossOutput, Pairs, Term
from fairlead.losses.supervised import negative_log_likelihood
from fairlead.losses.table import LOSSES, NLL_WEIGHT, Loss, Parameter, Statistic, check_parameters

NamedLoss = tuple[str, Mapping[str, Any], float]
"""A loss asked for: its name, the parameters that differ from its defaults, its weight in the sum."""

NO_STATISTICS: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Summand:
    """One loss of a sum with its parameters."""

    name: str
    loss: Loss
    parameters: Mapping[str, Parameter]
    nll_weight: float
    weight: float

    def __call__(self, examples: Examples, statistic: Tensor | None) -> LossOutput:
        """The terms and metrics of this loss, not yet weighted."""
        if self.loss.examples is Demonstrations and isinstance(examples, Pairs):
            examples = Demonstrations(examples.chosen)
        assert isinstance(examples, self.loss.examples)
        function = partial(self.loss.function, examples, **self.parameters)
        output = function() if self.loss.statistic is None else function(statistic=statistic)
        if self.nll_weight == 0:
            return output
        assert isinstance(examples, Pairs)
        nll = negative_log_likelihood(examples.chosen)
        return LossOutput((*output.terms, Term(self.nll_weight * nll)), {"nll_loss": nll.detach(), **output.metrics})


@dataclass(frozen=True, kw_only=True)
class BoundLoss:
    """A weighted sum of losses with their parameters: what a training loop calls."""

    summands: tuple[Summand, ...]

    @property
    def leading(self) -> Summand:
        """The first loss that takes the sum's own kind of examples: learning rates and best metric are its."""
        return next((s for s in self.summands if s.loss.examples is not Demonstrations), self.summands[0])

    @property
    def examples(self) -> type[Examples]:
        """The class of examples the sum takes."""
        return self.leading.loss.examples

    @property
    def needs_reference(self) -> bool:
        """Whether any loss of the sum compares with the reference."""
        return any(summand.loss.needs_reference for summand in self.summands)

    @property
    def takes_margin(self) -> bool:
        """Whether rows may carry a margin: every loss over pairs has a place for it."""
        over_pairs = [summand for summand in self.summands if summand.loss.examples is Pairs]
        return bool(over_pairs) and all(summand.loss.margin for summand in over_pairs)

    @property
    def statistics(self) -> dict[str, Statistic]:
        """The batch statistics the sum needs, by name of loss."""
        return {s.name: s.loss.statistic for s in self.summands if s.loss.statistic is not None}

    def __call__(self, examples: Examples, statistics: Mapping[str, Tensor] = NO_STATISTICS) -> LossOutput:
        """The weighted terms of every loss, and their metrics, not weighted.

        `statistics` holds one tensor for each of the property of that name. Where two losses give a metric of one
        name, the first one's is kept.
        """
        assert statistics.keys() >= self.statistics.keys(), "a batch statistic is missing"
        assert not isinstance(examples, Pairs) or examples.margin is None or self.takes_margin, (
            "a margin has no place here"
        )
        terms: list[Term] = []
        metrics: dict[str, Tensor] = {}
        for summand in self.summands:
            output = summand(examples, statistics.get(summand.name))
            terms += [Term(summand.weight * term.value, term.denominator) for term in output.terms]
            metrics |= {key: value for key, value in output.metrics.items() if key not in metrics}
        return LossOutput(tuple(terms), metrics)


def check_losses(losses: Sequence[NamedLoss]) -> list[Fault]:
    """Everything wrong with a sum of losses: names, parameters, weights, and losses that do not go together."""
    if not losses:
        return [Fault(field="loss", problem="no loss is named.", remedy=f"Name one of {', '.join(LOSSES)}.")]
    faults: list[Fault] = []
    for index, (name, given, weight) in enumerate(losses):
        field = "loss" if len(losses) == 1 else f"loss.{index}"
        faults += check_parameters(name, given, field=field)
        if not 0 < weight < float("inf"):
            faults.append(
                Fault(field=f"{field}.weight", problem=f"{weight} is no weight.", remedy="Write one above 0.")
            )
    kinds = {LOSSES[name].examples: name for name, _, _ in losses if name in LOSSES}
    if len(kinds) > 1 and kinds.keys() != {Pairs, Demonstrations}:
        names = " and ".join(kinds.values())
        remedy = "Sum losses over one kind of rows; sft may join losses over pairs."
        faults.append(Fault(field="loss", problem=f"{names} take different kinds of rows.", remedy=remedy))
    return faults


def bind(losses: Sequence[NamedLoss]) -> BoundLoss:
    """The weighted sum of `losses` as one callable; raises ConfigError with every fault that `check_losses` finds."""
    if faults := check_losses(losses):
        raise ConfigError(faults)
    return BoundLoss(summands=tuple(_summand(name, given, weight) for name, given, weight in losses))


def _summand(name: str, given: Mapping[str, Any], weight: float) -> Summand:
    own = {key: value for key, value in given.items() if key != NLL_WEIGHT}
    return Summand(
        name=name, loss=LOSSES[name], parameters=own, nll_weight=float(given.get(NLL_WEIGHT, 0.0)), weight=weight
    )
