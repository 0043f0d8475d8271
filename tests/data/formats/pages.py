"""The tables of docs/formats.md, made from the table of formats: `python -m tests.pages` writes them anew."""

from __future__ import annotations

import json
from pathlib import Path

from fairlead.data.formats.layouts import UNWRITABLE
from fairlead.data.formats.table import FORMATS

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"


def page() -> str:
    """The whole page, its tables made anew."""
    text = PAGE.read_text(encoding="utf-8")
    parts = {"": _read(), ", written formats": _written(), ", reasons": _reasons()}
    for name, made in parts.items():
        begin, end = f"<!-- made from the source{name}: begin -->\n", f"<!-- made from the source{name}: end -->\n"
        before, mark, rest = text.partition(begin)
        _, other, after = rest.partition(end)
        assert mark, f"docs/formats.md lacks {begin}"
        assert other, f"docs/formats.md lacks {end}"
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def _table(*lines: tuple[str, ...]) -> str:
    head, *rows = lines
    drawn = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in drawn)


def _read() -> str:
    """A table for each format: its shapes, what they become, and a row of each."""
    parts = []
    for name, format in FORMATS.items():
        rows = []
        for shape in format.shapes:
            becomes = shape.becomes or "quarantined (`text_without_turns`)"
            if shape.named:
                becomes += f"; unnamed it is read as `{shape.like}`, alike"
            rows.append((shape.name, becomes, f"`{json.dumps(shape.example, ensure_ascii=False)}`"))
        parts.append(f"### {format.title}: `{name}`\n\n" + _table(("shape", "becomes", "row"), *rows))
    return "\n".join(parts)


def _written() -> str:
    rows = [
        (f"`{name}`", f"`{kind}`", layout.name, ", ".join(f"`{field}`" for field in sorted(layout.holds)) or "–")
        for name, format in FORMATS.items()
        for kind, layouts in format.layouts.items()
        for layout in layouts
    ]
    return _table(("`--to`", "kind", "layout", "holds beside the turns"), *rows)


def _reasons() -> str:
    return _table(("reason", "meaning"), *((f"`{code}`", meaning) for code, meaning in UNWRITABLE.items()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
