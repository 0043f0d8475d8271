"""A model that writes, as a judge: what it is asked, what it is not asked twice, what is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from fairlead.config.rubric import Rubric
from fairlead.data.records import Turns
from fairlead.evaluation.judging.cache import AnswerCache, Complete, Completion
from fairlead.evaluation.judging.contract import Judge, Reading, Showing, Written
from fairlead.evaluation.judging.prompt import FORMAT, criteria, judge_prompt
from fairlead.evaluation.judging.verdicts import read_verdict
from fairlead.identity import digest

T = TypeVar("T")

NOT_KEPT = frozenset({"malformed"})
"""Faults of a server that the next run may find mended: they are counted, and not kept."""
BATCH = 16


def written_judge(
    name: str,
    complete: Complete,
    *,
    rubric: Rubric | None,
    cache: AnswerCache | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Judge:
    """A judge that is prompted, whose verdicts are parsed strictly, and that can answer prompts itself.

    cache: where answers are kept, under a hash of `identity` (the model and its settings), the rubric and the texts;
    the delimiters, which each call draws anew, are no part of it. Showings and prompts that are equal are asked once.
    """
    of = dict(identity or {})

    def ask(showings: Sequence[Showing]) -> list[Reading]:
        keys = [_key(showing, rubric, of) for showing in showings]
        found, cached = _once(
            dict(zip(keys, showings, strict=True)), lambda each: judge_prompt(each, rubric), complete, cache
        )
        return [_read(found[key], cached=key in cached) for key in keys]

    def write(prompts: Sequence[Turns]) -> list[Written]:
        keys = [_own_key(prompt, of) for prompt in prompts]
        found, cached = _once(dict(zip(keys, prompts, strict=True)), lambda each: each, complete, cache)
        return [Written(text=found[key].text, fault=found[key].fault, cached=key in cached) for key in keys]

    return Judge(name=name, ask=ask, write=write)


def answers_of(answer: Callable[[Sequence[Turns]], list[Completion]]) -> Complete:
    """A model on this machine: `answer` completes prompts, and is called with a few at a time."""

    def complete(prompts: Sequence[Turns], done: Callable[[int, Completion], None]) -> None:
        for start in range(0, len(prompts), BATCH):
            for place, completion in enumerate(answer(prompts[start : start + BATCH]), start=start):
                done(place, completion)

    return complete


def _once(
    asked: Mapping[str, T], prompt: Callable[[T], Turns], complete: Complete, cache: AnswerCache | None
) -> tuple[dict[str, Completion], frozenset[str]]:
    """The completion of everything asked, by key, and the keys of those that were kept from earlier."""
    found = {key: kept for key in asked if cache is not None and (kept := cache.get(key)) is not None}
    cached = frozenset(found)
    waiting = {key: each for key, each in asked.items() if key not in cached}
    names = list(waiting)

    def keep(place: int, completion: Completion) -> None:
        if cache is not None and completion.fault not in NOT_KEPT:
            cache.put(names[place], completion)
        found[names[place]] = completion

    if waiting:
        complete([prompt(each) for each in waiting.values()], keep)
    return found, cached


def _key(showing: Showing, rubric: Rubric | None, identity: Mapping[str, Any]) -> str:
    asked = {"format": FORMAT, "judge": dict(identity), "criteria": criteria(rubric)}
    texts = msgspec.to_builtins([showing.prompt, showing.first, showing.second])
    return digest(asked | {"texts": texts, "opinion": showing.opinion})


def _own_key(prompt: Turns, identity: Mapping[str, Any]) -> str:
    return digest({"format": FORMAT, "judge": dict(identity), "own_answer_to": msgspec.to_builtins(prompt)})


def _read(completion: Completion, *, cached: bool) -> Reading:
    if completion.fault:
        return Reading(choice=None, fault=completion.fault, text=completion.text, cached=cached)
    return replace(read_verdict(completion.text), cached=cached)
