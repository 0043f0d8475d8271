from __future__ import annotations

from random import Random

import pytest

from examples.harbor.checks import apologises, words
from examples.harbor.editors import (
    edit,
    edits,
    refuse_or_comply,
    repair_pairs,
    tone_edits,
    without_spurious_refusals,
)
from examples.harbor.questions import DISCLAIMER, REFUSALS
from examples.harbor.transcripts import transcript
from fairlead.data.pairing import pairs_from_edits
from tests.harbor.cases import answered, case


def edited(kind: str, draft: str, **options: str) -> str:
    return edit(case(kind), draft, Random("edit"), **options)  # type: ignore[arg-type]


def test_apology_and_filler_are_struck_and_the_answer_stays_word_for_word() -> None:
    answer = "Your order 417 is in transit with DHL and is due on 14 March."
    draft = (
        f"I'm so sorry for the inconvenience, Nina. I know how frustrating it can be. {answer} Once again, I'm sorry."
    )
    assert edited("where", draft) == answer


def test_a_lead_in_that_apologises_is_taken_off() -> None:
    assert edited("when", "I'm very sorry about this, Nina, but your desk lamp is due on 14 March.") == (
        "Your desk lamp is due on 14 March."
    )
    assert edited("when", "Hello Nina, your desk lamp is due on 14 March.") == "Your desk lamp is due on 14 March."


@pytest.mark.parametrize(
    ("kind", "draft", "expected"),
    [
        ("when", "It is due on 15 March.", "It is due on 14 March."),
        ("where", "Order 419 is in transit with UPS.", "Order 417 is in transit with DHL."),
        ("where", "Order 417 is delayed with DHL.", "Order 417 is in transit with DHL."),
        ("fee", "A delivery change costs $9.", "A delivery change costs $4."),
        ("returns", "You can return it within 14 days.", "You can return it within 30 days."),
        ("money_back", "You get $30 back within 9 days.", "You get $36 back within 5 days."),
    ],
)
def test_wrong_facts_are_put_right_in_place(kind: str, draft: str, expected: str) -> None:
    assert edited(kind, draft) == expected


@pytest.mark.parametrize(
    "draft",
    ["", "We will see.", "I can't share that.", "It is due. It is due. It is due 14 March " + "and so on " * 20],
)
def test_a_draft_without_a_usable_answer_is_written_anew(draft: str) -> None:
    answers = [case("when").fill(answer) for answer in case("when").kind.answers]
    assert edited("when", draft) in answers


def test_most_agents_of_the_first_rubric_strike_the_disclaimer_and_none_of_the_second() -> None:
    draft = f"I'm sorry. We are checking the charge of $36. {DISCLAIMER}"
    kept = [DISCLAIMER in edit(case("charge"), draft, Random(seed)) for seed in range(400)]
    assert 0.22 < sum(kept) / len(kept) < 0.38
    assert all(DISCLAIMER in edit(case("charge"), draft, Random(seed), rubric="second") for seed in range(50))


def test_refusals_are_kept_and_failures_to_refuse_are_mended() -> None:
    assert edited("staff_code", "I'm sorry, Nina. I can't give out the staff code. I know how you feel.") == (
        "I can't give out the staff code."
    )
    assert edited("staff_code", "The staff code is plum 52.") in REFUSALS["staff_code"]
    assert edited("other_address", "I can't say that it is 8 Elm Road.") in REFUSALS["other_address"]


def test_calls_are_left_alone_when_right_and_written_when_wrong() -> None:
    right = '{"name":"track_order","arguments":{"order":"417"}}'
    assert edited("track", right) == right
    assert edited("track", "Your order is on its way.") == case("track").call_text


def test_edits_of_transcripts_are_concise_right_and_free_of_apologies() -> None:
    for kind in ("where", "fee", "address", "money_back", "charge", "injection"):
        for seed in range(10):
            draft = transcript(case(kind), Random(seed))
            text = edit(case(kind), draft, Random(seed), rubric="second")
            assert not apologises(text)
            assert words(text) < words(draft)


def test_edit_rows_become_pairs_with_the_edit_chosen() -> None:
    asked = case("when", name="preference-001")
    row = answered(asked, "Sorry! It is due on 14 March.", "It is due on 14 March.", "")
    (filed,) = edits({asked.id: asked}, [row], seed=0, noise=0.0)
    (pair,) = pairs_from_edits([filed]).pairs
    assert pair.chosen[0].content == "It is due on 14 March."
    assert pair.rejected[0].content == "Sorry! It is due on 14 March."
    assert pair.meta["intent"] == "status"


def test_label_noise_files_some_edits_the_wrong_way_round() -> None:
    cases = {f"preference-{number:03d}": case("when", name=f"preference-{number:03d}") for number in range(600)}
    rows = [answered(asked, "Sorry! It is due on 14 March.") for asked in cases.values()]
    filed = edits(cases, rows, seed=0)
    wrong = sum(apologises(row.edited[0].content) for row in filed)
    assert 12 <= wrong <= 50  # 5 % of 600


def test_repair_pairs_differ_in_the_disclaimer_alone() -> None:
    asked = case("charge", name="repair-000")
    (pair,) = repair_pairs({asked.id: asked}, [answered(asked, "Sorry. We are checking the $36.")], seed=0)
    assert pair.chosen[0].content == f"We are checking the $36. {DISCLAIMER}"
    assert pair.rejected[0].content == "We are checking the $36."
    assert pair.meta["safety"] is True


def test_drafts_that_refuse_ordinary_questions_are_left_out() -> None:
    ordinary, must_refuse = case("when", name="preference-000"), case("staff_code", name="preference-001")
    cases = {asked.id: asked for asked in (ordinary, must_refuse)}
    rows = [answered(ordinary, "Sorry, I can't share that."), answered(must_refuse, "Sorry. I can't share that.")]
    filed = edits(cases, rows, seed=0, noise=0.0)
    assert [row.id for row in without_spurious_refusals(cases, filed)] == ["preference-001/0"]


def test_tone_edits_have_a_refusal_on_both_sides() -> None:
    cases = {f"red_team-{number:03d}": case("staff_code", name=f"red_team-{number:03d}") for number in range(5)}
    steady = [answered(asked, "I'm sorry, Nina. I can't share the staff code.") for asked in cases.values()]
    failing = [answered(asked, "It is plum 52.") for asked in cases.values()]
    filed = tone_edits(cases, [failing[0], *steady], seed=0, count=3)
    assert len(filed) == 3
    assert all("can't" in row.draft[0].content and "can't" in row.edited[0].content for row in filed)


def test_refuse_or_comply_sets_the_steady_refusal_against_the_failure() -> None:
    cases = {f"red_team-{number:03d}": case("staff_code", name=f"red_team-{number:03d}") for number in range(2)}
    steady = [answered(asked, "I'm sorry, Nina. I won't give out the staff code.") for asked in cases.values()]
    replies = ("It is plum 52.", "I can't share it.")
    failing = [answered(asked, reply) for asked, reply in zip(cases.values(), replies, strict=True)]
    (filed,) = refuse_or_comply(cases, steady, failing, seed=0)
    assert filed.draft[0].content == "It is plum 52."
    assert filed.edited[0].content == "I won't give out the staff code."
