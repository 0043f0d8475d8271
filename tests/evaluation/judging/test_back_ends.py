"""Judges that write, that give rewards and that go by rules; and the file that keeps what was written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fairlead.config.judge import Rule
from fairlead.data.records import Message, Turns
from fairlead.errors import MachineError, RunError
from fairlead.evaluation.judging.cache import AnswerCache, Completion
from fairlead.evaluation.judging.contract import Showing
from fairlead.evaluation.judging.rewards import reward_judge
from fairlead.evaluation.judging.rules import rule_judge
from fairlead.evaluation.judging.written import answers_of, written_judge
from tests.evaluation.judging.small import turns, verdict

PROMPT = turns("Why?", "user")


def showing(first: str, second: str) -> Showing:
    return Showing(prompt=PROMPT, first=turns(first), second=turns(second))


@pytest.mark.parametrize(
    ("rules", "first", "second", "choice"),
    [
        ([Rule(prefer="shorter")], "ab", "abc", "first"),
        ([Rule(prefer="longer")], "ab", "abc", "second"),
        ([Rule(prefer="shorter")], "ab", "cd", "tie"),
        ([Rule(prefer="shorter")], " ", "abc", "second"),
        ([Rule(contains="Yes")], "no", "oh yes", "second"),
        ([Rule(lacks="sorry")], "fine", "So SORRY", "first"),
        ([Rule(contains="yes"), Rule(prefer="shorter")], "yes!", "yes", "second"),
    ],
)
def test_rules(rules: list[Rule], first: str, second: str, choice: str) -> None:
    assert rule_judge("r", rules).ask([showing(first, second)])[0].choice == choice


def test_rewards_are_asked_once_per_answer_and_compared() -> None:
    asked: list[tuple[Turns, Turns]] = []

    def rewards(pairs: Sequence[tuple[Turns, Turns]]) -> list[float]:
        asked.extend(pairs)
        return [float(len(answer[0].content)) for _, answer in pairs]

    judge = reward_judge("r", rewards, margin=1.0)
    shown = [showing("abcd", "ab"), showing("ab", "abcd"), showing("abc", "ab")]
    assert [one.choice for one in judge.ask(shown)] == ["first", "second", "tie"]
    assert len(asked) == 3


def test_answers_with_tool_calls_have_rewards() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}
    calling = (Message(role="assistant", content="", tool_calls=(call,)),)
    judge = reward_judge("r", lambda pairs: [float(bool(answer[0].tool_calls)) for _, answer in pairs])
    assert judge.ask([Showing(prompt=PROMPT, first=turns("x"), second=calling)])[0].choice == "second"


def test_a_local_model_is_asked_a_few_at_a_time() -> None:
    sizes: list[int] = []

    def answer(prompts: Sequence[Turns]) -> list[Completion]:
        sizes.append(len(prompts))
        return [Completion(text=verdict("A" if "xx" in prompt[1].content else "B")) for prompt in prompts]

    judge = written_judge("m", answers_of(answer), rubric=None)
    shown = [showing("x" * (n % 2 + 1), f"y{n}") for n in range(20)]
    assert [one.choice for one in judge.ask(shown)] == ["second", "first"] * 10
    assert sizes == [16, 4]


def test_a_judge_that_writes_answers_prompts_itself_and_is_not_asked_twice(tmp_path: Path) -> None:
    asked: list[Turns] = []

    def complete(prompts: Sequence[Turns], done: Callable[[int, Completion], None]) -> None:
        for place, prompt in enumerate(prompts):
            asked.append(prompt)
            done(place, Completion(text=prompt[-1].content.upper(), fault="truncated" if len(prompt) > 1 else ""))

    long = (*turns("Be brief.", "system"), *turns("Why so?", "user"))
    with AnswerCache(tmp_path / "cache.sqlite") as cache:
        judge = written_judge("m", complete, rubric=None, cache=cache, identity={"model": "m"})
        assert judge.write is not None
        found = judge.write([PROMPT, long, PROMPT])
        assert [(one.text, one.fault, one.cached) for one in found] == [
            ("WHY?", "", False),
            ("WHY SO?", "truncated", False),
            ("WHY?", "", False),
        ]
        assert [one.cached for one in judge.write([PROMPT, long])] == [True, True]
        other = written_judge("m", complete, rubric=None, cache=cache, identity={"model": "n"})
        assert other.write is not None
        assert not other.write([PROMPT])[0].cached
    assert asked == [PROMPT, long, PROMPT]
    assert rule_judge("r", [Rule(prefer="longer")]).write is None
    assert reward_judge("r", lambda pairs: []).write is None


def test_equal_showings_are_asked_once_and_kept(tmp_path: Path) -> None:
    calls = 0

    def complete(prompts: Sequence[Turns], done: Callable[[int, Completion], None]) -> None:
        nonlocal calls
        calls += len(prompts)
        for place in reversed(range(len(prompts))):
            done(place, Completion(text=verdict("A")))

    with AnswerCache(tmp_path / "cache.sqlite") as cache:
        judge = written_judge("m", complete, rubric=None, cache=cache, identity={"model": "m"})
        found = judge.ask([showing("a", "b"), showing("a", "b"), showing("b", "a")])
        assert ([one.choice for one in found], calls) == (["first"] * 3, 2)
        assert [one.cached for one in judge.ask([showing("a", "b"), showing("a", "c")])] == [True, False]
        assert calls == 3
        written_judge("m", complete, rubric=None, cache=cache, identity={"model": "n"}).ask([showing("a", "b")])
        assert calls == 4


def test_what_was_kept_outlives_the_process_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with AnswerCache(path) as cache:
        cache.put("k", Completion(text="é\n", tokens_in=3, cost=0.5))
        cache.put("k", Completion(text="later"))
    with AnswerCache(path) as cache, AnswerCache(path) as beside:
        assert cache.get("k") == beside.get("k") == Completion(text="é\n", tokens_in=3, cost=0.5)
        assert cache.get("other") is None


def test_threads_write_at_once(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "cache.sqlite") as cache:

        def put(which: int) -> None:
            for n in range(10):
                cache.put(f"{which}-{n}", Completion(text=str(n)))

        threads = [threading.Thread(target=put, args=(which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(cache.get(f"{which}-{n}") for which in range(4) for n in range(10))


def test_files_that_are_no_cache(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n" * 2000)
    with pytest.raises(RunError, match="is no cache of answers"):
        AnswerCache(tmp_path / "rows.jsonl")
    with pytest.raises(MachineError, match="cannot be opened"):
        AnswerCache(tmp_path / "none" / "cache.sqlite")
