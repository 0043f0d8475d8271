"""Pairs as HH-RLHF has them: two whole dialogues, each in one text."""

from __future__ import annotations

from fairlead.data.formats.hh import MARKER, text_with, turns_in
from fairlead.data.formats.layouts import LOAD, Layout, Unwritable, Written, lost_in, only_turn, plain_message
from fairlead.data.records import Preference, Turns


def write_pair(row: Preference) -> Written:
    """chosen and rejected. Raises `Unwritable` where reading the texts would give other turns."""
    only_turn(row.chosen)
    only_turn(row.rejected)
    written = {"chosen": _text(row.prompt + row.chosen), "rejected": _text(row.prompt + row.rejected)}
    return Written(written, lost_in(row.prompt + row.chosen + row.rejected, "name", "train"))


def _text(turns: Turns) -> str:
    plain = [plain_message(turn) for turn in turns]
    if plain[0]["role"] == "system":
        raise Unwritable("system_turn")
    text = text_with([(turn["role"], turn["content"]) for turn in plain])
    if any(MARKER.search(turn["content"]) for turn in plain) or turns_in(text, "") != plain:
        raise Unwritable("marker_in_text")
    return text


LAYOUTS = {
    "preference": (
        Layout(
            name="pairs",
            write=write_pair,
            snippet=LOAD,
        ),
    ),
}
