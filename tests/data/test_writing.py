"""Writing: what is written is what is read, and nothing half-written is left behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.data.reading import read
from fairlead.data.records import Candidates, Demonstration, Message, Preference
from fairlead.data.writing import write
from fairlead.errors import DataError, MachineError
from tests.data.samples import CALL, ROWS, TOOL, read_rows

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
tool = st.just(TOOL)
prompt = text.map(lambda words: (Message(role="user", content=words),))
with_system = st.tuples(text, text).map(
    lambda pair: (Message(role="system", content=pair[0]), Message(role="user", content=pair[1]))
)
calling = st.just(Message(role="assistant", content="", tool_calls=(CALL,)))
answer = st.one_of(text.map(lambda words: Message(role="assistant", content=words)), calling).map(lambda turn: (turn,))
common: dict[str, Any] = {
    "id": text,
    "tools": st.lists(tool, max_size=1).map(tuple),
    "template_kwargs": st.dictionaries(text, json_value, max_size=1),
    "weight": st.floats(0, 10),
    "meta": st.dictionaries(text.filter(lambda key: key != "unplaced"), json_value, max_size=2),
}
preferences = st.builds(
    Preference,
    prompt=prompt | with_system,
    chosen=answer,
    rejected=answer,
    margin=st.none() | st.floats(-5, 5),
    **common,
).filter(lambda row: row.chosen != row.rejected)
demonstrations = st.builds(
    Demonstration, messages=st.tuples(prompt, answer).map(lambda parts: parts[0] + parts[1]), **common
)
kinds = st.sampled_from([preferences, demonstrations])
row_lists = kinds.flatmap(lambda rows: st.lists(rows, min_size=1, max_size=4, unique_by=lambda row: row.id))


@given(row_lists)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_back_as_they_were(tmp_path: Path, rows: list[Any]) -> None:
    write(rows, tmp_path / "rows.jsonl")
    dataset = read(tmp_path / "rows.jsonl")
    assert list(dataset.rows) == rows
    assert dataset.ledger.summary()["ok"] == len(rows)


@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_comes_back_and_writing_again_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    rows = read_rows(tmp_path, ROWS[kind] | {"tools": [TOOL], "segment": "x", "weight": 0.25}).rows
    write(rows, tmp_path / "one.jsonl")
    again = read(tmp_path / "one.jsonl")
    assert (again.rows, again.kind) == (rows, kind)
    write(again.rows, tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_a_prompt_without_candidates_comes_back(tmp_path: Path) -> None:
    row = Candidates(id="p", prompt=(Message(role="user", content="Where?"),), meta={"segment": "x"})
    write([row], tmp_path / "prompts.jsonl")
    assert read(tmp_path / "prompts.jsonl").rows == (row,)


def bad_rows(fault: str) -> list[Any]:
    good = Demonstration(id="a", messages=(Message(role="user", content="b"), Message(role="assistant", content="c")))
    if fault == "not_finite":
        return [good, msgspec.structs.replace(good, meta={"score": math.nan})]
    if fault == "lone_surrogate":
        return [good, msgspec.structs.replace(good, meta={"text": "\ud800"})]
    return [good, Candidates(id="p", prompt=good.messages[:1])]


@pytest.mark.parametrize("fault", ["not_finite", "lone_surrogate", "wrong_kind"])
def test_what_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path, fault: str) -> None:
    target = tmp_path / "rows.jsonl"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        write(bad_rows(fault), target)
    assert caught.value.code == fault
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_not_there_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be written"):
        write([], tmp_path / "none" / "rows.jsonl")


def test_only_json_lines_are_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"end the name in \.jsonl"):
        write([], tmp_path / "rows.csv")
