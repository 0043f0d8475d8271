"""Bind a loss to batches: score, add the reference, divide by global counts, backpropagate, and average the metrics.

The loss is a pure function of scores; this module is all there is between it and the groups of one step.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fairlead.engine.groups import PromptGroup
from fairlead.engine.packing import micro_batches
from fairlead.engine.scoring import Scorer
from fairlead.errors import RunError
from fairlead.losses.binding import BoundLoss
from fairlead.losses.scores import Demonstrations, Examples, Pairs, Thumbs, TokenScores
from fairlead.training.randomness import random_state, restore_random_state

# Behind a thumbed completion hangs the mismatched one, which enters the batch statistic only.
OWN, MISMATCHED = (0,), (1,)
NO_SCORES = TokenScores(torch.zeros(0), torch.zeros(0, dtype=torch.int64))


class Reference(Protocol):
    """Scores of groups under the reference, from a cache or live."""

    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        """Scores of the groups' completions (`which` of each, by index), without gradient."""
        ...


@dataclass
class Averages:
    """Running sums: terms of the loss over their global denominators, metrics over the examples that have them."""

    loss: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add one value per example of each metric."""
        for name, values in metrics.items():
            self.sums[name] += values.double().sum().item()
            self.counts[name] += values.numel()

    def values(self) -> dict[str, float]:
        """The loss and every metric's mean; NaN where no example has it."""
        means = {name: self.sums[name] / self.counts[name] if self.counts[name] else math.nan for name in self.sums}
        return {"loss": self.loss, **means}


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss over prompt groups. `budget` is the most tokens in one micro-batch."""

    scorer: Scorer
    loss: BoundLoss
    reference: Reference | None
    budget: int

    def backward(self, groups: Sequence[PromptGroup]) -> dict[str, float]:
        """Accumulate the gradient of one step over micro-batches; returns the loss and the metrics of the step.

        Raises RunError, before any gradient of it is used, when the loss of a row is not finite; it names the rows.
        """
        return self._run(groups, backward=True)

    @torch.no_grad()
    def evaluate(self, groups: Sequence[PromptGroup]) -> dict[str, float]:
        """The loss and the metrics over all groups, without gradient and without dropout, finite or not."""
        training = self.scorer.model.training
        self.scorer.model.eval()
        try:
            return self._run(groups, backward=False)
        finally:
            self.scorer.model.train(training)

    def _run(self, groups: Sequence[PromptGroup], *, backward: bool) -> dict[str, float]:
        batches = [[groups[index] for index in batch] for batch in micro_batches(groups, self.budget)]
        denominators = {"examples": len(groups), "tokens": sum(sum(group.completions[0].trained) for group in groups)}
        averages = Averages()
        with self.scorer.attention():
            statistics = self._statistics(batches)
            for batch in batches:
                output = self.loss(self._examples(batch), statistics)
                weight = torch.tensor([group.weight for group in batch], device=self.scorer.device)
                loss = torch.zeros((), device=self.scorer.device)
                for term in output.terms:
                    weighted = term.value * weight
                    if backward:
                        _refuse_non_finite(weighted, batch)
                    loss = loss + weighted.sum() / denominators[term.denominator]
                if backward:
                    loss.backward()  # type: ignore[no-untyped-call]
                averages.loss += loss.item()
                averages.add(output.metrics)
        return averages.values()

    def _examples(self, groups: Sequence[PromptGroup]) -> Examples:
        if self.loss.examples is Pairs:
            return self._pairs(groups)
        policy = self._policy(groups, OWN)
        if self.loss.examples is Demonstrations:
            return Demonstrations(policy)
        label = torch.tensor([bool(group.label) for group in groups], device=self.scorer.device)
        return Thumbs(policy, label, self._reference(groups, OWN))

    def _pairs(self, groups: Sequence[PromptGroup]) -> Pairs:
        policy, reference = self._policy(groups), self._reference(groups)
        chosen = torch.arange(0, 2 * len(groups), 2, device=self.scorer.device)
        margins = [group.margin or 0.0 for group in groups]
        margin = torch.tensor(margins, device=self.scorer.device) if any(margins) else None
        return Pairs(
            policy.select(chosen),
            policy.select(chosen + 1),
            None if reference is None else reference.select(chosen),
            None if reference is None else reference.select(chosen + 1),
            margin,
        )

    @torch.no_grad()
    def _statistics(self, batches: Sequence[Sequence[PromptGroup]]) -> dict[str, Tensor]:
        """What the losses need to know of the whole step before any gradient, in the dropout state of its gradient."""
        if not self.loss.statistics:
            return {}
        state = random_state()
        # A group without a mismatched completion (a lone prompt) stays out of it.
        parts = [[group for group in batch if len(group.completions) > 1] for batch in batches]
        parts = [part for part in parts if part]
        policy = _concatenate([self._policy(part, MISMATCHED) for part in parts])
        reference = _concatenate([self._reference(part, MISMATCHED) for part in parts])
        restore_random_state(state)
        assert all(statistic.completions == "mismatched" for statistic in self.loss.statistics.values())
        return {name: statistic.compute(policy, reference) for name, statistic in self.loss.statistics.items()}

    def _policy(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        return self.scorer.score(self.scorer.batch(groups, which))

    def _reference(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores | None:
        if self.reference is None:
            return None
        scores = self.reference.scores(groups, which)
        return TokenScores(scores.logp_N.to(self.scorer.device), scores.count_C.to(self.scorer.device))


def metric_names(loss: BoundLoss) -> list[str]:
    """The metrics that `loss` gives, found by asking it about one made-up example."""
    scores = TokenScores(torch.full((1,), -1.0), torch.ones(1, dtype=torch.int64))
    examples: dict[type[Examples], Examples] = {
        Pairs: Pairs(scores, scores, scores, scores),
        Thumbs: Thumbs(scores, torch.tensor([True]), scores),
        Demonstrations: Demonstrations(scores),
    }
    output = loss(examples[loss.examples], {name: torch.zeros(()) for name in loss.statistics})
    return ["loss", *output.metrics]


def _concatenate(parts: Sequence[TokenScores | None]) -> TokenScores:
    scored = [part for part in parts if part is not None] or [NO_SCORES]
    return TokenScores(torch.cat([part.logp_N for part in scored]), torch.cat([part.count_C for part in scored]))


def _refuse_non_finite(values: Tensor, groups: Sequence[PromptGroup]) -> None:
    finite = torch.isfinite(values).tolist()
    if not all(finite):
        rows = [group.row_id for group, good in zip(groups, finite, strict=True) if not good]
        raise RunError(
            f"the loss of {name_rows(rows)} is not finite, so training stopped before the step; the weights are as "
            "they were. Look at these rows with `fairlead show-tokens`, and lower `train.learning_rate` or `loss.beta`."
        )


def name_rows(rows: Sequence[str], most: int = 8) -> str:
    """`row a`, `rows a, b and c`, or the first few and how many more."""
    if len(rows) == 1:
        return f"row {rows[0]}"
    if len(rows) <= most:
        return f"rows {', '.join(rows[:-1])} and {rows[-1]}"
    return f"rows {', '.join(rows[:most])} and {len(rows) - most} more"
