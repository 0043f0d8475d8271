"""Decoding with a key-value store of its own, made for many short replies at once.

Each prompt is computed once for all of its samples, several prompts end to end without padding, none seeing another.
Its keys and values are copied into the slots of its samples; all slots then advance together, one token per step, each
at its own position. A slot that falls free is filled from the queue. A sample does not depend on what is beside it:

- the number of rows in every matrix product is a multiple of 4 and no less than 12 where prompts are computed (unused
  rows compute nonsense), because products then give each row the same bits however many rows there are;
- the width of the attention is a multiple of 64 with masked keys at its end, which add exact zeros.

Shapes: R rows, H query heads, G key heads, Q query heads per key head, D head size, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from fairlead.engine.attention import GroupSpan, PackedLayout, causal_of, check_layers, trunk_of
from fairlead.engine.choosing import Draft, Pace, choose
from fairlead.engine.heads import logits_function

ROWS, WIDTH = 4, 64
"""What the number of rows and the width of the attention are multiples of."""
PROMPT_TOKENS = 1024
"""Tokens up to which prompts are computed together: enough to keep the products busy."""
STORE_BYTES = 4 << 30
"""Memory that keys and values may take; fewer rows advance at once where it does not suffice."""


@dataclass(frozen=True)
class PromptStates:
    """What a prompt leaves behind: keys and values of each layer, [1, G, T, D], and the next token's logits, [1, V]."""

    prompt: tuple[int, ...]
    layers: dict[int, tuple[Tensor, Tensor]]
    logits_1V: Tensor


def compute_prompts(model: Any, drafts: Iterable[Draft]) -> dict[tuple[int, ...], PromptStates]:
    """Run the prompts of the next drafts through the model, whose attention must be `fairlead`'s; by prompt.

    Takes distinct prompts in order, at least one, up to `PROMPT_TOKENS`. Raises UnsupportedAttention for a model whose
    attention or state cannot be kept in slots.
    """
    prompts: list[tuple[int, ...]] = []
    for prompt in dict.fromkeys(draft.prompt for draft in drafts):
        if prompts and sum(map(len, prompts)) + len(prompt) > PROMPT_TOKENS:
            break
        prompts.append(prompt)
    used = sum(map(len, prompts))
    filler = (0,) * (max(_round_up(used, ROWS), 3 * ROWS) - used)
    layout = _PromptsLayout([*prompts, filler] if filler else prompts)
    stream = [token for prompt in (*prompts, filler) for token in prompt]
    positions = [at for prompt in (*prompts, filler) for at in range(len(prompt))]
    hidden = _forward(model, [stream], [positions], layout)
    check_layers(model, layout.kept)
    last = [span.end - 1 for span in layout.spans[: len(prompts)]]
    rows = last + last[:1] * (_round_up(len(last), ROWS) - len(last))
    logits_PV = logits_function(model)(hidden[0, rows])
    return {
        prompt: PromptStates(
            prompt,
            {
                layer: (key[:, :, slice(*span.prompt)], value[:, :, slice(*span.prompt)])
                for layer, (key, value) in layout.kept.items()
            },
            logits_PV[index : index + 1],
        )
        for index, (prompt, span) in enumerate(zip(prompts, layout.spans, strict=False))
    }


def decode(
    model: Any,
    drafts: Sequence[Draft],
    *,
    temperature: float,
    top_p: float,
    stop_ids: frozenset[int],
    batch_size: int,
    pace: Pace,
) -> None:
    """Complete the drafts in place, at most `batch_size` at once; drafts of one prompt must lie side by side.

    Raises UnsupportedAttention before any draft is touched.
    """
    logits_of = logits_function(model)
    states = compute_prompts(model, drafts)
    width = max(len(draft.prompt) + draft.limit for draft in drafts)
    slots = _Slots(states[drafts[0].prompt], rows=min(batch_size, len(drafts)), width=width)
    queue = deque(drafts)

    def take(logits: Tensor, rows: Sequence[Draft]) -> None:
        tokens, logps = choose(logits, rows, temperature=temperature, top_p=top_p)
        for draft, token, logp in zip(rows, tokens, logps, strict=True):
            draft.append(token, logp, stop_ids)
        pace.took(tokens=len(rows), ended=sum(draft.done for draft in rows))

    while queue or slots.drafts:
        while queue and slots.free:
            if queue[0].prompt not in states:
                states = compute_prompts(model, queue)
            draft = queue.popleft()
            take(states[draft.prompt].logits_1V, [draft])
            if not draft.done:
                slots.add(draft, states[draft.prompt])
        if slots.drafts:
            tokens, positions = slots.inputs()
            hidden = _forward(model, tokens, positions, slots)
            take(logits_of(hidden[:, 0])[: len(slots.drafts)], slots.drafts)
            slots.release_done()


def _forward(model: Any, tokens: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], layout: Any) -> Tensor:
    """Hidden states under the head, [R, T, hidden size]."""
    device = causal_of(model).device
    hidden: Tensor = trunk_of(model)(
        input_ids=torch.tensor(tokens, device=device),
        position_ids=torch.tensor([list(row) for row in positions], device=device),
        use_cache=False,
        layout=layout,
    ).last_hidden_state
    return hidden


class _PromptsLayout:
    """Causal attention over prompts laid end to end, whose keys and values are kept."""

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        ends = list(accumulate(map(len, prompts)))
        starts = [0, *ends[:-1]]
        self.spans = [GroupSpan(prompt=span, completions=()) for span in zip(starts, ends, strict=True)]
        self._causal = PackedLayout(tuple(self.spans))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
        self.kept[layer] = (key, value)
        return self._causal.attend(layer, query, key, value, **how)


class _Slots:
    """Keys and values of the rows that advance together: the attention layout of a decoding step.

    Rows 0 … len(drafts) − 1 are in use. Keys lie transposed and in float32, as the product with the queries wants them.
    """

    def __init__(self, like: PromptStates, *, rows: int, width: int) -> None:
        width = _round_up(width, WIDTH)
        row_bytes = sum(
            width * key.shape[1] * (4 * key.shape[-1] + value.element_size() * value.shape[-1])
            for key, value in like.layers.values()
        )
        self._limit = min(rows, max(ROWS, STORE_BYTES // row_bytes))
        capacity = _round_up(self._limit, ROWS)
        self._keys_RGDT = {
            layer: key.new_zeros((capacity, key.shape[1], key.shape[-1], width), dtype=torch.float32)
            for layer, (key, _) in like.layers.items()
        }
        self._values_RGTD = {
            layer: value.new_zeros((capacity, value.shape[1], width, value.shape[-1]))
            for layer, (_, value) in like.layers.items()
        }
        self.drafts: list[Draft] = []

    @property
    def free(self) -> int:
        """Drafts that can still be added."""
        return self._limit - len(self.drafts)

    def add(self, draft: Draft, states: PromptStates) -> None:
        """Put a draft into the next row, behind a copy of its prompt's keys and values."""
        row, length = len(self.drafts), len(states.prompt)
        for layer, (key, value) in states.layers.items():
            self._keys_RGDT[layer][row, :, :, :length] = key[0].transpose(1, 2)
            self._values_RGTD[layer][row, :, :length] = value[0]
        self.drafts.append(draft)

    def release_done(self) -> None:
        """Free the rows of drafts that have ended; the last rows move into the holes."""
        for row in reversed(range(len(self.drafts))):
            if self.drafts[row].done:
                last = self.drafts.pop()
                if row < len(self.drafts):
                    length = _position(last)
                    for keys, values in zip(self._keys_RGDT.values(), self._values_RGTD.values(), strict=True):
                        keys[row, :, :, :length] = keys[len(self.drafts), :, :, :length]
                        values[row, :, :length] = values[len(self.drafts), :, :length]
                    self.drafts[row] = last

    def inputs(self) -> tuple[list[list[int]], list[list[int]]]:
        """Token and position of each row of the next step, [R][1]; sets up its attention."""
        positions = [_position(draft) for draft in self.drafts]
        unused = -len(positions) % ROWS
        tokens = [[draft.ids[-1]] for draft in self.drafts] + [[0]] * unused
        positions += [0] * unused
        device = next(iter(self._keys_RGDT.values())).device
        self._row_R = torch.arange(len(positions), device=device)
        self._position_R = torch.tensor(positions, device=device)
        self._width = _round_up(max(positions) + 1, WIDTH)
        self._masks: dict[int | None, Tensor] = {}
        return tokens, [[position] for position in positions]

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        dropout: float,
    ) -> Tensor:
        """Queries [R, H, 1, D] against all that their rows hold, now with the new key and value → [R, 1, H, D]."""
        keys, values = self._keys_RGDT[layer], self._values_RGTD[layer]
        rows, heads, _, size = query.shape
        groups = keys.shape[1]
        with torch.autocast(query.device.type, enabled=False):
            keys[self._row_R, :, :, self._position_R] = key[:, :, 0].float()
            values[self._row_R, :, self._position_R] = value[:, :, 0].to(values.dtype)
            query_BQD = query.reshape(rows * groups, heads // groups, size).float()
            scores_BQT = torch.bmm(query_BQD, keys[:rows].flatten(0, 1)[:, :, : self._width])
            scores = scores_BQT.view(rows, groups, heads // groups, self._width)
            scores = torch.add(self._mask(sliding_window), scores, alpha=scaling)
            weights_BQT = torch.softmax(scores, dim=-1).to(values.dtype).flatten(0, 1)
            output_BQD = torch.bmm(weights_BQT, values[:rows].flatten(0, 1)[:, : self._width])
        return output_BQD.view(rows, 1, heads, values.shape[-1]).to(query.dtype)

    def _mask(self, window: int | None) -> Tensor:
        """Additive mask [R, 1, 1, T], the same in all layers with the same window."""
        if window not in self._masks:
            key_T = torch.arange(self._width, device=self._position_R.device)
            behind_RT = self._position_R[:, None] - key_T
            seen = behind_RT >= 0 if window is None else (behind_RT >= 0) & (behind_RT < window)
            mask = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, float("-inf"))
            self._masks[window] = mask[:, None, None]
        return self._masks[window]


def _position(draft: Draft) -> int:
    """Where the newest token of a draft stands; before it lie as many keys and values."""
    return len(draft.prompt) + len(draft.ids) - 1


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
