"""Messages → token ids and a trained-token mask, through the chat template. The only place where they meet.

What is trained on is what is served: prompt ids are the template's own with the generation prompt at the end, and a
completion is the text that the template puts behind them, up to and with the token that ends the turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from fairlead.data.records import Message
from fairlead.engine.control_text import Encoder
from fairlead.engine.groups import Completion
from fairlead.errors import ModelError

# What turns say when the template is tried out: private-use characters, which occur in no template.
_QUESTION, _ANSWER, _NEXT = "\ue0f2", "\ue0f3", "\ue0f4"
_MARKUP = re.compile(r"<.+>|\[.+\]")


class RenderingFault(Exception):
    """A row that this template cannot render faithfully; `code` is a reason code of the row ledger."""

    def __init__(self, code: str, field: str, detail: str) -> None:
        self.code, self.field, self.detail = code, field, detail
        super().__init__(f"{field}: {detail}")


class _Frame(NamedTuple):
    """What a template writes around plain turns: before a question, behind an answer, from there to a question."""

    opening: str
    ending: str
    between: str


@dataclass(frozen=True, kw_only=True)
class _Script:
    """What the template reads of a row, with the control text that is held back from it."""

    turns: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    template_kwargs: Mapping[str, Any] | None = None
    held: Sequence[str] = ()
    field: str = "prompt"


class _Span(NamedTuple):
    """Part of a completion's text; trained ones are assistant turns with their end."""

    text: str
    trained: bool


class Renderer:
    """Renders rows with one tokenizer and its chat template.

    Raises ModelError where there is no template, or one that cannot even render a question and an answer.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                "The tokenizer has no chat template, so turns cannot be rendered. Set `model.chat_template` to a file "
                "with the template the model was trained with, or to `plain` for a plain-text one."
            )
        self.tokenizer = tokenizer
        self._frame = self._try_out()
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(map(str, tokenizer.all_special_tokens))
        # Some tokenizers do not mark the tokens around turns as special. In the hands of a user they are.
        around = {token.content for token in added if any(token.content in text for text in self._frame)}
        self._encoder = Encoder(tokenizer, special | {text for text in around if _MARKUP.fullmatch(text)})

    @cached_property
    def end_of_turn(self) -> tuple[str, int] | None:
        """Text and id of the token that ends an assistant turn in this template; None if plain text does."""
        found = self._encoder.control_in(self._frame.ending)
        return (found[0].group(), self.tokenizer.convert_tokens_to_ids(found[0].group())) if found else None

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids at which a sampled completion ends: the template's end of turn and the tokenizer's end of text."""
        ids = {self.tokenizer.eos_token_id, self.end_of_turn[1] if self.end_of_turn else None}
        return frozenset(token for token in ids if token is not None)

    @cached_property
    def injected_system_turn(self) -> str | None:
        """What the template says before the first turn of a prompt without a system turn, if it says anything."""
        opening, ending, between = self._frame
        header = between.removeprefix(ending).strip()
        if not opening.strip().endswith(header):
            return None
        before = opening.strip().removesuffix(header).strip()
        return before if self._encoder.without_control(before).strip() else None

    def prompt_ids(
        self,
        messages: Sequence[Message],
        *,
        field: str = "prompt",
        tools: Sequence[Mapping[str, Any]] = (),
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> tuple[int, ...]:
        """Ids of the prompt with the generation prompt at its end, exactly as at inference.

        Raises RenderingFault: `template_ignores_tools`, `doubled_bos`, `template_failed`.
        """
        script = self._script(messages, field, tools, template_kwargs)
        text = self._text(script, len(messages), True)
        self._refuse_ignored_tools(script, text, True)
        ids = self._encoder.ids(text, script.held)
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == (bos, bos):
            raise RenderingFault("doubled_bos", field, "it begins with two beginning-of-text tokens")
        return ids

    def completion(
        self,
        prompt: Sequence[Message],
        turns: Sequence[Message],
        *,
        field: str = "completion",
        tools: Sequence[Mapping[str, Any]] = (),
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Ids of the turns behind the prompt; assistant turns (with their end) are trained unless they say otherwise.

        It ends with the last trained turn. Raises RenderingFault: `template_rewrites_history` where the template does
        not put the turns behind the prompt's own text, `no_trained_tokens` where nothing would be trained,
        `template_ignores_tools`, `template_failed`.
        """
        trained = [
            index for index, turn in enumerate(turns, start=len(prompt)) if turn.role == "assistant" and turn.train
        ]
        if not trained:
            raise RenderingFault("no_trained_tokens", field, "no assistant turn of it is trained")
        script = self._script([*prompt, *turns], field, tools, template_kwargs)
        before, spans = self._spans(script, len(prompt), trained)
        context = before
        ids: list[int] = []
        mask: list[bool] = []
        for span in spans:
            piece = self._encoder.continuation(context, span.text, script.held)
            ids += piece
            mask += [span.trained] * len(piece)
            context += span.text
        if self.end_of_turn is None:
            ids.append(self.tokenizer.eos_token_id)
            mask.append(True)
        if not any(mask):
            raise RenderingFault("no_trained_tokens", field, "no token of it would be trained")
        return Completion(ids=tuple(ids), trained=tuple(mask))

    def has_control_text(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Whether somebody typed a control token of this tokenizer into a turn or a tool."""
        return any(map(self._encoder.is_spelled_in, map(_as_dict, messages))) or self._encoder.is_spelled_in(tools)

    def _spans(self, script: _Script, prompt: int, trained: Sequence[int]) -> tuple[str, list[_Span]]:
        """The prompt's text and, behind it, the completion's text cut where trained turns begin and end."""
        last = len(script.turns)
        full = self._text(script, last, False)
        self._refuse_ignored_tools(script, full, False)
        before = self._text(script, prompt, True)
        if not full.startswith(before):
            raise _rewritten(script, "the template changes the prompt once it is answered")
        spans: list[_Span] = []
        at = len(before)
        for index in trained:
            opened = before if index == prompt else self._text(script, index, True)
            closed = full if index + 1 == last else self._text(script, index + 1, False)
            if not (full.startswith(opened) and full.startswith(closed) and at <= len(opened) <= len(closed)):
                raise _rewritten(script, "the template changes earlier turns")
            end = self._end(closed, len(opened))
            spans.append(_Span(full[at : len(opened)], False))
            spans.append(_Span(full[len(opened) : end], True))
            at = end
        return before, [span for span in spans if span.text]

    def _end(self, closed: str, start: int) -> int:
        """Where an assistant turn ends: behind its end-of-turn token, before the newline some templates add."""
        if self.end_of_turn is None:
            ending = self._frame.ending
            return len(closed) - (len(ending) if ending.isspace() and closed.endswith(ending) else 0)
        at = closed.rfind(self.end_of_turn[0], start)
        if at >= 0:
            return at + len(self.end_of_turn[0])
        others = self._encoder.control_in(closed[start:])  # some templates end tool calls with a token of their own
        return start + others[-1].end() if others else len(closed)

    def _refuse_ignored_tools(self, script: _Script, text: str, generation_prompt: bool) -> None:
        if script.tools and text == self._try_text(replace(script, tools=()), generation_prompt):
            raise RenderingFault("template_ignores_tools", "tools", "the template renders no tools")
        if not any("tool_calls" in turn for turn in script.turns):
            return
        silent = [{name: value for name, value in turn.items() if name != "tool_calls"} for turn in script.turns]
        if text == self._try_text(replace(script, turns=silent), generation_prompt):
            raise RenderingFault("template_ignores_tools", script.field, "the template renders no tool calls")

    def _script(
        self,
        messages: Sequence[Message],
        field: str,
        tools: Sequence[Mapping[str, Any]],
        template_kwargs: Mapping[str, Any] | None,
    ) -> _Script:
        turns: Any = [_as_dict(message) for message in messages]
        held: list[str] = []
        if self._encoder.is_spelled_in(turns) or self._encoder.is_spelled_in(tools):
            turns, tools = self._encoder.hold(turns, held), self._encoder.hold(tools, held)
        return _Script(turns=turns, tools=tools, template_kwargs=template_kwargs, held=held, field=field)

    def _text(self, script: _Script, turns: int, generation_prompt: bool) -> str:
        """The template's text of so many turns of the script."""
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(script.turns[:turns]),
                    tools=list(script.tools) or None,
                    add_generation_prompt=generation_prompt,
                    tokenize=False,
                    **(script.template_kwargs or {}),
                )
            )
        except Exception as refusal:  # a template is a program of its own: whatever it raises is about this row
            detail = " ".join(str(refusal).split()) or type(refusal).__name__
            raise RenderingFault("template_failed", script.field, detail) from refusal

    def _try_text(self, script: _Script, generation_prompt: bool) -> str | None:
        try:
            return self._text(script, len(script.turns), generation_prompt)
        except RenderingFault:
            return None

    def _try_out(self) -> _Frame:
        """What the template writes around plain turns."""
        said = (("user", _QUESTION), ("assistant", _ANSWER), ("user", _NEXT))
        script = _Script(turns=[{"role": role, "content": content} for role, content in said])
        try:
            asked, answered = self._text(script, 1, True), self._text(script, 2, False)
        except RenderingFault as refusal:
            raise _useless(f"refuses a question with an answer ({refusal.detail})") from refusal
        if _QUESTION not in asked or _ANSWER not in answered:
            raise _useless("leaves out what the turns say")
        following = self._try_text(script, True) or ""
        _, _, behind = following.partition(_ANSWER)
        return _Frame(
            opening=asked[: asked.index(_QUESTION)],
            ending=answered[answered.rindex(_ANSWER) + 1 :],
            between=behind.partition(_NEXT)[0],
        )


def _useless(what: str) -> ModelError:
    return ModelError(
        f"The chat template {what}, so no row can be rendered. Set `model.chat_template` to a file with one that "
        "works, or to `plain` for a plain-text one."
    )


def _rewritten(script: _Script, detail: str) -> RenderingFault:
    return RenderingFault("template_rewrites_history", script.field, detail)


def _as_dict(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shown["tool_calls"] = list(message.tool_calls)
    if message.name is not None:
        shown["name"] = message.name
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    return shown
