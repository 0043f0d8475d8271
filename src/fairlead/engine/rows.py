"""Rows → prompt groups: rendering, length limits, and the second check of the row contract, on what will be trained on.

Every row that cannot be trained on is moved to quarantine in the row ledger with its reason; every cut is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.data.ledger import REASONS, Ledger
from fairlead.data.records import Candidates, Demonstration, Edit, Feedback, Judgement, Preference, Ranking, Row, Turns
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.rendering import Renderer, RenderingFault
from fairlead.identity import digest
from fairlead.progress import SILENT, Progress


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


NO_LIMITS = Limits()


@dataclass(frozen=True)
class RenderedGroups:
    """A row's groups, and by reason code what was changed in it or noticed about it on the way."""

    groups: tuple[PromptGroup, ...]
    notes: dict[str, str]


def make_groups(
    rows: Sequence[Row], renderer: Renderer, limits: Limits, ledger: Ledger, progress: Progress = SILENT
) -> list[PromptGroup]:
    """One prompt group per row (some demonstrations give one per assistant turn: see `render`).

    Rows that cannot be rendered, or not within the limits, are quarantined in the ledger and left out.
    """
    groups: list[PromptGroup] = []
    with progress.task("render", total=len(rows), unit="rows") as task:
        for row in rows:
            try:
                rendered = render(row, renderer, limits)
            except RenderingFault as fault:
                ledger.quarantine_row(row.id, fault.code, fault.detail, field=fault.field)
            else:
                for code, detail in rendered.notes.items():
                    note = ledger.fix_row if REASONS[code].outcome == "fixed" else ledger.count
                    note(row.id, code, detail)
                groups += rendered.groups
            task.advance()
    return groups


def render(row: Row, renderer: Renderer, limits: Limits = NO_LIMITS) -> RenderedGroups:
    """The prompt group of a row, its completions in the order of `completions_of`.

    A demonstration gives one group whose completion runs from its first trained turn to its last; where the template
    rewrites history or ends turns with plain text, one group per trained turn. Raises RenderingFault for a row that
    cannot be rendered or not within the limits.
    """
    making = _Making(row, renderer, limits)
    groups = making.dialogues(row) if isinstance(row, Demonstration) else (making.group(row),)
    return RenderedGroups(groups, making.notes)


def completions_of(row: Row) -> tuple[tuple[str, Turns], ...]:
    """The completions that hang off a row's prompt, each with the name of its field."""
    match row:
        case Preference():
            return ("chosen", row.chosen), ("rejected", row.rejected)
        case Feedback():
            return (("completion", row.completion),)
        case Candidates() | Ranking():
            return tuple((f"candidates[{i}]", each.messages) for i, each in enumerate(row.candidates))
        case Judgement():
            return ("response_a", row.response_a), ("response_b", row.response_b)
        case Edit():
            return ("draft", row.draft), ("edited", row.edited)
        case Demonstration():
            return (("messages", row.messages),)


def add_mismatched(groups: Sequence[PromptGroup], limits: Limits = NO_LIMITS) -> list[PromptGroup]:
    """Behind each group's completion, that of the next row with another prompt, in the order of the rows' hashes.

    KTO's KL estimate is taken on these (https://arxiv.org/abs/2402.01306, section 4.1). The order depends on the rows
    alone, not on how they are listed; the pairing is fixed for the run, so that reference log-probs can be cached. Each
    is cut to the limits behind its new prompt. A set with a single prompt is returned as it is.
    """
    order = sorted(range(len(groups)), key=lambda i: _content(groups[i]))
    mismatched: dict[int, Completion] = {}
    other: int | None = None
    # Backwards, and twice around the circle: at each place `other` is the nearest group behind it with another prompt.
    for place in reversed(range(2 * len(order) - 1)):
        index, following = order[place % len(order)], order[(place + 1) % len(order)]
        if groups[following].prompt != groups[index].prompt:
            other = following
        if other is not None:
            mismatched[index] = groups[other].completions[0]
    return [
        replace(group, completions=(group.completions[0], _cut(mismatched[i], limits.completion(len(group.prompt)))))
        if i in mismatched
        else group
        for i, group in enumerate(groups)
    ]


def _content(group: PromptGroup) -> str:
    completion = group.completions[0]
    return digest([group.prompt, completion.ids, completion.trained])


def _cut(completion: Completion, limit: int | None) -> Completion:
    """The first tokens of a completion; the whole of it without a limit."""
    return Completion(ids=completion.ids[:limit], trained=completion.trained[:limit])


@dataclass(frozen=True)
class _Making:
    """One row on its way to its groups, and what has been noted about it."""

    row: Row
    renderer: Renderer
    limits: Limits
    notes: dict[str, str] = field(default_factory=dict)

    def group(self, row: Preference | Feedback | Candidates | Judgement | Ranking | Edit) -> PromptGroup:
        completions = completions_of(row)
        self._count_control_text((row.prompt, *(turns for _, turns in completions)))
        prompt, ids = self._prompt(row.prompt, "prompt")
        made = tuple(self._completion(prompt, ids, turns, name) for name, turns in completions)
        if isinstance(row, Preference) and made[0].ids == made[1].ids:
            was_cut = "completion_truncated" in self.notes
            code = "identical_after_truncation" if was_cut else "identical_pair"
            raise RenderingFault(code, "rejected", "chosen and rejected give the same tokens")
        label = row.label if isinstance(row, Feedback) else None
        margin = row.margin if isinstance(row, Preference) else None
        return self._group(prompt, ids, made, label=label, margin=margin)

    def dialogues(self, row: Demonstration) -> tuple[PromptGroup, ...]:
        turns = row.messages
        self._count_control_text((turns,))
        trained = [i for i, turn in enumerate(turns) if turn.role == "assistant" and turn.train]
        if not trained:
            raise RenderingFault("no_trained_tokens", "messages", "no assistant turn of it is trained")
        if len(trained) == 1 or self.renderer.end_of_turn is not None:
            try:
                return (self._dialogue(turns[: trained[0]], turns[trained[0] : trained[-1] + 1]),)
            except RenderingFault as fault:
                if fault.code != "template_rewrites_history" or len(trained) == 1:
                    raise
        return tuple(self._dialogue(turns[:i], turns[i : i + 1]) for i in trained)

    def _dialogue(self, opening: Turns, turns: Turns) -> PromptGroup:
        prompt, ids = self._prompt(opening, "messages")
        return self._group(prompt, ids, (self._completion(prompt, ids, turns, "messages"),))

    @property
    def _template(self) -> dict[str, Any]:
        return {"tools": self.row.tools, "template_kwargs": self.row.template_kwargs}

    def _prompt(self, messages: Turns, name: str) -> tuple[Turns, tuple[int, ...]]:
        """The prompt, shortened by whole oldest turns if it must be, and its ids."""
        limit = self.limits.prompt
        kept = messages
        ids = whole = self.renderer.prompt_ids(messages, field=name, **self._template)
        while limit is not None and len(ids) > limit:
            shorter = _without_oldest(kept) if self.limits.drop_turns else None
            if shorter is None:
                raise RenderingFault("prompt_too_long", name, f"{len(whole)} tokens, the limit is {limit}")
            kept = shorter
            ids = self.renderer.prompt_ids(kept, field=name, **self._template)
        if len(kept) < len(messages):
            self.notes["prompt_turns_dropped"] = (
                f"{len(messages) - len(kept)} of {len(messages)} turns, {len(whole)} tokens before, {len(ids)} after"
            )
        return kept, ids

    def _completion(self, prompt: Turns, ids: tuple[int, ...], turns: Turns, name: str) -> Completion:
        made = self.renderer.completion(prompt, turns, field=name, **self._template)
        limit = self.limits.completion(len(ids))
        if limit is None or len(made.ids) <= limit:
            return made
        detail = f"{name}: {len(made.ids)} tokens, the limit here is {limit}"
        if not self.limits.truncate_completions:
            raise RenderingFault("completion_too_long", name, detail)
        cut = _cut(made, limit)
        if not any(cut.trained):
            raise RenderingFault("no_trained_tokens", name, f"nothing to train is left of {detail}")
        before = self.notes.get("completion_truncated")
        self.notes["completion_truncated"] = f"{before}; {detail}" if before else detail
        return cut

    def _count_control_text(self, parts: Sequence[Turns]) -> None:
        if any(self.renderer.has_control_text(turns, self.row.tools) for turns in parts):
            self.notes["control_text"] = ""

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
