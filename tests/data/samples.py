"""Rows of every kind, as JSON has them, and how tests put them into files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairlead.data.reading import Dataset, read

Json = dict[str, Any]


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def assistant(content: Any) -> Json:
    return {"role": "assistant", "content": content}


CALL = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": {"order": 7}}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "in transit", "name": "track", "tool_call_id": "c1"}
TOOL = {"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}

QUESTION = [user("Where is my parcel?")]
PAIR = {"prompt": QUESTION, "chosen": [assistant("On its way.")], "rejected": [assistant("So sorry!")]}
THUMB = {"prompt": QUESTION, "completion": [assistant("On its way.")], "label": True}
DIALOGUE = {"messages": [*QUESTION, assistant("On its way.")]}
CANDIDATES = {
    "prompt": QUESTION,
    "candidates": [
        {
            "id": "x",
            "messages": [assistant("On its way.")],
            "model": "m",
            "sampling": {"seed": 1},
            "scores": {"r": 0.5},
        },
        {"id": "y", "messages": [assistant("Tomorrow.")]},
    ],
}
JUDGEMENT = {
    "prompt": QUESTION,
    "response_a": [assistant("On its way.")],
    "response_b": [assistant("Tomorrow.")],
    "annotations": [
        {"annotator": "ann", "label": "a", "strength": 2, "at": "2026-01-31T16:59:52Z", "seconds": 3.5, "shown": "ba"}
    ],
    "label": "a",
}
RANKING = CANDIDATES | {
    "annotations": [
        {
            "annotator": "ann",
            "ranking": [["y"], ["x"]],
            "at": "2026-01-31T16:59:52Z",
            "seconds": 9,
            "shown": ["x", "y"],
        },
        {"annotator": "bea", "best": "y", "worst": "x", "rubric": "3", "note": "shorter"},
    ],
    "ranking": [["y"], ["x"]],
}
EDIT = {"prompt": QUESTION, "draft": [assistant("So sorry!")], "edited": [assistant("On its way.")], "editor": "ann"}

ROWS: dict[str, Json] = {
    "preference": PAIR,
    "feedback": THUMB,
    "demonstration": DIALOGUE,
    "candidates": CANDIDATES,
    "judgement": JUDGEMENT,
    "ranking": RANKING,
    "edit": EDIT,
}


def lines(*rows: Json) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read_bytes(folder: Path, data: bytes, name: str = "rows.jsonl", **options: Any) -> Dataset:
    """What `read` makes of a file with these bytes."""
    path = folder / name
    path.write_bytes(data)
    return read(path, **options)


def read_rows(folder: Path, *rows: Json, **options: Any) -> Dataset:
    return read_bytes(folder, lines(*rows), **options)
