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

from fairlead.errors import ConfigError
from fairlead.losses.checking import NamedLoss, check_losses
from fairlead.losses.contract import Loss, Parameter, Statistic
from fairlead.losses.scores import Demonstrations, Examples, LossOutput, Pairs, RewardPairs, Term
from fairlead.losses.supervised import negative_log_likelihood
from fairlead.losses.table import LOSSES, NLL_WEIGHT, WPO, defaults
from fairlead.losses.weighting import policy_weight

NO_STATISTICS: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Summand:
    """One loss of a sum with its parameters. `wpo` weighs each row by how much it is the policy's own."""

    name: str
    loss: Loss
    parameters: Mapping[str, Parameter]
    nll_weight: float
    wpo: bool
    weight: float

    @property
    def statistic(self) -> Statistic | None:
        """The batch statistic, where these parameters ask for it."""
        if self.loss.statistic_if is None:
            return self.loss.statistic
        parameter, word = self.loss.statistic_if
        return self.loss.statistic if {**defaults(self.loss), **self.parameters}[parameter] == word else None

    def __call__(self, examples: Examples, statistic: Tensor | None) -> LossOutput:
        """The terms and metrics of this loss, not yet weighted in the sum."""
        if self.loss.examples is Demonstrations and isinstance(examples, Pairs):
            examples = Demonstrations(examples.chosen)
        assert isinstance(examples, self.loss.examples)
        function = partial(self.loss.function, examples, **self.parameters)
        output = function() if self.loss.statistic is None else function(statistic=statistic)
        return self._weighted(output, examples) if isinstance(examples, Pairs) else output

    def _weighted(self, output: LossOutput, pairs: Pairs) -> LossOutput:
        """With the NLL term, and all terms times the policy's weight, where these are asked for."""
        terms, metrics = output.terms, dict(output.metrics)
        if self.nll_weight:
            nll = negative_log_likelihood(pairs.chosen)
            terms = (*terms, Term(self.nll_weight * nll))
            metrics = {"nll_loss": nll.detach(), **metrics}
        if self.wpo:
            weight = policy_weight(pairs)
            terms = tuple(Term(weight * term.value, term.denominator) for term in terms)
        return LossOutput(terms, metrics)


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
        over_pairs = [summand for summand in self.summands if summand.loss.examples in {Pairs, RewardPairs}]
        return bool(over_pairs) and all(summand.loss.margin for summand in over_pairs)

    @property
    def takes_weights(self) -> bool:
        """Whether rows may carry weights: none of the losses sorts its rows."""
        return all(summand.loss.row_weights for summand in self.summands)

    @property
    def columns(self) -> frozenset[str]:
        """The columns beyond log-probabilities that the policy's scores must have."""
        return frozenset({"log_sum_sq_probs"} if any(summand.wpo for summand in self.summands) else ())

    @property
    def statistics(self) -> dict[str, Statistic]:
        """The batch statistics that the sum needs under its parameters, by name of loss."""
        return {summand.name: summand.statistic for summand in self.summands if summand.statistic is not None}

    def __call__(self, examples: Examples, statistics: Mapping[str, Tensor] = NO_STATISTICS) -> LossOutput:
        """The weighted terms of every loss, and their metrics, not weighted.

        `statistics` holds one tensor for each of the property of that name, of one that is per example the part of
        these examples. Where two losses give a metric of one name, the first one's is kept.
        """
        assert statistics.keys() >= self.statistics.keys(), "a batch statistic is missing"
        assert not isinstance(examples, Pairs | RewardPairs) or examples.margin is None or self.takes_margin, (
            "a margin has no place here"
        )
        terms: list[Term] = []
        metrics: dict[str, Tensor] = {}
        for summand in self.summands:
            output = summand(examples, statistics.get(summand.name))
            terms += [Term(summand.weight * term.value, term.denominator) for term in output.terms]
            metrics |= {key: value for key, value in output.metrics.items() if key not in metrics}
        return LossOutput(tuple(terms), metrics)


def bind(losses: Sequence[NamedLoss], *, table: Mapping[str, Loss] = LOSSES) -> BoundLoss:
    """The weighted sum of `losses` of `table` as one callable.

    Raises ConfigError with every fault that `check_losses` finds.
    """
    if faults := check_losses(losses, table=table):
        raise ConfigError(faults)
    return BoundLoss(summands=tuple(_summand(name, table[name], given, weight) for name, given, weight in losses))


def _summand(name: str, loss: Loss, given: Mapping[str, Any], weight: float) -> Summand:
    return Summand(
        name=name,
        loss=loss,
        parameters={key: value for key, value in given.items() if key not in {NLL_WEIGHT, WPO}},
        nll_weight=float(given.get(NLL_WEIGHT, 0.0)),
        wpo=bool(given.get(WPO, False)),
        weight=weight,
    )
