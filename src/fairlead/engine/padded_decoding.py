"""Decoding for models whose attention or state cannot be kept in slots: left padding and transformers' own cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fairlead.engine.attention import causal_of
from fairlead.engine.choosing import Draft, Pace, choose


def decode_padded(
    model: Any,
    drafts: Sequence[Draft],
    *,
    temperature: float,
    top_p: float,
    stop_ids: frozenset[int],
    batch_size: int,
    pace: Pace,
) -> None:
    """Complete the drafts in place, `batch_size` after `batch_size`."""
    for at in range(0, len(drafts), batch_size):
        rows = drafts[at : at + batch_size]
        longest = max(len(draft.prompt) for draft in rows)
        device = causal_of(model).device
        ids = torch.tensor([[0] * (longest - len(row.prompt)) + list(row.prompt) for row in rows], device=device)
        mask = torch.tensor([[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in rows], device=device)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        cache = None
        while not all(draft.done for draft in rows):
            output = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            tokens, logps = choose(output.logits[:, -1], rows, temperature=temperature, top_p=top_p)
            going = [draft for draft in rows if not draft.done]
            for draft, token, logp in zip(rows, tokens, logps, strict=True):
                if not draft.done:
                    draft.append(token, logp, stop_ids)
            pace.took(tokens=len(going), ended=sum(draft.done for draft in going))
            ids = torch.tensor(tokens, device=device)[:, None]
            mask = torch.cat((mask, mask.new_ones(len(rows), 1)), dim=1)
            positions = positions[:, -1:] + 1
