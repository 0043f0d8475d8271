"""Rows → prompt groups: rendering, length limits, and the second check of the row contract, on what will be trained on.

Every row that cannot be trained on is moved to quarantine in the row ledger with its reason; every cut is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairlead.data.ledger import Ledger
from fairlead.data.records import Demonstration, Feedback, Message, Preference, Row, Turns
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.rendering import Renderer, RenderingFault
from fairlead.identity import digest


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Length limits in tokens (None: no limit) and what happens to what is longer."""

    max_length: int | None = None
    max_prompt_length: int | None = None
    max_completion_length: int | None = None
    truncate_completions: bool = True
    drop_turns: bool = True

    @property
    def prompt(self) -> int | None:
        """The longest prompt: at least one token of `max_length` is left to the completion."""
        whole = None if self.max_length is None else self.max_length - 1
        given = [limit for limit in (self.max_prompt_length, whole) if limit is not None]
        return min(given) if given else None

    def completion(self, prompt: int) -> int | None:
        """The longest completion behind a prompt of so many tokens."""
        rest = None if self.max_length is None else self.max_length - prompt
        given = [limit for limit in (self.max_completion_length, rest) if limit is not None]
        return min(given) if given else None


def make_groups(rows: Sequence[Row], renderer: Renderer, limits: Limits, ledger: Ledger) -> list[PromptGroup]:
    """One prompt group per row (a demonstration whose template rewrites history gives one per assistant turn).

    Rows that cannot be rendered, or not within the limits, are quarantined in the ledger and left out.
    """
    groups: list[PromptGroup] = []
    for row in rows:
        try:
            groups += _Row(row, renderer, limits, ledger).groups()
        except RenderingFault as fault:
            ledger.quarantine_row(row.id, fault.code, fault.detail, field=fault.field)
    return groups


def add_mismatched(groups: Sequence[PromptGroup]) -> list[PromptGroup]:
    """Behind each group's completion, that of the next row with another prompt, in the order of the rows' hashes.

    KTO's KL estimate is taken on these. The order depends on the rows alone, not on how they are listed; the pairing is
    fixed for the run, so that reference log-probs can be cached. A set with a single prompt is returned as it is.
    """
    order = sorted(range(len(groups)), key=lambda i: digest([groups[i].prompt, groups[i].completions[0].ids]))
    mismatched: dict[int, Completion] = {}
    for place, index in enumerate(order):
        behind = (order[(place + step) % len(order)] for step in range(1, len(order)))
        other = next((i for i in behind if groups[i].prompt != groups[index].prompt), None)
        if other is not None:
            mismatched[index] = groups[other].completions[0]
    return [
        replace(group, completions=(group.completions[0], mismatched[index])) if index in mismatched else group
        for index, group in enumerate(groups)
    ]


@dataclass(frozen=True)
class _Row:
    """One row on its way to its groups."""

    row: Row
    renderer: Renderer
    limits: Limits
    ledger: Ledger

    def groups(self) -> list[PromptGroup]:
        row = self.row
        if isinstance(row, Preference):
            return [self._preference(row)]
        if isinstance(row, Feedback):
            prompt, ids = self._prompt(row.prompt)
            completion = self._completion(prompt, ids, row.completion, "completion")
            self._count_control_text([*row.prompt, *row.completion])
            return [self._group(prompt, ids, (completion,), label=row.label)]
        assert isinstance(row, Demonstration), f"rows of kind {type(row).__name__} are not trained on"
        return self._demonstration(row)

    def _preference(self, row: Preference) -> PromptGroup:
        prompt, ids = self._prompt(row.prompt)
        chosen = self._completion(prompt, ids, row.chosen, "chosen")
        rejected = self._completion(prompt, ids, row.rejected, "rejected")
        if chosen.ids == rejected.ids:
            raise RenderingFault("identical_after_truncation", "rejected", "chosen and rejected give the same tokens")
        self._count_control_text([*row.prompt, *row.chosen, *row.rejected])
        return self._group(prompt, ids, (chosen, rejected), margin=row.margin)

    def _demonstration(self, row: Demonstration) -> list[PromptGroup]:
        turns = row.messages
        self._count_control_text(turns)
        trained = [i for i, turn in enumerate(turns) if turn.role == "assistant" and turn.train]
        if not trained:
            raise RenderingFault("no_trained_tokens", "messages", "no assistant turn of it is trained")
        first = next(i for i, turn in enumerate(turns) if turn.role == "assistant")
        try:
            return [self._dialogue(turns[:first], turns[first:])]
        except RenderingFault as fault:
            if fault.code != "template_rewrites_history":
                raise
        return [self._dialogue(turns[:i], turns[i : i + 1]) for i in trained]

    def _dialogue(self, opening: Turns, turns: Turns) -> PromptGroup:
        prompt, ids = self._prompt(opening)
        return self._group(prompt, ids, (self._completion(prompt, ids, turns, "messages"),))

    def _template(self) -> dict[str, Any]:
        template_kwargs: Mapping[str, Any] = self.row.template_kwargs
        return {"tools": self.row.tools, "template_kwargs": template_kwargs}

    def _prompt(self, messages: Turns) -> tuple[Turns, tuple[int, ...]]:
        """The prompt, shortened by whole oldest turns if it must be, and its ids."""
        limit = self.limits.prompt
        ids = self.renderer.prompt_ids(messages, **self._template())
        kept = messages
        while limit is not None and len(ids) > limit:
            shorter = _without_oldest(kept) if self.limits.drop_turns else None
            if shorter is None:
                raise RenderingFault("prompt_too_long", "prompt", f"{len(ids)} tokens, the limit is {limit}")
            kept = shorter
            ids = self.renderer.prompt_ids(kept, **self._template())
        if kept is not messages:
            dropped = len(messages) - len(kept)
            self.ledger.fix_row(self.row.id, "prompt_turns_dropped", f"{dropped} oldest turns dropped")
        return kept, ids

    def _completion(self, prompt: Turns, ids: tuple[int, ...], turns: Turns, field: str) -> Completion:
        made = self.renderer.completion(prompt, turns, field=field, **self._template())
        limit = self.limits.completion(len(ids))
        if limit is None or len(made.ids) <= limit:
            return made
        detail = f"{len(made.ids)} tokens, the limit here is {limit}"
        if not self.limits.truncate_completions:
            raise RenderingFault("completion_too_long", field, detail)
        cut = Completion(ids=made.ids[:limit], trained=made.trained[:limit])
        if not any(cut.trained):
            raise RenderingFault("no_trained_tokens", field, f"nothing to train is left of it: {detail}")
        self.ledger.fix_row(self.row.id, "completion_truncated", f"{field}: {detail}")
        return cut

    def _count_control_text(self, messages: Sequence[Message]) -> None:
        if self.renderer.has_control_text(messages):
            self.ledger.count(self.row.id, "control_text")

    def _group(
        self,
        prompt: Turns,
        ids: tuple[int, ...],
        completions: tuple[Completion, ...],
        *,
        label: bool | None = None,
        margin: float | None = None,
    ) -> PromptGroup:
        opening = [[turn.role, turn.content] for turn in prompt[:-1]]
        return PromptGroup(
            row_id=self.row.id,
            prompt=ids,
            completions=completions,
            label=label,
            weight=self.row.weight,
            margin=margin,
            opening=digest(opening) if opening else self.row.id,
        )


def _without_oldest(messages: Turns) -> Turns | None:
    """The dialogue without its oldest exchange: leading system turns stay, and so does the last user turn."""
    system = 0
    while system < len(messages) and messages[system].role == "system":
        system += 1
    later = [i for i in range(system + 1, len(messages)) if messages[i].role == "user"]
    return None if not later else messages[:system] + messages[later[0] :]
