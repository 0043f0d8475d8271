"""Settings that are allowed but seldom do well, pointed out before training."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.engine.groups import PromptGroup
from fairlead.losses.binding import BoundLoss
from fairlead.losses.scores import Demonstrations, Thumbs

MOST_EPOCHS = 3
"""Passes over preferences beyond which held-out quality usually falls."""
BALANCE = (1.0, 4 / 3)
"""KTO: n_D·λ_D / (n_U·λ_U) as recommended by Ethayarajh et al. 2024 (arXiv:2402.01306)."""


def advise(
    loss: BoundLoss, groups: Sequence[PromptGroup], *, learning_rate: float, epochs: float, is_full: bool
) -> list[str]:
    """What is unusual about a run, one sentence each, with what is usual."""
    advice = []
    usual, name = loss.leading.loss.learning_rates.usual_full, loss.leading.name
    if is_full and usual is not None and learning_rate not in usual:
        advice.append(
            f"train.learning_rate is {learning_rate:g}; for full fine-tuning with {name} {usual.low:g} to "
            f"{usual.high:g} is usual"
        )
    if loss.examples is not Demonstrations and epochs > MOST_EPOCHS:
        advice.append(
            f"train.epochs is {epochs:g}; beyond {MOST_EPOCHS} passes over preferences held-out quality usually falls"
        )
    if loss.examples is Thumbs:
        advice += _balance(loss, groups)
    return advice


def _balance(loss: BoundLoss, groups: Sequence[PromptGroup]) -> list[str]:
    """Whether desirable and undesirable rows count alike."""
    desirable = sum(bool(group.label) for group in groups)
    undesirable = len(groups) - desirable
    if not desirable or not undesirable:
        return [f"every row is {'desirable' if desirable else 'undesirable'}: there is nothing to tell apart"]
    given = loss.leading.parameters
    up, down = (float(given.get(f"{side}_weight", 1.0)) for side in ("desirable", "undesirable"))
    low, high = BALANCE
    if low * down * undesirable <= up * desirable <= high * down * undesirable:
        return []
    if up * desirable > high * down * undesirable:
        name, least, most = "undesirable", up * desirable / undesirable / high, up * desirable / undesirable / low
    else:
        name, least, most = "desirable", low * down * undesirable / desirable, high * down * undesirable / desirable
    return [
        f"{desirable} rows are desirable and {undesirable} are not; loss.{name}_weight between {least:.3g} and "
        f"{most:.3g} would balance them"
    ]
