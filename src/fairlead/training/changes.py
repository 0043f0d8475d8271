"""How far training moved the log-probabilities of the answers in the rows, per token."""

from __future__ import annotations

import torch
from torch import Tensor

from fairlead.losses.scores import Examples, Pairs, Thumbs, TokenScores


@torch.no_grad()
def logp_changes(examples: Examples) -> dict[str, Tensor]:
    """`logps/chosen_change` and `logps/rejected_change`: mean log-ratio to the reference per token, in nats, [P] each.

    Of thumbs, those of the desirable and of the undesirable completions. Empty where there is no reference. Before the
    first step it is 0; −0.7 says that the model finds each token half as likely as the reference does.
    """
    if isinstance(examples, Pairs) and examples.reference_chosen is not None:
        assert examples.reference_rejected is not None
        chosen = _per_token(examples.chosen, examples.reference_chosen)
        rejected = _per_token(examples.rejected, examples.reference_rejected)
    elif isinstance(examples, Thumbs) and examples.reference is not None:
        change = _per_token(examples.completion, examples.reference)
        chosen, rejected = change[examples.label], change[~examples.label]
    else:
        return {}
    return {"logps/chosen_change": chosen, "logps/rejected_change": rejected}


def _per_token(policy: TokenScores, reference: TokenScores) -> Tensor:
    return policy.log_ratio(reference) / policy.count
