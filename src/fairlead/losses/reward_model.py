"""The loss of reward models: a scalar per completion, fitted to preferences."""

from __future__ import annotations

from fairlead.losses.logits import less_margin, logistic
from fairlead.losses.metrics import reward_metrics
from fairlead.losses.scores import LossOutput, RewardPairs, Term, at_least_float32


def reward(pairs: RewardPairs, *, center_coefficient: float = 0.0) -> LossOutput:
    """Bradley-Terry: the logistic loss on the difference of two scores, and a pull of their sum towards 0.

    Only differences of scores are determined by preferences; `center_coefficient` (c) fixes where 0 is. Gives [P]
    values. Ouyang et al. 2022 (arXiv:2203.02155), eq. 1; centring: Eisenstein et al. 2023 (arXiv:2312.09244).
    """
    chosen, rejected = at_least_float32(pairs.chosen), at_least_float32(pairs.rejected)
    value = logistic(less_margin(chosen - rejected, pairs))  # −log σ(s_w − s_l − m)
    if center_coefficient:
        value = value + center_coefficient * (chosen + rejected) ** 2
    return LossOutput((Term(value),), reward_metrics(chosen, rejected))
