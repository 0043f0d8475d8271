"""Leakage: every planted row of training among the held-out ones is found, and none that is not."""

from __future__ import annotations

import random

import pytest

from fairlead.data.audit.findings import Finding
from fairlead.data.audit.leakage import KINDS, Match, leakage, leakage_between
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.records import Candidates, Feedback, Message, Preference

WORDS = [f"w{number}" for number in range(4000)]


def turn(role: str, content: str) -> tuple[Message, ...]:
    return (Message(role=role, content=content),)


def text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(WORDS, k=words))


def pair(name: str, prompt: str, chosen: str, rejected: str, system: str = "") -> Preference:
    before = turn("system", system) if system else ()
    return Preference(
        id=name,
        prompt=(*before, *turn("user", prompt)),
        chosen=turn("assistant", chosen),
        rejected=turn("assistant", rejected),
    )


def pairs(name: str, count: int, seed: int) -> list[Preference]:
    dice = random.Random(seed)
    return [pair(f"{name}{n}", text(dice, 20), text(dice, 30), text(dice, 30)) for n in range(count)]


def words_of(row: Preference) -> tuple[str, str, str]:
    return row.prompt[-1].content, row.chosen[0].content, row.rejected[0].content


TRAIN, CLEAN = pairs("t", 600, seed=0), pairs("e", 300, seed=1)


def findings(train: list[Preference], held_out: list[Preference]) -> dict[str, Finding]:
    found = list(leakage(Material(rows=train, eval_rows=held_out), AuditSettings()))
    assert {finding.code for finding in found} <= KINDS.keys()
    return {finding.code: finding for finding in found}


def test_a_clean_set_has_none() -> None:
    found = findings(TRAIN, CLEAN)
    assert list(found) == list(KINDS)
    assert all(finding.value == 0 and finding.severity == "note" and not finding.rows for finding in found.values())
    assert found["eval_prompts_in_train"].interval == pytest.approx((0, 0.0126), abs=1e-4)


def test_every_planted_leak_is_found_with_its_source() -> None:
    """Recall 100 %: the same prompt, nearly the same, the same with an answer, nearly the same with an answer."""
    planted: list[Preference] = []
    dice = random.Random(3)
    for number in range(40):
        prompt, chosen, rejected = words_of(TRAIN[number])
        if number < 10:
            prompt = f"  {prompt.upper()} "
            chosen, rejected = text(dice, 30), text(dice, 30)
        elif number < 20:
            prompt = f"{prompt} {text(dice, 1)}"
            chosen, rejected = text(dice, 30), text(dice, 30)
        elif number < 30:
            rejected = text(dice, 30)
        else:
            prompt, chosen = text(dice, 6), f"{prompt} {chosen}"
        planted.append(pair(f"p{number}", prompt, chosen, rejected))
    found = findings(TRAIN, [*CLEAN, *planted])
    exact = [f"p{number}" for number in (*range(10), *range(20, 30))]
    assert sorted(found["eval_prompts_in_train"].rows) == sorted(exact)
    assert sorted(found["eval_prompts_near_train"].rows) == [f"p{number}" for number in range(10, 20)]
    assert sorted(found["eval_answers_in_train"].rows) == [f"p{number}" for number in range(20, 30)]
    assert sorted(found["eval_answers_near_train"].rows) == [f"p{number}" for number in range(30, 40)]
    assert [finding.severity for finding in found.values()] == ["error", "error", "error", "warning"]
    assert found["eval_prompts_in_train"].value == pytest.approx(20 / 340)
    leaks = leakage_between(TRAIN, [*CLEAN, *planted])
    for matches in (leaks.prompts, leaks.near_prompts, leaks.answers, leaks.near_answers):
        assert all(match.train == f"t{match.held_out[1:]}" for match in matches)
    assert leaks.prompts[0] == Match("p0", "t0", 1.0)
    assert all(0.7 <= match.similarity < 1 for match in leaks.near_prompts)


def test_few_near_matches_warn_and_do_not_stop() -> None:
    prompt, *_ = words_of(TRAIN[0])
    near = findings(TRAIN, [*CLEAN, pair("x", f"{prompt} more", "a", "b")])["eval_prompts_near_train"]
    assert (near.severity, near.rows, near.threshold) == ("warning", ("x",), 0.0)


def test_another_system_turn_makes_a_prompt_near_and_not_the_same() -> None:
    prompt, *_ = words_of(TRAIN[0])
    leaks = leakage_between(TRAIN, [pair("x", prompt, "a", "b", system="Be brief.")])
    assert not leaks.prompts
    assert leaks.near_prompts == (Match("x", "t0", 1.0),)


def test_a_shared_system_turn_is_no_leak() -> None:
    system = text(random.Random(9), 200)
    train = [pair(f"t{n}", f"question {n} about {n}", f"yes {n}", "no", system) for n in range(20)]
    held_out = [pair(f"e{n}", f"other {n + 50} thing {n}", f"yes {n}", "no", system) for n in range(20)]
    leaks = leakage_between(train, held_out)
    assert not leaks.prompts + leaks.near_prompts + leaks.answers + leaks.near_answers


def test_the_order_of_rows_decides_nothing() -> None:
    held_out = [pair(f"x{n}", *words_of(TRAIN[n % 7])) for n in range(20)]
    train = [*TRAIN, *(pair(f"copy{n}", *words_of(TRAIN[n])) for n in range(7))]
    once = leakage_between(train, held_out)
    assert once == leakage_between(random.Random(1).sample(train, len(train)), held_out[::-1])
    assert once.prompts[0] == Match("x0", "copy0", 1.0)


def test_near_matches_can_be_left_out() -> None:
    prompt, *answers = words_of(TRAIN[0])
    leaks = leakage_between(TRAIN, [pair("x", f"{prompt} more", *answers)], near=False)
    assert leaks.near_prompts == leaks.near_answers == ()


def test_rows_of_other_kinds() -> None:
    thumb = Feedback(id="f", prompt=turn("user", "why?"), completion=turn("assistant", "so"), label=True)
    waiting = Candidates(id="c", prompt=turn("user", "Why?"))
    leaks = leakage_between([thumb], [waiting])
    assert (leaks.rows, leaks.answered, leaks.prompts) == (1, 0, (Match("c", "f", 1.0),))
    codes = [finding.code for finding in leakage(Material(rows=[thumb], eval_rows=[waiting]), AuditSettings())]
    assert codes == ["eval_prompts_in_train", "eval_prompts_near_train"]


def test_without_held_out_rows_there_is_nothing_to_say() -> None:
    assert not list(leakage(Material(rows=TRAIN), AuditSettings()))
    assert not list(leakage(Material(rows=[], eval_rows=CLEAN), AuditSettings()))
