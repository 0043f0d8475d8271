from __future__ import annotations

from fairlead.data.records import Message
from fairlead.data.texts import normalized, text_of, words


def test_text_of_turns() -> None:
    turns = (Message(role="assistant", content="One."), Message(role="tool", content="2"))
    assert text_of(turns[:1]) == "One."
    assert text_of(turns) == "One.\n2"
    assert text_of(()) == ""


def test_words_and_normalized() -> None:
    assert words(" On its\n way. ") == ["On", "its", "way."]
    assert normalized(" Ästhetik  STRASSE\n") == normalized("ästhetik strasse") == normalized("ästhetik straße")
