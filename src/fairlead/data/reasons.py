"""Every reason code that a row or a file can meet, in one literal table: what it means, what to do, how the row ends.

Outcomes: `fixed` the row is kept, changed as stated; `quarantined` the row is left out; `counted` the row is kept
unchanged and reported; `refused` the input as a whole is an error (`DataError`). docs/rows.md lists these codes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["fixed", "quarantined", "counted", "refused"]


class Reason(NamedTuple):
    """What a code means, how the row ends, and what its owner can do about it."""

    outcome: Outcome
    meaning: str
    remedy: str


RESAVE = "Write the file again as UTF-8 JSON Lines with a JSON library."

REASONS: dict[str, Reason] = {
    # The input as a whole.
    "missing_file": Reason("refused", "the file does not exist or cannot be opened", "Check the path."),
    "unknown_extension": Reason(
        "refused",
        "the file's ending names no format that is read",
        "Use .jsonl, .json, .csv or .parquet (or .gz of it).",
    ),
    "corrupt_file": Reason(
        "refused", "the file is damaged or cut short as a whole", "Make or download it again; compare its checksum."
    ),
    "empty_file": Reason("refused", "the file holds no rows", "Check the path and what wrote the file."),
    "only_bad_rows": Reason("refused", "no row is left to use", "Repair the rows that the ledger lists."),
    "too_many_quarantined": Reason(
        "refused", "more rows are quarantined than the limit allows", "Repair the rows, or raise the limit knowingly."
    ),
    # A line, an element or a record that cannot be decoded.
    "invalid_utf8": Reason("quarantined", "the line is not valid UTF-8", RESAVE),
    "utf16": Reason("quarantined", "the line is UTF-16 text", "Convert the file to UTF-8 (iconv -f UTF-16 -t UTF-8)."),
    "raw_nul": Reason("quarantined", "the line holds a raw NUL byte", RESAVE),
    "lone_surrogate": Reason("quarantined", "a text holds half of a surrogate pair, which is no character", RESAVE),
    "truncated_line": Reason("quarantined", "the last line ends in the middle of a value", "Write the last row again."),
    "not_json": Reason("quarantined", "the line is not JSON", "Write one JSON object per line."),
    "not_object": Reason(
        "quarantined", "the line is JSON, but no object", "Write each row as {...} with named fields."
    ),
    "duplicate_key": Reason(
        "quarantined", "an object names the same key twice, so one value would be lost", "Keep one of the two."
    ),
    "line_too_long": Reason("quarantined", "the line is longer than 64 MiB", "Split the row or leave it out."),
    "too_deep": Reason("quarantined", "values are nested deeper than 200 levels", "Flatten the row."),
    "csv_record": Reason(
        "quarantined", "the CSV record has stray quotes or another number of cells than the header", "Quote its cells."
    ),
    # The shape of a row.
    "unknown_shape": Reason(
        "quarantined", "the row's keys fit no known format", "Name the format or kind, or rename keys (docs/rows.md)."
    ),
    "wrong_kind": Reason(
        "quarantined", "the row is of another kind than the rest, or than was asked for", "Keep one kind per file."
    ),
    "missing_field": Reason("quarantined", "a required field is absent or null", "Add the field."),
    "bad_field": Reason("quarantined", "a field has the wrong type or value", "Write it as docs/rows.md says."),
    "json_text": Reason("fixed", "a field held JSON as text; it was parsed", "Write the value itself, not its text."),
    "unplaced_keys": Reason(
        "fixed",
        "keys inside a message, annotation or candidate that have no place there went to meta.unplaced",
        "Move them to meta, or drop them.",
    ),
    "meta_key_clash": Reason(
        "fixed",
        "an unknown key is also in meta with another value; it went to meta as row.<key>",
        "Keep one of the two.",
    ),
    "duplicate_id": Reason(
        "fixed", "several rows share the id; a hash of the content was added to it", "Give each row its own id."
    ),
    "duplicate_row": Reason(
        "counted", "another row without an id has exactly the same content", "Drop the repetition."
    ),
    # Texts, roles and turns.
    "not_text": Reason(
        "quarantined", "a text is null, a number, a boolean, a list or an object", "Write it as a string."
    ),
    "role_alias": Reason(
        "fixed", "a role's other name was mapped (human to user, gpt to assistant, …)", "Use the role."
    ),
    "unknown_role": Reason("quarantined", "a role is none of system, user, assistant, tool", "Use one of the four."),
    "empty_prompt": Reason("quarantined", "the prompt has no user turn with text", "Add what was asked."),
    "empty_completion": Reason("quarantined", "a completion has no text and no tool call", "Add the answer."),
    "empty_candidate": Reason(
        "counted",
        "a candidate ends with an empty reply: the model ended its turn at once",
        "Look at how it was sampled.",
    ),
    "system_not_first": Reason("quarantined", "a system turn stands after the first turn", "Move it to the front."),
    "same_role_twice": Reason(
        "quarantined", "two user or two assistant turns follow each other", "Merge the two turns."
    ),
    "assistant_first": Reason("quarantined", "the dialogue begins with an assistant turn", "Begin with a user turn."),
    "tool_result_without_call": Reason(
        "quarantined",
        "a tool turn answers no call of the assistant turn before it",
        "Add the call, or drop the result.",
    ),
    "tool_call_unanswered": Reason(
        "quarantined", "the dialogue goes on though a tool call has no result", "Add a tool turn for each call."
    ),
    "bad_prompt_end": Reason(
        "quarantined", "the prompt ends with an assistant turn", "End it with the user or tool turn to be answered."
    ),
    "bad_completion_turns": Reason(
        "quarantined", "a completion is not assistant, or assistant/tool/…/assistant", "Move other turns to the prompt."
    ),
    "no_assistant_turn": Reason("quarantined", "no assistant turn is to be trained", "Add one, or drop the row."),
    "text_without_turns": Reason(
        "quarantined", "a plain text does not say who speaks", "Write messages, or prompt and completion."
    ),
    # Prompts and completions of one row.
    "prompt_repeated": Reason(
        "fixed", "a completion began with the prompt's turns; they were stripped", "Keep the prompt out of completions."
    ),
    "prompt_echoed": Reason(
        "counted",
        "every completion begins with the text of the prompt's last turn",
        "Strip it if it is no part of them.",
    ),
    "not_only_text": Reason(
        "quarantined", "the row holds images, videos or audio", "Leave it out; models here read text only."
    ),
    "implicit_prompt_text": Reason(
        "quarantined", "chosen and rejected are plain texts without a prompt: where it ends is a guess", "Add a prompt."
    ),
    "implicit_prompt_unshared": Reason(
        "quarantined", "chosen and rejected do not part at an assistant turn after shared turns", "Add a prompt."
    ),
    "identical_pair": Reason(
        "quarantined", "chosen and rejected are the same", "Drop the pair, or restore the answers."
    ),
    # Labels and numbers.
    "label_word": Reason(
        "fixed", "a label was written as a word or number and mapped", "Write it as docs/rows.md says."
    ),
    "bad_label": Reason("quarantined", "a label is none of the documented values", "Write it as docs/rows.md says."),
    "bad_ranking": Reason(
        "quarantined",
        "a ranking, best or worst names no candidate of the row, one twice, or contradicts itself",
        "Name each candidate by its id, once.",
    ),
    "annotation_left_out": Reason(
        "fixed",
        "an annotation without a verdict (a draft, discarded, cancelled) went to meta.left_out",
        "Export submitted annotations only.",
    ),
    "number_text": Reason("fixed", "a number was written as text; it was read", "Write it without quotes."),
    "not_finite": Reason("quarantined", "a number is NaN or infinite", "Write a finite number, or null where allowed."),
    "not_a_number": Reason("quarantined", "a field that is to be a number is not", "Write a number without quotes."),
    "out_of_range": Reason("quarantined", "a weight or a duration is negative", "Write a number of at least 0."),
    # The check of the tokenised targets, what is really trained on.
    "prompt_turns_dropped": Reason(
        "fixed", "the oldest turns of a long prompt were left out, system turn kept", "Raise data.max_prompt_length."
    ),
    "prompt_too_long": Reason(
        "quarantined",
        "the prompt is too long and no whole turn can be left out",
        "Shorten it, or raise data.max_length.",
    ),
    "completion_truncated": Reason(
        "fixed", "a long completion was cut and has no end token", "Raise data.max_completion_length."
    ),
    "completion_too_long": Reason(
        "quarantined",
        "the completion is longer than the limit",
        "Raise the limit, or set data.long_completion: truncate.",
    ),
    "identical_after_truncation": Reason(
        "quarantined", "chosen and rejected have the same tokens once cut", "Raise data.max_completion_length."
    ),
    "no_trained_tokens": Reason("quarantined", "no token of the row would be trained", "Look at it with show-tokens."),
    "control_text": Reason(
        "counted", "a text spells a special token; it is tokenised as plain text", "Strip it where it is left over."
    ),
    "doubled_bos": Reason(
        "quarantined",
        "the rendered prompt has two begin tokens",
        "Drop one from the template or from the prompt's text.",
    ),
    "template_failed": Reason("quarantined", "the chat template refuses the row", "Read its message; change either."),
    "template_ignores_tools": Reason(
        "quarantined",
        "the chat template renders the same with and without tools",
        "Use a template with tools, or write them into the system turn.",
    ),
    "template_rewrites_history": Reason(
        "quarantined",
        "the chat template changes earlier turns, so the prompt is no prefix of the whole",
        "Use a template that leaves them, or one row per assistant turn.",
    ),
}
