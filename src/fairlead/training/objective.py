"""Bind a loss to batches: score, add the reference, divide by global counts, backpropagate, and average the metrics.

The loss is a pure function of scores; this module is all there is between it and the groups of one step.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from fairlead.engine.groups import PromptGroup
from fairlead.engine.packing import micro_batches
from fairlead.engine.reference import Reference, SyncedReference
from fairlead.engine.routing import Balance
from fairlead.engine.scoring import NO_COLUMNS, Scorer
from fairlead.errors import RunError
from fairlead.losses.binding import BoundLoss
from fairlead.losses.scores import Demonstrations, Examples, Pairs, RewardPairs, Thumbs, TokenScores
from fairlead.training.changes import logp_changes
from fairlead.training.randomness import random_state, restore_random_state

# Behind a thumbed completion hangs the mismatched one, which enters the batch statistic only.
OWN, MISMATCHED = (0,), (1,)
NO_SCORES = TokenScores(torch.zeros(0), torch.zeros(0, dtype=torch.int64))

AUX_LOSS = "aux_loss"
"""Metric of mixture-of-experts models whose configuration asks for a load-balancing loss."""


Scored = tuple[Examples, Balance | None]
"""The examples of a micro-batch, and the load-balancing loss of the forward pass that scored them."""


@dataclass
class Averages:
    """Running sums: terms of the loss over their global denominators, metrics over the examples that have them.

    `aux_loss` is the load-balancing loss of a mixture of experts, None where there is none.
    """

    loss: float = 0.0
    aux_loss: float | None = None
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
        return {"loss": self.loss, **({} if self.aux_loss is None else {AUX_LOSS: self.aux_loss}), **means}


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss over prompt groups. `budget` is the most tokens in one micro-batch.

    `running` holds the running means of the loss's batch statistics, by name of loss: `backward` moves them on, and a
    resumed run puts them back.
    """

    scorer: Scorer
    loss: BoundLoss
    reference: Reference | None
    budget: int
    running: dict[str, float] = field(default_factory=dict)

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

    def after_step(self, step: int) -> None:
        """What is due once the weights have taken optimizer step `step`, counted from 1: the reference may move."""
        if isinstance(self.reference, SyncedReference):
            self.reference.after_step(step)

    @property
    def reference_parameters(self) -> dict[str, nn.Parameter]:
        """Weights of the reference that change during training, by the names they have in checkpoints."""
        return self.reference.parameters if isinstance(self.reference, SyncedReference) else {}

    def _run(self, groups: Sequence[PromptGroup], *, backward: bool) -> dict[str, float]:
        batches = [[groups[index] for index in batch] for batch in micro_batches(groups, self.budget)]
        denominators = {"examples": len(groups), "tokens": sum(sum(group.completions[0].trained) for group in groups)}
        tokens = sum(group.tokens for group in groups)
        averages, done = Averages(), 0
        with self.scorer.attention():
            references = [self._reference(batch, self._which) for batch in batches]
            scored: Iterable[Scored] = (
                self._examples(*each, self.loss.columns) for each in zip(batches, references, strict=True)
            )
            own = any(each.completions == "own" for each in self.loss.statistics.values())
            if own and (len(batches) == 1 or not backward):
                # With one graph at most in memory, what the statistics are taken on serves the loss as well.
                scored = list(scored)
            kept = [examples for examples, _ in scored] if isinstance(scored, list) else None
            statistics = self._statistics(batches, references, kept, move=backward)
            for batch, (examples, balance) in zip(batches, scored, strict=True):
                output = self.loss(examples, self._for_rows(statistics, done, done + len(batch)))
                done += len(batch)
                weight = torch.tensor([group.weight for group in batch], device=self.scorer.device)
                loss = torch.zeros((), device=self.scorer.device)
                for term in output.terms:
                    weighted = term.value * weight
                    if backward:
                        _refuse_non_finite(weighted, batch)
                    loss = loss + weighted.sum() / denominators[term.denominator]
                if balance is not None:
                    # It is no sum over tokens, so micro-batches are averaged by the tokens of their groups.
                    share = sum(group.tokens for group in batch) / tokens
                    loss = loss + balance.coefficient * share * balance.value
                    averages.aux_loss = (averages.aux_loss or 0.0) + share * balance.value.item()
                if backward:
                    loss.backward()  # type: ignore[no-untyped-call]
                averages.loss += loss.item()
                averages.add({**output.metrics, **logp_changes(examples)})
        return averages.values()

    @property
    def _which(self) -> tuple[int, ...] | None:
        """Which completions of a group its examples are made of; None: all."""
        return None if self.loss.examples in (Pairs, RewardPairs) else OWN

    def _examples(
        self, groups: Sequence[PromptGroup], reference: TokenScores | None, columns: frozenset[str] = NO_COLUMNS
    ) -> Scored:
        """Score the groups under the policy; `reference` are their scores under the reference."""
        batch = self.scorer.batch(groups, self._which)
        if self.loss.examples is RewardPairs:
            reward, balance = self.scorer.score_sequences_with_balance(batch)
            return RewardPairs(reward[0::2], reward[1::2], self._margin(groups)), balance
        policy, balance = self.scorer.score_with_balance(batch, columns)
        if self.loss.examples is Pairs:
            return self._pairs(groups, policy, reference), balance
        if self.loss.examples is Demonstrations:
            return Demonstrations(policy), balance
        label = torch.tensor([bool(group.label) for group in groups], device=self.scorer.device)
        return Thumbs(policy, label, reference), balance

    def _pairs(self, groups: Sequence[PromptGroup], policy: TokenScores, reference: TokenScores | None) -> Pairs:
        chosen = torch.arange(0, 2 * len(groups), 2, device=self.scorer.device)
        return Pairs(
            policy.select(chosen),
            policy.select(chosen + 1),
            None if reference is None else reference.select(chosen),
            None if reference is None else reference.select(chosen + 1),
            self._margin(groups),
        )

    def _margin(self, groups: Sequence[PromptGroup]) -> Tensor | None:
        if not self.loss.takes_margin:
            return None
        return torch.tensor([group.margin or 0.0 for group in groups], device=self.scorer.device)

    @torch.no_grad()
    def _statistics(
        self,
        batches: Sequence[Sequence[PromptGroup]],
        references: Sequence[TokenScores | None],
        examples: Sequence[Examples] | None,
        *,
        move: bool,
    ) -> dict[str, Tensor]:
        """What the losses need to know of the whole step before any gradient, in the dropout state of its gradient.

        `examples` are those of every micro-batch, where they are scored already. Running means move on with this step
        where `move` says so; else they are taken as they are.
        """
        values = {} if move else self._means()
        due = {name: each for name, each in self.loss.statistics.items() if name not in values}
        own = {name: each for name, each in due.items() if each.completions == "own"}
        mismatched = {name: each for name, each in due.items() if each.completions == "mismatched"}
        if own and examples is None:
            with _random_state_kept():
                examples = [self._examples(*each)[0] for each in zip(batches, references, strict=True)]
        if own and examples is not None:
            whole = join(examples)
            values |= {name: each.compute(whole) for name, each in own.items()}
        if mismatched:
            with _random_state_kept():
                policy, reference = self._mismatched(batches)
            values |= {name: each.compute(policy, reference) for name, each in mismatched.items()}
        if move:
            self._move(values)
            values |= self._means()
        return values

    def _mismatched(self, batches: Sequence[Sequence[PromptGroup]]) -> tuple[TokenScores, TokenScores]:
        """Scores of the mismatched completions under policy and reference."""
        # A group without one (a lone prompt) stays out of it.
        parts = [[group for group in batch if len(group.completions) > 1] for batch in batches]
        parts = [part for part in parts if part]
        policy = [self.scorer.score(self.scorer.batch(part, MISMATCHED)) for part in parts]
        reference = [self._reference(part, MISMATCHED) for part in parts]
        return _concatenate(policy or [NO_SCORES]), _concatenate(reference or [NO_SCORES])

    def _move(self, values: Mapping[str, Tensor]) -> None:
        """Take this step's `values` into the running means."""
        for name, statistic in self.loss.statistics.items():
            if statistic.momentum is not None:
                now, m = values[name].item(), statistic.momentum
                self.running[name] = m * self.running[name] + (1 - m) * now if name in self.running else now

    def _means(self) -> dict[str, Tensor]:
        device = self.scorer.device
        return {name: torch.tensor(mean, dtype=torch.float64, device=device) for name, mean in self.running.items()}

    def _for_rows(self, statistics: Mapping[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
        """The statistics as the rows from `start` to `stop` of all micro-batches need them."""
        kinds = self.loss.statistics
        return {name: value[start:stop] if kinds[name].per_example else value for name, value in statistics.items()}

    def _reference(self, groups: Sequence[PromptGroup], which: Sequence[int] | None) -> TokenScores | None:
        if self.reference is None:
            return None
        scores = self.reference.scores(groups, which)
        return TokenScores(scores.logp_N.to(self.scorer.device), scores.count_C.to(self.scorer.device))


def metric_names(loss: BoundLoss) -> list[str]:
    """The metrics that `loss` gives, found by asking it about one made-up example."""
    one = torch.full((1,), -1.0)
    scores = TokenScores(one, torch.ones(1, dtype=torch.int64), one)
    examples: dict[type[Examples], Examples] = {
        Pairs: Pairs(scores, scores, scores, scores),
        Thumbs: Thumbs(scores, torch.tensor([True]), scores),
        Demonstrations: Demonstrations(scores),
        RewardPairs: RewardPairs(one, one),
    }
    example = examples[loss.examples]
    statistics = {
        name: each.compute(example) if each.completions == "own" else each.compute(scores, scores)
        for name, each in loss.statistics.items()
    }
    changes = logp_changes(example) if loss.needs_reference else ()
    return ["loss", *loss(example, statistics).metrics, *changes]


def join(parts: Sequence[Examples]) -> Examples:
    """The examples of several micro-batches as those of one batch, in that order."""
    columns = {column.name: _join([getattr(part, column.name) for part in parts]) for column in fields(parts[0])}
    return replace(parts[0], **columns)


def _join(values: Sequence[Any]) -> Any:
    if isinstance(values[0], TokenScores):
        return _concatenate(values)
    return None if values[0] is None else torch.cat(list(values))


def _concatenate(parts: Sequence[TokenScores | None]) -> TokenScores:
    scored = [part for part in parts if part is not None]
    return TokenScores(torch.cat([part.logp_N for part in scored]), torch.cat([part.count_C for part in scored]))


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """What is drawn within the block is drawn again after it."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)


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
