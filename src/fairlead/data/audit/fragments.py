"""Are completions whole: not a diff of what they should be, not a piece of it.

A completion is what the model is to say, from its first word to its last. The rules are these:

- a diff: the marks of a unified diff (`@@ -1 +1 @@`, `diff --git`, `---` over `+++`), of a merge conflict or of a word
  diff (`[-old-]{+new+}`), outside of code fences, where the prompt does not speak of diffs;
- a join: a line that is only `...` or `[...]`, an opening `...`, or a note such as "rest unchanged", where the other
  completion has none;
- a continuation: it begins with a word in small letters or with closing punctuation, though its other sentences, two or
  more, and the other completion begin with a capital, and the word I is written large;
- a piece: it stands, whole, inside of the other completion, and begins or ends within one of its words or, at the
  beginning, within a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import share_finding
from fairlead.data.audit.items import completions_of
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.split import prompt_text

KINDS = {
    "diff_completions": Kind(
        title="Diffs posing as completions",
        meaning="share of rows with a completion that is a diff, though the prompt asks for none",
        remedy="Apply the diff and store the whole text: the model learns to write what it is shown.",
    ),
    "fragments": Kind(
        title="Fragments posing as completions",
        meaning="share of rows with a completion that looks like a piece: joined by `...`, or begun in the middle",
        remedy="Restore the whole turn from where the rows come from, or leave these out.",
    ),
}

FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
DIFF = re.compile(
    r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@|^diff --git |^--- [^\n]+\n\+\+\+ "
    r"|^<{7} .*\n(?:.*\n)*?={7}$|\[-.+?-\]\s*\{\+.+?\+\}",
    re.MULTILINE,
)
ASKS_FOR_DIFF = re.compile(r"\b(?:diffs?|patch(?:es)?|hunks?|git|merge conflicts?)\b", re.IGNORECASE)
JOIN = re.compile(
    r"\A\s*(?:\.\.\.|…)|^[ \t]*\[?(?:\.\.\.|…)\]?[ \t]*$"
    r"|\b(?:rest|remainder)(?: of (?:the )?\w+)? (?:is |are |stays? |remains? )?(?:the same|unchanged|as before)\b"
    r"|(?:\.\.\.|…) ?(?:existing|remaining|unchanged|rest of)\b",
    re.MULTILINE | re.IGNORECASE,
)
SMALL_WORD = re.compile(r"[^\W\d_]+(?=[\s,;:]|\Z)")
CLOSING = (",", ";", ":", ")", "]", "%")
SENTENCE = re.compile(r"[.!?][\"')\]]?\s+([^\W\d_])")
SMALL_I = re.compile(r"\bi\b(?!\.)")
SHORTEST_PIECE = 12  # characters; a shorter text may stand in another by chance


def fragments(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Rows with a completion that is a diff, and rows with one that is a fragment."""
    n = len(material.rows)
    diffs: list[str] = []
    pieces: dict[str, list[str]] = {}
    for row in material.ordered_rows:
        completions = completions_of(row)
        if any(map(is_diff, completions)) and not ASKS_FOR_DIFF.search(prompt_text(row)):
            diffs.append(row.id)
        for place, text in enumerate(completions):
            other = completions[1 - place] if len(completions) == 2 else None
            if rule := broken_rule(text, other):
                pieces.setdefault(row.id, []).append(rule)
    if not n:
        return
    yield share_finding(
        "diff_completions",
        len(diffs),
        n,
        warning=settings.diffs_warning,
        error=settings.diffs_error,
        rows=diffs,
        detail=f"{len(diffs):,} of {n:,} rows",
    )
    counts = {rule: sum(rule in rules for rules in pieces.values()) for rule in ("join", "continuation", "piece")}
    yield share_finding(
        "fragments",
        len(pieces),
        n,
        warning=settings.fragments_warning,
        error=settings.fragments_error,
        rows=[*pieces],
        detail=f"joined by ... {counts['join']:,}, begun in the middle {counts['continuation']:,}, "
        f"a piece of the other side {counts['piece']:,}",
        data={"rules": counts},
    )


def is_diff(text: str) -> bool:
    """Whether a text has the marks of a diff outside of code fences."""
    return ("\n" in text or "{+" in text) and DIFF.search(FENCED.sub("", text)) is not None


def broken_rule(text: str, other: str | None) -> str:
    """join, continuation or piece, by the rules above; "" for a text that is whole as far as they can tell.

    other: the completion it is compared with, None where there is none; then only the rule for joins applies.
    """
    text = text.strip()
    plain = FENCED.sub("", text)
    if JOIN.search(plain) and not (other is not None and JOIN.search(FENCED.sub("", other))):
        return "join"
    if other is None or not text:
        return ""
    other = other.strip()
    if _begins_in_the_middle(text) and _begins_with_capital(other) and _keeps_sentences(text):
        return "continuation"
    return "piece" if _is_piece(text, other) else ""


def _begins_in_the_middle(text: str) -> bool:
    word = SMALL_WORD.match(text)
    return text.startswith(CLOSING) or (word is not None and word[0].islower())


def _begins_with_capital(text: str) -> bool:
    first = next((letter for letter in text if letter.isalpha()), "")
    return first.isupper()


def _keeps_sentences(text: str) -> bool:
    """Whether there are two further sentences or more, each with a capital: who writes so begins with one too."""
    letters = SENTENCE.findall(text)
    return len(letters) > 1 and all(map(str.isupper, letters)) and not SMALL_I.search(text)


def _is_piece(text: str, other: str) -> bool:
    at = other.find(text) if SHORTEST_PIECE <= len(text) < len(other) else -1
    if at < 0:
        return False
    before, behind = other[:at], other[at + len(text) :]
    cut_at_end = text[-1].isalnum() and behind[:1].isalnum()
    cut_at_start = text[0].isalnum() and before[-1:].isalnum()
    within_sentence = bool(before) and text[0].islower() and not before.rstrip().endswith((".", "!", "?", ":"))
    return cut_at_end or cut_at_start or within_sentence
