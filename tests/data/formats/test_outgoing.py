"""Rows written for other trainers: what is written is read again as the same rows, but for what is listed as lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.data.formats.layouts import UNWRITABLE, Unwritable
from fairlead.data.formats.table import FORMATS
from fairlead.data.reading import read
from fairlead.data.records import Candidates, Demonstration, Feedback, Message, Preference, Row, Turns
from fairlead.data.writing import write
from fairlead.stages.export import export
from tests.data.samples import TOOL

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
awkward = text | st.sampled_from(["a\n\nHuman: b", "a\n\nAssistant:", "Human: a", " a ", "\n\na\n", '{"a": 1}', "[]"])


def call(number: int) -> dict[str, Any]:
    function = {"name": "track", "arguments": {"order": number}}
    return {"id": f"c{number}", "type": "function", "function": function}


def said(role: str, words: st.SearchStrategy[str] = awkward) -> st.SearchStrategy[Message]:
    return st.builds(Message, role=st.just(role), content=words)


calling = st.builds(
    Message,
    role=st.just("assistant"),
    content=st.just("") | text,
    tool_calls=st.lists(st.integers(0, 3).map(call), min_size=1, max_size=2, unique_by=lambda call: call["id"]).map(
        tuple
    ),
)
trained = st.booleans()


@st.composite
def exchanges(draw: st.DrawFn, marks: bool) -> Turns:
    """Turns from a user's to an assistant's, perhaps with tools; `marks`: some are not to be trained."""
    turns = [draw(said("user") | st.builds(Message, role=st.just("user"), content=text, name=st.just("ann")))]
    if draw(st.integers(0, 3)) == 0:
        turns.append(draw(calling))
        turns += [
            Message(role="tool", content="in transit", tool_call_id=each["id"], name="track")
            for each in turns[-1].tool_calls
        ]
    turns.append(draw(said("assistant")))
    if marks:
        turns = [
            msgspec.structs.replace(turn, train=draw(trained)) if turn.role == "assistant" else turn for turn in turns
        ]
    return tuple(turns)


system = st.lists(said("system", text | st.just("")), max_size=1).map(tuple)
question = said("user").map(lambda turn: (turn,))
prompts = st.tuples(system, st.lists(exchanges(False), max_size=2), question).map(
    lambda parts: parts[0] + tuple(turn for each in parts[1] for turn in each) + parts[2]
)
answers = st.one_of(said("assistant").map(lambda turn: (turn,)), calling.map(lambda turn: (turn,)))
completions = answers | exchanges(False).map(lambda turns: turns[1:])
common: dict[str, Any] = {
    "id": text,
    "tools": st.lists(st.just(TOOL), max_size=1).map(tuple),
    "template_kwargs": st.sampled_from([{}, {"enable_thinking": False}]),
    "weight": st.sampled_from([1.0, 0.5]),
    "meta": st.sampled_from([{}, {"segment": "billing"}, {"parallel_tool_calls": True}]),
}
rows: dict[str, st.SearchStrategy[Any]] = {
    "preference": st.builds(
        Preference, prompt=prompts, chosen=completions, rejected=completions, margin=st.none() | st.just(1.5), **common
    ).filter(lambda row: row.chosen != row.rejected),
    "feedback": st.builds(Feedback, prompt=prompts, completion=completions, label=st.booleans(), **common),
    "demonstration": st.builds(
        Demonstration,
        messages=st.tuples(system, st.lists(exchanges(True), min_size=1, max_size=2)).map(
            lambda parts: parts[0] + tuple(turn for each in parts[1] for turn in each)
        ),
        **common,
    ).filter(lambda row: any(turn.train for turn in row.messages if turn.role == "assistant")),
    "candidates": st.builds(Candidates, prompt=prompts, **common),
}
PAIRS = [(name, kind) for name, format in FORMATS.items() for kind in format.layouts]


def without(row: Row, lost: frozenset[str]) -> Any:
    """The row as it must come back where these parts found no place."""
    changes: dict[str, Any] = {"id": "", "meta": {k: v for k, v in row.meta.items() if f"meta.{k}" not in lost}}
    for name in ("tools", "template_kwargs", "weight", "margin"):
        if name in lost or name == "margin":
            defaults = {"tools": (), "template_kwargs": {}, "weight": 1.0, "margin": None}
            if hasattr(row, name):
                changes[name] = defaults[name] if name in lost or not row.margin else row.margin  # 0 says as much
    for part in ("prompt", "chosen", "rejected", "completion", "messages"):
        if hasattr(row, part):
            changes[part] = tuple(_turn_without(turn, lost, keep=part == "messages") for turn in getattr(row, part))
    return msgspec.structs.replace(row, **changes)


def _turn_without(turn: Message, lost: frozenset[str], keep: bool) -> Message:
    calls = tuple({k: v for k, v in call.items() if f"turns.tool_calls.{k}" not in lost} for call in turn.tool_calls)
    changes: dict[str, Any] = {"tool_calls": calls}
    for part, default in (("name", None), ("tool_call_id", None), ("train", True)):
        if f"turns.{part}" in lost and not (part == "train" and keep and turn.role == "assistant"):
            changes[part] = default
    return msgspec.structs.replace(turn, **changes)


@pytest.mark.parametrize(("format", "kind"), PAIRS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_comes_back_but_for_what_is_listed(
    tmp_path: Path, format: str, kind: str, data: st.DataObject
) -> None:
    given_rows = data.draw(st.lists(rows[kind], min_size=1, max_size=3, unique_by=lambda row: row.id))
    holds = [row for row in given_rows if writable(row, format, kind)]
    if not holds:
        return
    write(given_rows, tmp_path / "rows.jsonl")
    report = export(tmp_path / "rows.jsonl", to=format, out=tmp_path / "out.jsonl", kind=kind)
    assert report.rows_in == len(given_rows) == report.written + report.left_out
    lost = frozenset(report.lost)
    left = read(report.left_out_rows).rows if report.left_out_rows else ()
    written = [row for row in given_rows if row not in left]
    assert len(written) == report.written
    last_only = report.layout == "sharegpt, last turn trained"  # its configuration masks the history, the file cannot
    back = read(tmp_path / "out.jsonl", format=format, kind=kind)
    assert len(back.rows) == report.written, [str(entry) for entry in back.ledger.entries]
    for row, again in zip(written, back.rows, strict=True):
        row, again = without(row, lost), without(again, lost)
        assert again == (_all_trained(row) if last_only else row)


def _all_trained(row: Any) -> Any:
    return msgspec.structs.replace(
        row, messages=tuple(msgspec.structs.replace(turn, train=True) for turn in row.messages)
    )


def writable(row: Row, format: str, kind: str) -> bool:
    """Whether some layout holds the row."""
    for layout in FORMATS[format].layouts[kind]:
        try:
            layout.write(row)
            return True
        except Unwritable:
            continue
    return False


# What is not written, and why

USER, REPLY = Message(role="user", content="Where?"), Message(role="assistant", content="Here.")
OTHER = Message(role="assistant", content="There.")
CALLS = Message(role="assistant", content="", tool_calls=(call(1),))
RESULT = Message(role="tool", content="in transit", tool_call_id="c1")


def pair(*prompt: Message, chosen: Turns = (REPLY,)) -> Preference:
    return Preference(id="p", prompt=prompt or (USER,), chosen=chosen, rejected=(OTHER,))


def talk(*messages: Message) -> Demonstration:
    return Demonstration(id="d", messages=messages)


def untrained(turn: Message) -> Message:
    return msgspec.structs.replace(turn, train=False)


SYSTEM = Message(role="system", content="")
NAMELESS = Message(
    role="assistant", content="", tool_calls=({"type": "function", "function": {"name": "x"}, "id": "c1"},)
)
TWO_CALLS = Message(role="assistant", content="", tool_calls=(call(1), call(2)))
REFUSED: list[tuple[str, Row, str]] = [
    ("openai", pair(USER, msgspec.structs.replace(CALLS, tool_calls=({"function": {}},)), RESULT), "call_without_id"),
    ("openai", pair(USER, CALLS, msgspec.structs.replace(RESULT, tool_call_id=None)), "call_without_id"),
    ("openai", pair(USER, NAMELESS, RESULT), "not_a_function"),
    ("openai", pair(chosen=(CALLS, RESULT, REPLY)), "several_turns"),
    ("llama-factory", pair(chosen=(msgspec.structs.replace(CALLS, content="Wait."),)), "content_with_calls"),
    ("llama-factory", pair(USER, TWO_CALLS, RESULT, RESULT), "parallel_results"),
    ("llama-factory", pair(chosen=(NAMELESS,)), "not_a_function"),
    ("llama-factory", pair(SYSTEM, USER), "empty_text"),
    ("llama-factory", talk(USER, REPLY, USER), "open_end"),
    ("llama-factory", talk(USER, REPLY, USER, untrained(OTHER)), "partly_trained"),
    ("trl", talk(USER, REPLY, USER, untrained(OTHER)), "partly_trained"),
    ("trl", talk(USER, untrained(REPLY), USER, OTHER, USER, REPLY), "partly_trained"),
    ("axolotl", pair(USER, CALLS, RESULT), "tool_turns"),
    ("axolotl", pair(chosen=(CALLS, RESULT, REPLY)), "several_turns"),
    ("axolotl", Feedback(id="f", prompt=(USER, REPLY, USER), completion=(OTHER,), label=True), "several_turns"),
    ("hh", pair(SYSTEM, USER), "system_turn"),
    ("hh", pair(Message(role="user", content="What is\n\nHuman: ?")), "marker_in_text"),
    ("hh", pair(USER, CALLS, RESULT), "tool_turns"),
]


@pytest.mark.parametrize(("format", "row", "code"), REFUSED, ids=[f"{case[0]}: {case[2]}" for case in REFUSED])
def test_a_row_that_would_be_changed_is_not_written(format: str, row: Row, code: str) -> None:
    kind = type(row).__name__.lower()
    codes = set()
    for layout in FORMATS[format].layouts[kind]:
        with pytest.raises(Unwritable) as caught:
            layout.write(row)
        codes.add(caught.value.code)
    assert code in codes


def test_every_reason_is_met() -> None:
    assert {case[2] for case in REFUSED} == UNWRITABLE.keys()


@pytest.mark.parametrize(("format", "kind"), PAIRS)
def test_a_snippet_names_the_file(format: str, kind: str) -> None:
    for layout in FORMATS[format].layouts[kind]:
        assert layout.snippet.count("FILE") == 1
        if format == "llama-factory":
            entry = layout.snippet.partition(":\n")[2]
            (found,) = json.loads(f"{{{entry}}}").values()
            assert found["columns"]["messages"] == "conversations"
        elif format in ("trl", "hh"):
            compile(layout.snippet, "snippet", "exec")
        elif format == "openai":
            assert json.loads(layout.snippet)["method"]
        else:
            import yaml

            (found,) = yaml.safe_load(layout.snippet)["datasets"]
            assert found["path"] == "FILE"


def test_a_written_file_loads_as_trainers_load_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets, the extra `hub`, is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    plain = pair(USER)
    tooled = msgspec.structs.replace(pair(USER, CALLS, RESULT), id="q", tools=(TOOL,), template_kwargs={"x": True})
    write([plain, tooled], tmp_path / "rows.jsonl")
    for format in ("trl", "llama-factory"):
        report = export(tmp_path / "rows.jsonl", to=format, out=tmp_path / f"{format}.jsonl")
        found = datasets.load_dataset("json", data_files=str(report.out), split="train")
        assert len(found) == 2
        assert json.loads(found[1]["tools"])
        assert not found[0]["tools"]
