"""Rows of every format, mutated: `python -m tests.data.fuzzing FILE` prints what reading the file gave, as one hash.

Used by tests/data/test_fuzz.py, which compares processes with different hash seeds.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path
from typing import Any

import msgspec

from fairlead.data.formats.table import FORMATS
from fairlead.data.reading import read
from fairlead.data.records import KINDS
from fairlead.data.verbatim import quarantined_lines
from fairlead.identity import digest
from tests.data.samples import ROWS

EXAMPLES = [shape.example for format in FORMATS.values() for shape in format.shapes] + [*ROWS.values()]
KEYS = sorted({key for row in EXAMPLES for key in row} | {"weight", "margin", "meta", "tools", "images", "system"})
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.5, 2**70, float("nan"), float("inf"), "", " ", "x", "null", "NaN", "-2", "1e999"),
    *("\n\nHuman: a\n\nAssistant: b", "<|im_end|>", "\ud800", "\0", "ä🙂", "[]", "{}", '[{"role": "user"}]', "[" * 300),
    *([], {}, [[]], [None], ["x"], [{}], {"role": "user"}, [{"role": "assistant", "content": "x"}], {"from": "gpt"}),
    *([{"role": "user", "content": "x"}], [{"role": "tool", "content": "x"}], {"x": [{"y": None}]}, [1, [2, [3]]]),
]


def mutated_lines(count: int, seed: int) -> list[bytes]:
    """Lines of JSON, or of what was JSON before bytes of it were damaged; none is blank."""
    draw = random.Random(seed)
    lines = []
    while len(lines) < count:
        row = copy.deepcopy(draw.choice(EXAMPLES))
        for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
            row = mutate(row, draw)
        line = json.dumps(row, ensure_ascii=draw.random() < 0.5).encode(errors="surrogatepass")
        if draw.random() < 0.1:
            line = damaged(line, draw)
        if line.strip():
            lines.append(line)
    return lines


def mutate(value: Any, draw: random.Random) -> Any:
    """The value with one change, at the top or somewhere inside."""
    if isinstance(value, dict) and value:
        key = draw.choice(sorted(value))
        choice = draw.random()
        if choice < 0.2:
            return {name: item for name, item in value.items() if name != key}
        if choice < 0.3:
            return value | {draw.choice(KEYS): copy.deepcopy(draw.choice(ODD))}
        if choice < 0.4:
            return {(draw.choice(KEYS) if name == key else name): item for name, item in value.items()}
        return value | {key: mutate(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        choice = draw.random()
        if choice < 0.2:
            return value[:place] + value[place + 1 :]
        if choice < 0.4:
            return value[: place + 1] + value[place:]
        return [*value[:place], mutate(value[place], draw), *value[place + 1 :]]
    return copy.deepcopy(draw.choice(ODD))


def damaged(line: bytes, draw: random.Random) -> bytes:
    """The line with some bytes changed, left out or cut off; no line end among them."""
    place = draw.randrange(len(line))
    if draw.random() < 0.3:
        return line[:place]
    return line[:place] + bytes([draw.choice([0, 34, 44, 92, 123, 125, 200, 255])]) + line[place + draw.randrange(3) :]


def result_of(path: Path, kind: str | None) -> list[Any]:
    """Rows, ledger and quarantine of a file, each row of which is accounted for."""
    dataset = read(path, kind=kind)
    ledger = dataset.ledger
    summary = ledger.summary()
    assert summary["rows_in"] == len(path.read_bytes().splitlines()), "a row is not accounted for"
    assert summary["rows_in"] == summary["ok"] + summary["fixed"] + summary["quarantined"]
    assert len(dataset.rows) == summary["ok"] + summary["fixed"]
    kept = list(quarantined_lines(ledger, dataset.sha256))
    assert len(kept) == summary["quarantined"], "a row in quarantine is not kept"
    entries = msgspec.to_builtins([*ledger.entries, *ledger.counted])
    return [msgspec.to_builtins(dataset.rows), entries, summary, dataset.shapes, [line.hex() for line in kept]]


if __name__ == "__main__":
    print(digest([result_of(Path(sys.argv[1]), kind) for kind in (None, *KINDS)]))
