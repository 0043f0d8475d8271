"""TRL's documented row types, read unmodified; where its own trainers would guess, ours do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.data.formats import trl
from fairlead.data.formats.detection import Detector
from fairlead.data.formats.shapes import Shape
from fairlead.data.ledger import Rejected
from fairlead.data.records import Candidates, Demonstration, Feedback, Message, Preference
from tests.data.samples import CALL, QUESTION, assistant, read_rows, user

SKY = Message(role="user", content="The sky is")
BLUE = Message(role="assistant", content=" blue.")
GREEN = Message(role="assistant", content=" green.")
ASKED = [user("The sky is")]

TYPES: list[tuple[str, dict[str, Any], dict[str, Any], type]] = [
    (
        "preference",
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
        {"prompt": ASKED, "chosen": [assistant(" blue.")], "rejected": [assistant(" green.")]},
        Preference,
    ),
    (
        "unpaired preference",
        {"prompt": "The sky is", "completion": " blue.", "label": True},
        {"prompt": ASKED, "completion": [assistant(" blue.")], "label": True},
        Feedback,
    ),
    (
        "prompt-completion",
        {"prompt": "The sky is", "completion": " blue."},
        {"prompt": ASKED, "completion": [assistant(" blue.")]},
        Demonstration,
    ),
    ("prompt-only", {"prompt": "The sky is"}, {"prompt": ASKED}, Candidates),
]


@pytest.mark.parametrize("format", ["auto", "trl"])
@pytest.mark.parametrize(
    ("standard", "conversational", "record"), [case[1:] for case in TYPES], ids=[c[0] for c in TYPES]
)
def test_plain_texts_and_messages_mean_the_same(
    tmp_path: Path, standard: dict[str, Any], conversational: dict[str, Any], record: type, format: str
) -> None:
    plain, messages = (read_rows(tmp_path, row, format=format) for row in (standard, conversational))
    assert plain.rows == messages.rows
    assert type(plain.rows[0]) is record
    assert plain.ledger.summary()["ok"] == 1


def test_a_plain_pair_becomes_whole_turns(tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, TYPES[0][1]).rows
    assert isinstance(row, Preference)
    assert (row.prompt, row.chosen, row.rejected) == ((SKY,), (BLUE,), (GREEN,))


def test_only_the_completion_of_a_prompt_completion_row_is_trained(tmp_path: Path) -> None:
    prompt = [*QUESTION, assistant("Which one?"), user("The red one.")]
    (row,) = read_rows(tmp_path, {"prompt": prompt, "completion": [assistant("Tomorrow.")], "tools": None}).rows
    assert isinstance(row, Demonstration)
    assert [turn.train for turn in row.messages if turn.role == "assistant"] == [False, True]


def implicit(shared: list[Any], ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    return {"chosen": shared + ours, "rejected": shared + theirs}


CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "in transit"}
EARLIER = [*QUESTION, assistant("Which one?"), user("The red one.")]


@pytest.mark.parametrize(
    ("shared", "ours", "theirs", "turns"),
    [
        (QUESTION, [assistant("a")], [assistant("b")], 1),
        (EARLIER, [assistant("a")], [assistant("b")], 3),
        ([*QUESTION, CALLING, RESULT], [assistant("a")], [assistant("b")], 3),
        (QUESTION, [CALLING, RESULT, assistant("a")], [assistant("b")], 1),
        (QUESTION, [assistant("The same first words, then a")], [assistant("The same first words, then b")], 1),
    ],
)
def test_an_implicit_prompt_ends_at_a_turn(
    tmp_path: Path, shared: list[Any], ours: list[Any], theirs: list[Any], turns: int
) -> None:
    dataset = read_rows(tmp_path, implicit(shared, ours, theirs))
    (row,) = dataset.rows
    assert isinstance(row, Preference)
    assert len(row.prompt) == turns
    assert (len(row.chosen), len(row.rejected)) == (len(ours), len(theirs))
    assert dataset.ledger.summary()["ok"] == 1


def test_an_answer_that_goes_on_after_the_other_has_ended(tmp_path: Path) -> None:
    longer = [assistant("a"), user("b"), assistant("c")]
    dataset = read_rows(tmp_path, implicit(QUESTION, [assistant("a")], longer))
    assert [entry.code for entry in dataset.ledger.entries] == ["bad_completion_turns"]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, "implicit_prompt_text"),
        (implicit([], [user("a"), assistant("b")], [user("c"), assistant("d")]), "implicit_prompt_unshared"),
        (implicit([], [assistant("b")], [assistant("d")]), "implicit_prompt_unshared"),
        (implicit(QUESTION, [assistant("a")], [assistant("a")]), "identical_pair"),
        (implicit([], [], []), "identical_pair"),
        ({"chosen": [user("a")], "rejected": None}, "not_text"),
        ({"prompt": "a", "completion": None}, "missing_field"),
        ({"prompt": "a", "completion": 7}, "not_text"),
        ({"prompt": "a", "completion": []}, "empty_completion"),
        ({"prompt": "a", "completion": [user("b"), assistant("c")]}, "bad_completion_turns"),
        ({"text": "The sky is blue."}, "text_without_turns"),
    ],
)
def test_what_would_need_a_guess_is_rejected(row: dict[str, Any], code: str) -> None:
    found = Detector("trl", None).find(row)
    with pytest.raises(Rejected) as caught:
        found.shape.read(row)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "shape", [shape for shape in trl.SHAPES if trl.KWARGS in shape.keys], ids=lambda shape: shape.name
)
def test_arguments_for_the_template_keep_their_meaning(tmp_path: Path, shape: Shape) -> None:
    (row,) = read_rows(tmp_path, shape.example).rows
    assert row.template_kwargs == {"enable_thinking": False}
    assert row.meta == {}


def test_a_prompt_beside_whole_dialogues_is_stripped_from_them(tmp_path: Path) -> None:
    row = {"prompt": "The sky is", "chosen": [*ASKED, assistant("blue")], "rejected": [*ASKED, assistant("green")]}
    dataset = read_rows(tmp_path, row)
    assert [len(turns) for turns in (dataset.rows[0].chosen, dataset.rows[0].rejected)] == [1, 1]
    assert [(entry.code, entry.detail) for entry in dataset.ledger.entries] == [("prompt_repeated", "chosen; rejected")]


def test_the_reader_leaves_its_argument_alone() -> None:
    row = implicit(QUESTION, [assistant("a")], [assistant("b")])
    before = repr(row)
    trl.split_implicit_prompt(row)
    trl.join_prompt_and_completion({"prompt": EARLIER, "completion": "a"})
    assert repr(row) == before
    assert "train" not in EARLIER[1]


@pytest.mark.parametrize("row", [{"prompt": "a", "answer": "b"}, {"chosen": {"role": "assistant"}, "rejected": {}}, {}])
def test_other_shapes_are_not_taken_for_trl(row: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        Detector("trl", None).find(row)
    assert caught.value.code == "unknown_shape"
