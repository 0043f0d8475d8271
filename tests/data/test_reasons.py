"""The table of reason codes: complete, documented, and every code of the reader provoked by a test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from fairlead.data.reasons import REASONS, Outcome

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rows.md").read_text(encoding="utf-8")


def test_the_page_lists_exactly_the_codes_with_their_texts() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| (.+?) \|$", PAGE, flags=re.MULTILINE)
    assert listed == [(code, *reason) for code, reason in REASONS.items()]


def test_every_reason_says_what_and_what_to_do() -> None:
    for code, reason in REASONS.items():
        assert reason.outcome in get_args(Outcome), code
        assert reason.meaning[0].islower(), code
        assert not reason.meaning.endswith("."), code
        assert reason.remedy.endswith("."), code


def codes_in(folder: Path) -> set[str]:
    """The reason codes that stand as texts in the Python files below a folder, but for the table itself."""
    files = (path for path in folder.rglob("*.py") if path.name != "reasons.py")
    return set(re.findall(r"""["'](\w+)["']""", "".join(path.read_text(encoding="utf-8") for path in files))) & set(
        REASONS
    )


def test_every_code_is_given_somewhere() -> None:
    assert codes_in(ROOT / "src") == set(REASONS)


def test_every_code_of_the_reader_is_met_in_a_test() -> None:
    assert codes_in(ROOT / "src" / "fairlead" / "data") <= codes_in(ROOT / "tests" / "data")
