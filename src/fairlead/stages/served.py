"""Prompts answered by a model behind a server: each asked once, kept once answered, counted where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import msgspec

from fairlead.config.judge import EndpointSection
from fairlead.data.records import Candidate, Candidates, Message, Turns
from fairlead.engine.sampling import Sampling
from fairlead.evaluation.judging.cache import AnswerCache, Completion
from fairlead.evaluation.judging.endpoint import Endpoint, identity_of
from fairlead.evaluation.judging.written import NOT_KEPT
from fairlead.identity import digest
from fairlead.progress import SILENT, Progress

TOOLS = "tools: what it calls or was told by a tool cannot be put to a server"
TEMPLATE = "template_kwargs: how the server fills in its template is not ours to say"
MALFORMED = "malformed: the server's reply was no chat completion, however often it was asked"


@dataclass(frozen=True, kw_only=True)
class Served:
    """Rows with their answers, and by id those without all of them, with the reason.

    cached: answers that were kept from earlier.
    """

    rows: tuple[Candidates, ...]
    left_out: Mapping[str, str]
    cached: int


@dataclass(kw_only=True)
class ServedModel:
    """One model of a server, with what was asked of it so far.

    key: the server's, None where it asks for none. cache: keeps answers by the content of what was asked.
    calls: made to the server, further tries included; spent: what they cost at the prices of the settings.
    """

    settings: EndpointSection
    key: str | None
    cache: AnswerCache
    progress: Progress = SILENT
    calls: int = field(default=0, init=False)
    spent: float = field(default=0.0, init=False)

    def answer(self, rows: Sequence[Candidates], sampling: Sampling, *, how: Mapping[str, Any]) -> Served:
        """Answers to each row's prompt, `sampling.n` of them; how: what their `sampling` is to say.

        Equal prompts are asked once, and share their answers; so do greedy answers to one prompt. An answer that was
        cut at the greatest length counts; a reply that is none leaves its row out, and is asked for again next time.
        Raises what `Endpoint.complete` does.
        """
        left_out = {row.id: reason for row in rows if (reason := _not_for_servers(row))}
        asked = [row for row in rows if row.id not in left_out]
        numbers = range(1 if sampling.temperature == 0 else sampling.n)
        found = [self._complete([row.prompt for row in asked], sampling, number) for number in numbers]
        answered = []
        for place, row in enumerate(asked):
            own = [completions[place] for completions, _ in found]
            if any(one.fault in NOT_KEPT for one in own):
                left_out[row.id] = MALFORMED
                continue
            own = own * sampling.n if sampling.temperature == 0 else own
            answered.append(self._with_answers(row, own, how))
        return Served(rows=tuple(answered), left_out=left_out, cached=sum(cached for _, cached in found))

    def _complete(self, prompts: Sequence[Turns], sampling: Sampling, number: int) -> tuple[list[Completion], int]:
        """One answer to each prompt, the one of that number, and how many of them were kept from earlier."""
        if not prompts:
            return [], 0
        changes = {"temperature": sampling.temperature, "max_tokens": sampling.max_new_tokens}
        settings = self.settings.model_copy(update=changes)
        extra: dict[str, Any] = {} if sampling.top_p == 1 else {"top_p": sampling.top_p}
        if sampling.temperature > 0:
            extra["seed"] = sampling.seed + number
        asked = identity_of(settings) | extra
        keys = [digest({"asked": asked, "prompt": msgspec.to_builtins(turns)}) for turns in prompts]
        kept = {key: one for key in dict.fromkeys(keys) if (one := self.cache.get(key)) is not None}
        waiting = {key: turns for key, turns in zip(keys, prompts, strict=True) if key not in kept}
        names, lock = list(waiting), Lock()
        found = dict(kept)
        name = settings.model
        with (
            Endpoint(settings, name=name, key=self.key, kind="model", extra=extra) as endpoint,
            self.progress.task(f"ask {name}", total=len(kept) + len(waiting), unit="answers", done=len(kept)) as task,
        ):
            endpoint.spent = self.spent  # the limit is the run's

            def keep(place: int, completion: Completion) -> None:
                if completion.fault not in NOT_KEPT:
                    self.cache.put(names[place], completion)
                with lock:
                    found[names[place]] = completion
                    task.advance()

            try:
                if waiting:
                    endpoint.complete(list(waiting.values()), keep)
            finally:
                self.calls += endpoint.calls
                self.spent = endpoint.spent
        return [found[key] for key in keys], len(kept)

    def _with_answers(self, row: Candidates, completions: Sequence[Completion], how: Mapping[str, Any]) -> Candidates:
        taken = {candidate.id for candidate in row.candidates}
        count = len(completions)
        names = (name for place in range(count + len(taken)) if (name := f"{row.id}-{place}") not in taken)
        new = tuple(
            Candidate(
                id=name,
                messages=(Message(role="assistant", content=one.text),),
                model=self.settings.model,
                sampling=dict(how),
                scores=_scores(one),
            )
            for name, one in zip(names, completions, strict=False)
        )
        return msgspec.structs.replace(row, candidates=(*row.candidates, *new))


def how_sampled(sampling: Sampling, *, without_system: bool = False) -> dict[str, Any]:
    """What a candidate's `sampling` says."""
    said: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
    }
    return said | ({"without_system": True} if without_system else {})


def _not_for_servers(row: Candidates) -> str:
    """Why a row cannot be put to a server; empty where it can."""
    if row.tools or any(turn.tool_calls or turn.role == "tool" for turn in row.prompt):
        return TOOLS
    return TEMPLATE if row.template_kwargs else ""


def _scores(one: Completion) -> dict[str, float]:
    counted = {} if one.tokens_out is None else {"tokens": one.tokens_out}
    return {**counted, "finished": 0 if one.fault == "truncated" else 1}
