"""What each format's row becomes, field by field; and what is quarantined because reading it would be a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.data.formats import (
    argilla,
    axolotl,
    helpsteer,
    label_studio,
    llama_factory,
    nectar,
    openai,
    pku_saferlhf,
    shp,
    ultrafeedback,
)
from fairlead.data.formats.shapes import Json, Shape
from fairlead.data.reading import Dataset
from fairlead.data.records import Candidates, Demonstration, Feedback, Judgement, Preference, Ranking, Turns
from tests.data.samples import CALL, CALLING, QUESTION, RESULT, TOOL, assistant, read_rows, user


def named(module: Any, name: str) -> Json:
    """The documented row of a format's shape."""
    return next(shape.example for shape in module.SHAPES if shape.name == name)


def one(tmp_path: Path, row: Json, **options: Any) -> Any:
    (found,) = read_rows(tmp_path, row, **options).rows
    return found


def said(turns: Turns) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in turns]


ASKED = [("user", "Where is my parcel?")]


# OpenAI


def test_openai_pairs_keep_tools_and_request(tmp_path: Path) -> None:
    row = named(openai, "preference fine-tuning")
    request = row["input"] | {"tools": [TOOL]}
    pair = one(tmp_path, row | {"input": request, "parallel_tool_calls": 3})
    assert isinstance(pair, Preference)
    assert (said(pair.prompt), said(pair.chosen)) == (ASKED, [("assistant", "On its way.")])
    assert pair.tools == (TOOL,)
    assert pair.meta == {"parallel_tool_calls": 3, "input.parallel_tool_calls": True}


def test_openai_arguments_are_values(tmp_path: Path) -> None:
    text = CALL | {"function": {"name": "track", "arguments": '{"order": 7}'}}
    row = named(openai, "preference fine-tuning") | {"preferred_output": [{"role": "assistant", "tool_calls": [text]}]}
    assert one(tmp_path, row).chosen[0].tool_calls == (CALL,)


def test_openai_turns_of_weight_0_are_not_trained(tmp_path: Path) -> None:
    dialogue = one(tmp_path, named(openai, "chat fine-tuning, with weights"))
    assert isinstance(dialogue, Demonstration)
    assert [turn.train for turn in dialogue.messages if turn.role == "assistant"] == [False, True]
    assert dialogue.meta == {}


# LLaMA-Factory


def test_alpaca_joins_instruction_and_input_behind_system_and_history(tmp_path: Path) -> None:
    dialogue = one(tmp_path, named(llama_factory, "alpaca"))
    assert said(dialogue.messages) == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hello!"),
        ("user", "Where is my parcel?\nOrder 7."),
        ("assistant", "On its way."),
    ]
    pair = one(tmp_path, named(llama_factory, "alpaca, ranking") | {"input": ""})
    assert (said(pair.prompt), said(pair.rejected)) == (ASKED, [("assistant", "So sorry!")])
    thumb = one(tmp_path, named(llama_factory, "alpaca, KTO") | {"kto_tag": False})
    assert isinstance(thumb, Feedback)
    assert thumb.label is False


def test_sharegpt_calls_and_results_become_turns_of_tools(tmp_path: Path) -> None:
    dialogue = one(tmp_path, named(llama_factory, "sharegpt"))
    assert [turn.role for turn in dialogue.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert dialogue.messages[2].tool_calls == (
        {"type": "function", "function": {"name": "track", "arguments": {"order": 7}}},
    )
    assert dialogue.tools == (TOOL,)


def test_several_calls_of_one_turn(tmp_path: Path) -> None:
    row = named(llama_factory, "sharegpt")
    two = '[{"name": "track", "arguments": {}}, {"name": "pay", "arguments": {}}]'
    talk = [row["conversations"][0], {"from": "function_call", "value": two}]
    dialogue = one(tmp_path, {"conversations": talk})
    assert [call["function"]["name"] for call in dialogue.messages[1].tool_calls] == ["track", "pay"]


def test_kto_takes_the_last_turn_as_completion(tmp_path: Path) -> None:
    messages = [*QUESTION, CALLING, RESULT, assistant("Tomorrow.")]
    thumb = one(tmp_path, {"messages": messages, "label": True})
    assert ([turn.role for turn in thumb.prompt], said(thumb.completion)) == (
        ["user", "assistant", "tool"],
        [("assistant", "Tomorrow.")],
    )
    assert one(tmp_path, {"messages": messages, "kto_tag": False, "label": "billing"}).meta == {}


def test_a_dialogue_with_a_thumb_is_never_imitated(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, {"messages": [*QUESTION, assistant("x")], "label": False}, kind="demonstration")
    assert [entry.code for entry in dataset.ledger.entries] == ["wrong_kind"]


def test_a_system_text_beside_the_turns_is_a_system_turn(tmp_path: Path) -> None:
    row = named(llama_factory, "messages, with a system text")
    assert said(one(tmp_path, row).messages)[0] == ("system", "Be brief.")
    same = row | {"messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]}
    assert one(tmp_path, same).messages == one(tmp_path, row).messages
    dataset = read_rows(tmp_path, same | {"system": "Be long."})
    assert [(entry.code, entry.field) for entry in dataset.ledger.entries] == [("system_not_first", "system")]


# Axolotl


@pytest.mark.parametrize("shape", axolotl.SHAPES, ids=lambda shape: shape.name)
def test_axolotl_columns_mean_the_same(tmp_path: Path, shape: Shape) -> None:
    row = one(tmp_path, shape.example, format="axolotl")
    turns = row.messages[:-1] if isinstance(row, Demonstration) else row.prompt
    system = [("system", "Be brief.")] if "system" in shape.example else []
    assert said(turns) == system + ASKED
    if isinstance(row, Preference):
        assert (said(row.chosen), said(row.rejected)) == ([("assistant", "On its way.")], [("assistant", "So sorry!")])
    assert row.meta == {}


def test_a_system_text_is_not_lost_where_candidates_are_asked_for(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, {"prompt": "Where?", "system": "Be brief.", "solution": "x"}, kind="candidates")
    assert [entry.code for entry in dataset.ledger.entries] == ["unknown_shape"]


# Ratings


def test_ultrafeedback_keeps_every_number_as_score_and_every_word_in_meta(tmp_path: Path) -> None:
    row = one(tmp_path, named(ultrafeedback, "raw"))
    assert isinstance(row, Candidates)
    first, second = row.candidates
    assert (first.id, first.model, said(first.messages)) == ("0", "alpaca-7b", [("assistant", "So sorry!")])
    assert first.scores == {"overall_score": 3.0, "fine-grained_score": 2.25, "helpfulness": 2.0}
    assert first.sampling == {"principle": "helpfulness", "custom_system_prompt": "Be of help."}
    assert second.scores == {"overall_score": 8.5}
    assert row.meta["completions"]["0"]["critique"] == "No answer."
    assert row.meta["completions"]["1"]["annotations"]["helpfulness"]["Rating"] == "N/A"
    assert row.meta["models"] == ["alpaca-7b", "gpt-4"]


def test_ultrafeedback_binarized_keeps_scores_and_drops_only_what_is_said_twice(tmp_path: Path) -> None:
    row = named(ultrafeedback, "binarized")
    pair = one(tmp_path, row)
    assert (said(pair.prompt), said(pair.chosen)) == (ASKED, [("assistant", "On its way.")])
    assert pair.meta == {"prompt_id": "f0e37e9f", "score_chosen": 8.5, "score_rejected": 4.0}
    assert pair.margin is None
    other = [user("Where is my parcel?"), assistant("Elsewhere.")]
    assert one(tmp_path, row | {"messages": other}).meta["messages"] == other
    assert said(one(tmp_path, row, kind="demonstration").messages) == [*ASKED, ("assistant", "On its way.")]


def test_helpsteer2_rows_are_candidates_of_one(tmp_path: Path) -> None:
    row = one(tmp_path, named(helpsteer, "HelpSteer2"))
    assert isinstance(row, Candidates)
    scores = {"helpfulness": 3.0, "correctness": 4.0, "coherence": 4.0, "complexity": 1.0, "verbosity": 0.0}
    assert row.candidates[0].scores == scores
    assert row.meta == {}


def test_helpsteer2_preferences_split_the_prompt_at_its_marks(tmp_path: Path) -> None:
    row = one(tmp_path, named(helpsteer, "HelpSteer2, preferences"))
    assert said(row.prompt) == [("user", "Hello"), ("assistant", "Hello!"), *ASKED]
    assert (row.label, row.meta["strength"]) == ("b", 2)
    votes = [(vote.annotator, vote.label, vote.strength) for vote in row.annotations]
    assert votes == [("rater 1", "b", 2.0), ("rater 2", "tie", 0.0)]
    assert row.annotations[0].note == "statement: Response 2 is better.\nelaboration: It answers."


@pytest.mark.parametrize(("score", "label"), [(-3, "a"), (-1, "a"), (0, "tie"), (2, "b"), ("3", "b")])
def test_helpsteer3_preferences_are_judgements_and_0_is_a_tie(tmp_path: Path, score: Any, label: str) -> None:
    dataset = read_rows(tmp_path, named(helpsteer, "HelpSteer3") | {"overall_preference": score})
    (row,) = dataset.rows
    assert isinstance(row, Judgement)
    assert (row.label, row.meta["strength"]) == (label, abs(int(score)))
    assert row.meta["domain"] == "general"
    assert [vote.label for vote in row.annotations] == ["a", "a"]
    assert dataset.ledger.summary()["by_code"] == ({"number_text": 1} if type(score) is str else {})


@pytest.mark.parametrize(("labels", "label"), [(1, "a"), (0, "b")])
def test_shp_1_is_a(tmp_path: Path, labels: int, label: str) -> None:
    row = one(tmp_path, named(shp, "comments") | {"labels": labels})
    assert (row.label, row.response_a[0].content, row.meta["score_ratio"]) == (label, "On its way.", 8.33)


def test_pku_keeps_every_mark_of_safety(tmp_path: Path) -> None:
    row = named(pku_saferlhf, "responses")
    judgement = one(tmp_path, row)
    assert judgement.label == "a"
    marks = {"is_response_0_safe": True, "is_response_1_safe": False, "safer_response_id": 0}
    assert judgement.meta == marks | {"safety": True}
    both_safe = one(tmp_path, row | {"is_response_1_safe": True, "better_response_id": 1})
    assert (both_safe.label, both_safe.meta["safety"]) == ("b", False)


def test_nectar_is_a_ranking_of_a_dialogue(tmp_path: Path) -> None:
    row = named(nectar, "ranked answers")
    ranking = one(tmp_path, row)
    assert isinstance(ranking, Ranking)
    assert (said(ranking.prompt), ranking.ranking) == (ASKED, (("0",), ("1",), ("2",)))
    tied = [answer | {"rank": rank} for answer, rank in zip(row["answers"], (2.0, 1.0, 1.0), strict=True)]
    assert one(tmp_path, row | {"answers": tied, "prompt": "Plain?"}).ranking == (("1", "2"), ("0",))


# Labelling exports


def test_argilla_answers_are_annotations(tmp_path: Path) -> None:
    row = named(argilla, "flat record, two responses")
    dataset = read_rows(tmp_path, row)
    (judgement,) = dataset.rows
    assert isinstance(judgement, Judgement)
    assert [(vote.annotator, vote.label) for vote in judgement.annotations] == [("ann", "b"), ("bea", "b")]
    assert judgement.meta["left_out"] == [{"annotator": "cid", "status": "discarded", "value": None}]
    assert judgement.meta["preference.suggestion"] == "response_2"
    assert dataset.ledger.entries[0].detail == "cid: no answer"


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("Response-1", "a"),
        ("tie", "tie"),
        (["response_2", "response_1"], "b"),
        ([{"value": "response_1", "rank": 1}, {"value": "response_2", "rank": 1}], "tie"),
        ([{"value": "response_1", "rank": 2}, {"value": "response_2", "rank": 1}], "b"),
    ],
)
def test_argilla_values(tmp_path: Path, value: Any, label: str) -> None:
    row = named(argilla, "flat record, two responses")
    changed = {"preference.responses": [value], "preference.responses.users": ["ann"]}
    judgement = one(tmp_path, row | changed | {"preference.responses.status": ["submitted"]})
    assert [vote.label for vote in judgement.annotations] == [label]


def test_argilla_rankings_of_more_responses(tmp_path: Path) -> None:
    row = named(argilla, "flat record, ranking")
    ranking = one(tmp_path, row)
    assert isinstance(ranking, Ranking)
    assert ranking.annotations[0].ranking == (("response_2",), ("response_3",), ("response_1",))
    best = one(tmp_path, row | {"ranking.responses": ["response_3"]})
    assert best.annotations[0].best == "response_3"


def test_label_studio_left_is_the_first_text(tmp_path: Path) -> None:
    row = named(label_studio, "pairwise")
    (annotation,) = row["annotations"]
    right = annotation | {"result": [{"type": "pairwise", "value": {"selected": "right"}}], "completed_by": {"id": 9}}
    comment = {"type": "textarea", "value": {"text": ["short"]}}
    more = [
        annotation | {"ground_truth": True, "result": [*annotation["result"], comment]},
        right,
        annotation | {"was_cancelled": True},
        annotation | {"result": []},
    ]
    dataset = read_rows(tmp_path, row | {"annotations": more, "data": row["data"] | {"segment": "billing"}})
    (judgement,) = dataset.rows
    assert [(vote.annotator, vote.label) for vote in judgement.annotations] == [("4", "a"), ("9", "b")]
    assert (judgement.annotations[0].seconds, judgement.annotations[0].at) == (7.5, "2026-01-31T16:59:52Z")
    assert (judgement.id, judgement.label, judgement.response_a[0].content) == ("12", "a", "On its way.")
    assert judgement.meta["segment"] == "billing"
    assert judgement.meta["other_results"] == {"31": [comment]}
    assert len(judgement.meta["left_out"]) == 2
    assert dataset.ledger.summary()["by_code"] == {"annotation_left_out": 1}


def test_label_studio_without_a_prompt_says_how_to_name_it(tmp_path: Path) -> None:
    row = named(label_studio, "pairwise")
    asked = row | {"data": {"frage": "Where is my parcel?", "text1": "a", "text2": "b"}}
    (entry,) = read_rows(tmp_path, asked).ledger.entries
    assert (entry.code, entry.field) == ("missing_field", "data.prompt")
    assert "--columns prompt=data.KEY" in entry.detail
    assert said(one(tmp_path, asked, columns={"prompt": "data.frage"}).prompt) == ASKED


# What would be a guess


def broken(module: Any, name: str, **changes: Any) -> Json:
    return {key: value for key, value in (named(module, name) | changes).items() if value is not ...}


def annotated(selected: Any) -> list[Json]:
    return [{"completed_by": 1, "result": [{"type": "pairwise", "value": {"selected": selected}}]}]


OPENAI, SHAREGPT = (openai, "preference fine-tuning"), (llama_factory, "sharegpt")
RECORD, TWO = (argilla, "flat record, two responses"), (argilla, "flat record, ranking")
TASK, STEER = (label_studio, "pairwise"), (helpsteer, "HelpSteer3")
BAD: list[tuple[str, Json, str, str]] = [
    ("openai: no messages", broken(*OPENAI, input={}), "missing_field", "input.messages"),
    ("openai: null answer", broken(*OPENAI, preferred_output=None), "missing_field", "preferred_output"),
    (
        "openai: content null",
        broken(*OPENAI, preferred_output=[assistant(None)]),
        "not_text",
        "preferred_output[0].content",
    ),
    (
        "openai: weight ½",
        {"messages": [*QUESTION, assistant("a") | {"weight": 0.5}]},
        "bad_field",
        "messages[1].weight",
    ),
    ("alpaca: output null", broken(llama_factory, "alpaca", output=None), "not_text", "output"),
    ("alpaca: input a number", broken(llama_factory, "alpaca", input=5), "not_text", "input"),
    ("alpaca: history of one", broken(llama_factory, "alpaca", history=[["a"]]), "bad_field", "history[0]"),
    (
        "sharegpt: no value",
        broken(*SHAREGPT, conversations=[{"from": "human"}, {"from": "gpt", "value": "a"}]),
        "not_text",
        "conversations",
    ),
    (
        "sharegpt: unknown speaker",
        broken(*SHAREGPT, conversations=[{"from": "boss", "value": "a"}]),
        "unknown_role",
        "conversations",
    ),
    (
        "sharegpt: call no JSON",
        broken(*SHAREGPT, conversations=[{"from": "function_call", "value": "track(7)"}]),
        "bad_field",
        "conversations[0].value",
    ),
    (
        "sharegpt: call without name",
        broken(*SHAREGPT, conversations=[{"from": "function_call", "value": "{}"}]),
        "bad_field",
        "conversations[0].value",
    ),
    ("sharegpt: tools no JSON", broken(*SHAREGPT, tools="track"), "bad_field", "tools"),
    ("KTO: label −1", {"messages": [*QUESTION, assistant("a")], "label": -1}, "bad_label", "label"),
    ("KTO: no turns", {"messages": [], "label": True}, "empty_prompt", "messages"),
    ("orca: the same twice", {"question": "a", "chosen": "b", "rejected": "b"}, "identical_pair", "rejected"),
    ("icr: empty answer", {"input": "a", "chosen": "", "rejected": "b"}, "empty_completion", "chosen[0]"),
    (
        "ultra: another question",
        broken(axolotl, "ultra", chosen=[user("x"), assistant("a")]),
        "bad_completion_turns",
        "chosen[0]",
    ),
    (
        "ultrafeedback: no response",
        broken(ultrafeedback, "raw", completions=[{"response": None}]),
        "not_text",
        "completions[0].messages[0].content",
    ),
    (
        "ultrafeedback: score in words",
        broken(ultrafeedback, "raw", completions=[{"response": "a", "overall_score": "high"}]),
        "not_a_number",
        "completions[0].overall_score",
    ),
    ("helpsteer2: no score", broken(helpsteer, "HelpSteer2", verbosity=None), "missing_field", "verbosity"),
    ("helpsteer2: score in words", broken(helpsteer, "HelpSteer2", verbosity="low"), "not_a_number", "verbosity"),
    ("helpsteer3: 4", broken(*STEER, overall_preference=4), "bad_label", "overall_preference"),
    ("helpsteer3: NaN in words", broken(*STEER, overall_preference="NaN"), "not_finite", "overall_preference"),
    ("helpsteer3: null", broken(*STEER, overall_preference=None), "missing_field", "overall_preference"),
    (
        "helpsteer3: rater's 9",
        broken(*STEER, individual_preference=[{"score": 9}]),
        "bad_label",
        "individual_preference[0].score",
    ),
    ("shp: 2", broken(shp, "comments", labels=2), "bad_label", "labels"),
    ("shp: true", broken(shp, "comments", labels=True), "not_a_number", "labels"),
    ("pku: −1", broken(pku_saferlhf, "responses", better_response_id=-1), "bad_label", "better_response_id"),
    (
        "nectar: no rank",
        broken(nectar, "ranked answers", answers=[{"answer": "a", "rank": None}]),
        "missing_field",
        "answers[0].rank",
    ),
    (
        "nectar: one answer",
        broken(nectar, "ranked answers", answers=[{"answer": "a", "rank": 1}]),
        "bad_field",
        "answers",
    ),
    ("argilla: no prompt", broken(*RECORD, prompt=None), "missing_field", "prompt"),
    ("argilla: one response", broken(*RECORD, response_1=...), "missing_field", "response_a"),
    (
        "argilla: a rating",
        broken(*RECORD, **{"preference.responses": [2, 1, None]}),
        "bad_label",
        "annotations[0].label",
    ),
    (
        "argilla: users missing",
        broken(*RECORD, **{"preference.responses.users": ["ann"]}),
        "bad_field",
        "preference.responses",
    ),
    (
        "argilla: two questions",
        broken(
            *RECORD,
            **{
                "a.responses": [1],
                "a.responses.users": ["x"],
                "b.responses": [1],
                "b.responses.users": ["x"],
                "preference.responses": ...,
            },
        ),
        "missing_field",
        "preference.responses",
    ),
    (
        "argilla: ranks a stranger",
        broken(*TWO, **{"ranking.responses": [["response_9"]]}),
        "bad_ranking",
        "ranking.responses[0]",
    ),
    ("label studio: middle", broken(*TASK, annotations=annotated("middle")), "bad_label", "annotations[0].result"),
    ("label studio: a list", broken(*TASK, annotations=annotated(["left"])), "bad_label", "annotations[0].result"),
    (
        "label studio: nobody",
        broken(*TASK, annotations=[annotated("left")[0] | {"completed_by": None}]),
        "missing_field",
        "annotations[0].annotator",
    ),
    ("label studio: one text", broken(*TASK, data={"prompt": "a", "text1": "b"}), "missing_field", "data.text1"),
]


@pytest.mark.parametrize(("row", "code", "field"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_would_be_a_guess_is_quarantined(tmp_path: Path, row: Json, code: str, field: str) -> None:
    dataset: Dataset = read_rows(tmp_path, row)
    (entry,) = dataset.ledger.entries
    assert (entry.code, entry.outcome) == (code, "quarantined"), str(entry)
    assert entry.field == field, str(entry)
