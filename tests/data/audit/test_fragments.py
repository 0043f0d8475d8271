"""Fragments and diffs: every planted one is found by its rule, and whole texts are left alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from fairlead.data.audit.findings import Finding
from fairlead.data.audit.fragments import KINDS, broken_rule, fragments, is_diff
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.records import Edit, Row
from tests.data.audit.planted import GOOD, assistant, changed, clean_pairs, judged, thumbs, user

DIFFS = [
    "@@ -1,3 +1,4 @@\n Dear customer,\n-your parcel is lost\n+your parcel is on its way",
    "diff --git a/reply.txt b/reply.txt\nindex 1..2",
    "--- draft\n+++ edited\n-a\n+b",
    "<<<<<<< draft\nYour parcel is lost.\n=======\nYour parcel is on its way.\n>>>>>>> edited",
    "Your parcel [-is lost-]{+is on its way+}.",
]
WHOLE = "Your parcel left the depot. It arrives on Monday. You can follow it online."
FRAGMENTS = {
    "Your parcel left the depot.\n...\nYou can follow it online.": "join",
    "Your parcel left the depot.\n[…]\nBye.": "join",
    "...and it arrives on Monday.": "join",
    "Your parcel left the depot. The rest of the message stays the same.": "join",
    "def reply():\n    # ... existing code ...\n    return 1": "join",
    "and then it was sent on. It arrives on Monday. You can follow it.": "continuation",
    ", which left the depot. It arrives on Monday. You can follow it.": "continuation",
    "l left the depot. It arrives": "piece",
    "Your parcel left the dep": "piece",
    "left the depot. It arrives on Monday.": "piece",
}
NOT_FRAGMENTS = [
    WHOLE,
    "Your parcel left the depot.",
    "It arrives on Monday.",
    "Well... it arrives on Monday. Or so... we hope...",
    "no idea lol",
    "i think it left. It arrives. You can follow it. i am sure.",
    "iPhone parcels left the depot. They arrive on Monday. You can follow them.",
    "npm_install left the depot. It arrives on Monday. You can follow it.",
    "```\nfirst\n...\nlast\n```\nThis shows the middle left out.",
    "",
]


def findings(rows: Sequence[Row]) -> dict[str, Finding]:
    found = list(fragments(Material(rows=rows), AuditSettings()))
    assert {finding.code for finding in found} <= KINDS.keys()
    return {finding.code: finding for finding in found}


@pytest.mark.parametrize(
    "rows", [clean_pairs(), judged(GOOD), thumbs(clean_pairs())], ids=["pairs", "judged", "thumbs"]
)
def test_a_clean_set_has_none(rows: list[Row]) -> None:
    found = findings(rows)
    assert list(found) == list(KINDS)
    assert all((finding.value, finding.severity, finding.rows) == (0, "note", ()) for finding in found.values())


@pytest.mark.parametrize("text", DIFFS)
def test_a_diff(text: str) -> None:
    assert is_diff(text)
    assert not is_diff(f"Like this:\n```diff\n{text}\n```\nDone.")


@pytest.mark.parametrize(
    "text", [WHOLE, "- one\n- two\n+ three", "a --- b\n---\n+++\n", "x[-1] + {+1}", "@@ not a hunk @@", "=======\n"]
)
def test_no_diff(text: str) -> None:
    assert not is_diff(text)


def test_every_diff_is_found_but_where_one_is_asked_for() -> None:
    pairs = clean_pairs()
    planted = [changed(row, id=f"d{n}", chosen=DIFFS[n % 5]) for n, row in enumerate(pairs[:10])]
    planted += [changed(row, id=f"e{n}", rejected=DIFFS[n % 5]) for n, row in enumerate(pairs[:10])]
    asked = [changed(row, id=f"{row.id}-x", prompt=user("Show me the diff."), chosen=DIFFS[0]) for row in pairs[:10]]
    found = findings([*pairs, *planted, *asked])["diff_completions"]
    assert set(found.rows) == {row.id for row in planted}
    assert found.severity == "warning"
    assert findings(planted)["diff_completions"].severity == "error"


def test_an_edit_that_is_a_diff() -> None:
    edit = Edit(id="e", prompt=user("Where is it?"), draft=assistant("Lost."), edited=assistant(DIFFS[0]))
    assert findings([edit])["diff_completions"].rows == ("e",)


@pytest.mark.parametrize("text", FRAGMENTS)
def test_a_fragment(text: str) -> None:
    assert broken_rule(text, WHOLE) == FRAGMENTS[text]


@pytest.mark.parametrize("text", NOT_FRAGMENTS)
def test_no_fragment(text: str) -> None:
    assert broken_rule(text, WHOLE) == ""


def test_what_both_sides_do_is_a_style() -> None:
    assert broken_rule("...\nso it goes", "first\n...\nlast") == ""
    assert broken_rule("and then it left. It arrives. You see.", "it left. It arrives. You see.") == ""
    assert broken_rule("3 parcels left", WHOLE) == ""


def test_a_completion_alone_can_only_be_joined() -> None:
    assert broken_rule("and then it left. It arrives. You see.", None) == ""
    assert broken_rule("...and then it left.", None) == "join"


def test_every_fragment_is_found_with_its_rule() -> None:
    pairs = clean_pairs()
    planted = [
        changed(row, id=f"f{n}", chosen=text, rejected=WHOLE)
        for n, (row, text) in enumerate(zip(pairs, FRAGMENTS, strict=False))
    ]
    rows = [*pairs, *planted]
    found = findings(rows)["fragments"]
    assert set(found.rows) == {row.id for row in planted}
    assert found.data == {"rules": {"join": 5, "continuation": 2, "piece": 3}}
    assert found.severity == "warning"
    assert found == findings(random.Random(1).sample(rows, len(rows)))["fragments"]


def test_no_rows() -> None:
    assert findings([]) == {}
