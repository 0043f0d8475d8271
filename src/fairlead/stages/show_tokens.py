"""`show_tokens`: a row of a file, token by token, as training sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.data.files import open_records
from fairlead.data.ledger import REASONS
from fairlead.data.reading import Dataset, read
from fairlead.data.records import Demonstration, Row
from fairlead.engine.groups import Completion
from fairlead.engine.rendering import Renderer, RenderingFault
from fairlead.engine.rows import RenderedGroups, completions_of, render
from fairlead.errors import DataError
from fairlead.models.loading import load_tokenizer


@dataclass(frozen=True)
class Token:
    """One token: its id, the text it stands for (of part of a character, its name in the vocabulary), its mask."""

    id: int
    text: str
    trained: bool


@dataclass(frozen=True)
class RenderedRow:
    """One completion of a row behind its prompt, and what is worth knowing about them. `name` is the row's field."""

    name: str
    tokens: tuple[Token, ...]
    notes: tuple[str, ...] = ()


def show_tokens(data: str | Path, *, model: str, row: int = 0, chat_template: str | None = None) -> list[RenderedRow]:
    """The tokens of row number `row` of a file, counted from 0 over all its rows: one `RenderedRow` per completion.

    Of `model` (anything `fairlead.models.loading.load` takes) only the tokenizer is loaded; `chat_template` replaces
    its template. Length limits are not applied. A row of a prompt alone gives that; a demonstration whose turns cannot
    be trained in one piece gives one per trained turn.

    Raises DataError for a row that is not there or is in quarantine (it says why), ModelError as `load_tokenizer` does.
    """
    dataset = read(data)
    line, found = _find(dataset, data, row)
    renderer = Renderer(load_tokenizer(model, chat_template))
    try:
        rendered = render(found, renderer)
    except RenderingFault as fault:
        raise _in_quarantine(data, line, row, fault.code, fault.field, fault.detail) from fault
    notes = (*_notes_of_reading(dataset, line), *_notes_of_rendering(found, renderer, rendered))
    decode = _Decoder(renderer.tokenizer)
    rows = []
    for group, names in zip(rendered.groups, _names(found, rendered), strict=True):
        for name, completion in zip(names, group.completions or (Completion(ids=(), trained=()),), strict=True):
            ids = (*group.prompt, *completion.ids)
            trained = (*(False for _ in group.prompt), *completion.trained)
            tokens = tuple(Token(id, decode(id), mask) for id, mask in zip(ids, trained, strict=True))
            rows.append(RenderedRow(name, tokens, notes))
    return rows


def _find(dataset: Dataset, data: str | Path, row: int) -> tuple[int, Row]:
    """The line and the row of that number. Raises DataError where there is none to show."""
    lines = [line for line, _ in open_records(data)[0]]
    if not lines:
        raise DataError(f"{REASONS['empty_file'].meaning}. {REASONS['empty_file'].remedy}", path=data)
    if not 0 <= row < len(lines):
        raise DataError(f"there is no row {row}: the rows are counted from 0 to {len(lines) - 1}.", path=data)
    bad = {entry.line: entry for entry in dataset.ledger.entries if entry.outcome == "quarantined"}
    if entry := bad.get(lines[row]):
        raise _in_quarantine(data, entry.line, row, entry.code, entry.field, entry.detail)
    return lines[row], dataset.rows[row - sum(line < lines[row] for line in bad)]


def _in_quarantine(data: str | Path, line: int, row: int, code: str, field: str, detail: str) -> DataError:
    where, found = f" in {field}" if field else "", f" ({detail})" if detail else ""
    text = f"row {row} is quarantined, {code}{where}: {REASONS[code].meaning}{found}. {REASONS[code].remedy}"
    return DataError(text, path=data, line=line, field=field or None, code=code)


def _names(row: Row, rendered: RenderedGroups) -> list[tuple[str, ...]]:
    """For each group the names of its completions."""
    count = len(rendered.groups)
    if isinstance(row, Demonstration) and count > 1:
        return [(f"messages, trained turn {number} of {count}",) for number in range(1, count + 1)]
    return [tuple(name for name, _ in completions_of(row)) or ("prompt",)]


def _notes_of_reading(dataset: Dataset, line: int) -> list[str]:
    entries = (*dataset.ledger.entries, *dataset.ledger.counted)
    return [_note(entry.code, entry.detail) for entry in entries if entry.line == line]


def _notes_of_rendering(row: Row, renderer: Renderer, rendered: RenderedGroups) -> list[str]:
    notes = [_note(code, detail) for code, detail in rendered.notes.items()]
    turns = row.messages if isinstance(row, Demonstration) else row.prompt
    if renderer.injected_system_turn is not None and turns[0].role != "system":
        notes.append(f"the template adds a system turn of its own: {renderer.injected_system_turn!r}")
    if len(rendered.groups) > 1:
        notes.append("with this template each trained turn is a completion of its own, behind the turns before it")
    tokenizer = renderer.tokenizer
    bos = tokenizer.bos_token_id
    if bos is not None and tokenizer("")["input_ids"][:1] == [bos] and rendered.groups[0].prompt[:1] != (bos,):
        notes.append(f"the tokenizer begins texts with {tokenizer.bos_token}, the template does not, as at inference")
    return notes


def _note(code: str, detail: str) -> str:
    return f"{code}: {REASONS[code].meaning}" + (f" ({detail})" if detail else "")


class _Decoder:
    """The text of single tokens, with the space that some of them begin with."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._anchor: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._before = self._decode(self._anchor)

    def __call__(self, token: int) -> str:
        text = self._decode([*self._anchor, token]).removeprefix(self._before)
        return str(self._tokenizer.convert_ids_to_tokens(token)) if "\N{REPLACEMENT CHARACTER}" in text else text

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
