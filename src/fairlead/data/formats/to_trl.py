"""Rows as TRL's trainers read them: its conversational types."""

from __future__ import annotations

from fairlead.data.formats.layouts import (
    LOAD,
    Layout,
    Unwritable,
    Written,
    is_trained_whole,
    lost_in,
    message,
    trained_from,
)
from fairlead.data.formats.shapes import Json
from fairlead.data.records import Candidates, Demonstration, Feedback, Preference, Row, Turns
from fairlead.identity import canonical_json

SNIPPET = """\
from datasets import load_dataset
from trl import {config}, {trainer}

rows = load_dataset("json", data_files="FILE", split="train")
trainer = {trainer}(model="MODEL", args={config}(output_dir="out"{more}), train_dataset=rows)
trainer.train()
"""
HOLDS = frozenset({"tools", "template_kwargs"})
FILL: Json = {"tools": None, "chat_template_kwargs": {}, "margin": 0.0}


def _turns(turns: Turns) -> list[Json]:
    return [message(turn) for turn in turns]


def _common(row: Row) -> Json:
    """Tools as JSON text, since columns of a table have one type; arguments of the template under TRL's name."""
    tools = {"tools": canonical_json(list(row.tools)).decode()} if row.tools else {}
    return tools | ({"chat_template_kwargs": row.template_kwargs} if row.template_kwargs else {})


def write_preference(row: Preference) -> Written:
    """prompt, chosen, rejected; margin, which the reward trainer reads."""
    written = {"prompt": _turns(row.prompt), "chosen": _turns(row.chosen), "rejected": _turns(row.rejected)}
    margin = {} if row.margin is None else {"margin": row.margin}
    return Written(written | margin | _common(row), lost_in(row.prompt + row.chosen + row.rejected, "train"))


def write_feedback(row: Feedback) -> Written:
    """prompt, completion, label."""
    written = {"prompt": _turns(row.prompt), "completion": _turns(row.completion), "label": row.label}
    return Written(written | _common(row), lost_in(row.prompt + row.completion, "train"))


def write_messages(row: Demonstration) -> Written:
    """messages, all of whose assistant turns are trained."""
    if not is_trained_whole(row):
        raise Unwritable("partly_trained")
    others = tuple(turn for turn in row.messages if turn.role != "assistant")
    return Written({"messages": _turns(row.messages)} | _common(row), lost_in(others, "train"))


def write_completion(row: Demonstration) -> Written:
    """prompt and completion: what is trained comes after all that is not."""
    start = trained_from(row)
    if any(turn.role == "user" for turn in row.messages[start:]):
        raise Unwritable("partly_trained")
    written = {"prompt": _turns(row.messages[:start]), "completion": _turns(row.messages[start:])}
    others = tuple(turn for turn in row.messages if turn.role != "assistant")
    return Written(written | _common(row), lost_in(others, "train"))


def write_prompt(row: Candidates) -> Written:
    """The prompt, for trainers that sample."""
    lost = ("candidates",) if row.candidates else ()
    return Written({"prompt": _turns(row.prompt)} | _common(row), lost + lost_in(row.prompt, "train"))


def _snippet(trainer: str, more: str = "") -> str:
    return SNIPPET.format(trainer=f"{trainer}Trainer", config=f"{trainer}Config", more=more)


LAYOUTS = {
    "preference": (
        Layout(
            name="preference, conversational",
            write=write_preference,
            snippet=_snippet("DPO"),
            holds=HOLDS | {"margin"},
            fill=FILL,
        ),
    ),
    "feedback": (
        Layout(
            name="unpaired preference, conversational",
            write=write_feedback,
            snippet=_snippet("KTO"),
            holds=HOLDS,
            fill=FILL,
        ),
    ),
    "demonstration": (
        Layout(
            name="language modelling, conversational",
            write=write_messages,
            snippet=_snippet("SFT", ", assistant_only_loss=True"),
            holds=HOLDS,
            fill=FILL,
        ),
        Layout(
            name="prompt-completion, conversational",
            write=write_completion,
            snippet=_snippet("SFT"),
            holds=HOLDS,
            fill=FILL,
        ),
    ),
    "candidates": (
        Layout(
            name="prompt-only, conversational",
            write=write_prompt,
            snippet=LOAD,
            holds=HOLDS,
            fill=FILL,
        ),
    ),
}
