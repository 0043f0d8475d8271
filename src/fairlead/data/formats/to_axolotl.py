"""Rows as Axolotl reads them: chat_template for dialogues and preferences, prompt_pairs for KTO."""

from __future__ import annotations

from fairlead.data.formats.layouts import (
    Layout,
    Unwritable,
    Written,
    lost_in,
    message,
    only_turn,
    plain_message,
    without_system,
)
from fairlead.data.records import Demonstration, Feedback, Preference

YAML = """\
{rl}datasets:
  - path: FILE
    ds_type: json
    split: train
    type: {type}
{more}"""


def write_preference(row: Preference) -> Written:
    """messages, and the two turns that may follow; roles and texts are all that the strategy reads."""
    written = {
        "messages": [plain_message(turn) for turn in row.prompt],
        "chosen": plain_message(only_turn(row.chosen)),
        "rejected": plain_message(only_turn(row.rejected)),
    }
    return Written(written, lost_in(row.prompt + row.chosen + row.rejected, "name", "train"))


def write_kto(row: Feedback) -> Written:
    """system, prompt, completion, label: one question and one answer."""
    system, turns = without_system(row.prompt)
    question, answer = plain_message(only_turn(turns)), plain_message(only_turn(row.completion))
    written = {"system": system, "prompt": question["content"], "completion": answer["content"], "label": row.label}
    if not system and len(turns) < len(row.prompt):
        raise Unwritable("empty_text")
    return Written(written, lost_in(row.prompt + row.completion, "name", "train"))


def write_dialogue(row: Demonstration) -> Written:
    """messages, those that are not to be trained marked so; tools in their own column."""
    turns = [message(turn) | ({} if turn.train else {"train": False}) for turn in row.messages]
    return Written({"messages": turns} | ({"tools": list(row.tools)} if row.tools else {}))


_FIELDS = """\
    field_messages: messages
    message_property_mappings:
      role: role
      content: content
"""

LAYOUTS = {
    "preference": (
        Layout(
            name="chat_template.default",
            write=write_preference,
            snippet=YAML.format(
                rl="rl: dpo\n",
                type="chat_template.default",
                more=_FIELDS + "    field_chosen: chosen\n    field_rejected: rejected\n",
            ),
        ),
    ),
    "feedback": (
        Layout(
            name="chatml.prompt_pairs",
            write=write_kto,
            snippet=YAML.format(rl="rl: kto\n", type="chatml.prompt_pairs  # or llama3.prompt_pairs", more=""),
        ),
    ),
    "demonstration": (
        Layout(
            name="chat_template",
            write=write_dialogue,
            snippet=YAML.format(
                rl="",
                type="chat_template",
                more=_FIELDS + '    message_field_training: train\n    roles_to_train: ["assistant"]\n',
            ),
            holds=frozenset({"tools"}),
        ),
    ),
}
