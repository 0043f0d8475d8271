"""Reading as a whole: kinds, formats, ids, and that the result depends on the bytes alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.data.reading import read
from fairlead.data.records import KINDS, Ranking
from fairlead.errors import ConfigError
from tests.data.samples import CANDIDATES, DIALOGUE, PAIR, QUESTION, RANKING, ROWS, THUMB, lines, read_bytes, read_rows

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised(tmp_path: Path, kind: str) -> None:
    dataset = read_rows(tmp_path, ROWS[kind])
    assert dataset.kind == kind
    assert type(dataset.rows[0]) is KINDS[kind]
    assert dataset.ledger.summary()["ok"] == 1


def test_unknown_keys_are_kept_in_meta(tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, PAIR | {"segment": "billing", "meta": {"source": "tickets"}, "note": None}).rows
    assert row.meta == {"source": "tickets", "segment": "billing", "note": None}


def test_the_kind_of_most_rows_is_the_kind_of_the_data_whatever_their_order(tmp_path: Path) -> None:
    rows = [THUMB, PAIR | {"id": "p"}, THUMB | {"label": False}]
    for order in (rows, rows[::-1]):
        dataset = read_rows(tmp_path, *order)
        assert dataset.kind == "feedback"
        assert [(entry.id, entry.code) for entry in dataset.ledger.entries] == [("p", "wrong_kind")]


def test_the_kind_that_was_asked_for_wins(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, THUMB, PAIR, THUMB, kind="preference")
    assert [entry.code for entry in dataset.ledger.entries] == ["wrong_kind", "wrong_kind"]
    assert len(dataset.rows) == 1


def test_a_named_kind_settles_what_is_ambiguous(tmp_path: Path) -> None:
    prompt_only = {"prompt": QUESTION, "solution": "42"}
    assert read_rows(tmp_path, prompt_only).kind == ""
    (row,) = read_rows(tmp_path, prompt_only, kind="candidates").rows
    assert row.meta == {"solution": "42"}
    assert read_rows(tmp_path, DIALOGUE | {"label": "billing"}, kind="demonstration").rows[0].meta == {
        "label": "billing"
    }
    assert read_rows(tmp_path, PAIR, kind="candidates").rows == ()


def test_a_ranking_holds_ties_and_partial_places(tmp_path: Path) -> None:
    three = [*CANDIDATES["candidates"], {"id": 3, "messages": "Soon."}]
    placed = [
        {"annotator": "ann", "ranking": ["y", ["x", 3]]},
        {"annotator": "bea", "ranking": [["x"], ["y"]], "worst": "y"},
        {"annotator": "cid", "best": 3},
    ]
    dataset = read_rows(tmp_path, CANDIDATES | {"candidates": three, "annotations": placed, "worst": "x"})
    (row,) = dataset.rows
    assert isinstance(row, Ranking)
    assert [annotation.ranking for annotation in row.annotations] == [(("y",), ("x", "3")), (("x",), ("y",)), ()]
    assert (row.annotations[1].worst, row.annotations[2].best, row.best, row.worst) == ("y", "3", None, "x")
    assert dataset.ledger.summary()["ok"] == 1
    assert read_rows(tmp_path, json.loads(msgspec.json.encode(row))).rows == (row,)


def test_candidates_that_nobody_placed_are_candidates_unless_said_otherwise(tmp_path: Path) -> None:
    assert read_rows(tmp_path, CANDIDATES).kind == "candidates"
    (row,) = read_rows(tmp_path, CANDIDATES, kind="ranking").rows
    assert isinstance(row, Ranking)
    assert row.annotations == ()
    assert read_rows(tmp_path, RANKING, kind="candidates").rows == ()


def test_unknown_names_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "x.jsonl", kind="preferences", format="tlr")
    assert [fault.remedy for fault in caught.value.faults] == ["Did you mean preference?", "Did you mean trl?"]


def test_ids_are_kept_digit_for_digit(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, PAIR | {"id": 2**53 + 1}, PAIR | {"id": "0042"})
    assert [row.id for row in dataset.rows] == ["9007199254740993", "0042"]


def test_a_row_without_id_gets_one_from_its_content(tmp_path: Path) -> None:
    reordered = dict(reversed(PAIR.items()))
    one, same, other = read_rows(tmp_path, PAIR, reordered, PAIR | {"weight": 2}).rows
    assert one.id != other.id
    assert same.id == f"{one.id}~2"
    (alone,) = read_bytes(tmp_path, json.dumps([reordered | {"id": " "}]).encode(), "rows.json").rows
    assert alone.id == one.id
    assert len(one.id) == 16


def test_copies_without_id_are_counted_and_kept(tmp_path: Path) -> None:
    dataset = read_rows(tmp_path, PAIR, PAIR, PAIR)
    assert dataset.ledger.summary()["by_code"] == {"duplicate_row": 2}
    assert dataset.ledger.summary()["ok"] == 3


def test_shared_ids_are_made_unique_by_content_whatever_the_order(tmp_path: Path) -> None:
    rows = [PAIR | {"id": "a"}, PAIR | {"id": "a", "margin": 1}, PAIR | {"id": "b"}, PAIR | {"id": "a"}]
    first = read_rows(tmp_path, *rows)
    assert first.ledger.summary() == {
        "rows_in": 4,
        "ok": 1,
        "fixed": 3,
        "quarantined": 0,
        "by_code": {"duplicate_id": 3},
    }
    assert len({row.id for row in first.rows}) == 4
    again = read_rows(tmp_path, *rows[::-1])
    assert {(row.id, row.margin) for row in first.rows} == {(row.id, row.margin) for row in again.rows}


def test_several_files_are_one_data_set(tmp_path: Path) -> None:
    for name, row in (("a.jsonl", PAIR | {"id": "x"}), ("b.jsonl", PAIR | {"id": "y"})):
        (tmp_path / name).write_bytes(lines(row))
    dataset = read([tmp_path / "a.jsonl", str(tmp_path / "b.jsonl")])
    assert [row.id for row in dataset.rows] == ["x", "y"]
    assert list(dataset.sha256) == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert str(dataset.ledger).endswith(
        "a.jsonl, " + str(tmp_path / "b.jsonl: 2 rows in = 2 ok + 0 fixed + 0 quarantined")
    )


PROBE = """
import sys
from fairlead.data.reading import read
from fairlead.identity import digest
import msgspec
dataset = read(sys.argv[1])
ledger = dataset.ledger
print(digest([msgspec.to_builtins(dataset.rows), msgspec.to_builtins(ledger.entries), ledger.summary()]))
"""


def test_the_result_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        *ROWS.values(),
        PAIR,
        PAIR | {"id": "a"},
        PAIR | {"id": "a", "margin": 1, "x": 1, "y": 2},
    ]
    rows += [
        {"prompt": "a"},
        {"question": "b", "answer": "c"},
        THUMB | {"label": "yes"},
        {"chosen": "a", "rejected": "b"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(*rows))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROBE, str(path)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == 64


def test_the_set_of_rows_does_not_depend_on_their_order(tmp_path: Path) -> None:
    rows = (
        [PAIR | {"margin": n % 4} for n in range(12)]
        + [PAIR | {"id": "a", "margin": n % 3} for n in range(9)]
        + [THUMB]
    )
    first = read_rows(tmp_path, *rows)
    random.Random(0).shuffle(rows)
    again = read_rows(tmp_path, *rows)
    assert set(map(repr, first.rows)) == set(map(repr, again.rows))
    assert first.ledger.summary() == again.ledger.summary()


@pytest.mark.parametrize(
    ("name", "kind", "rows", "codes"),
    [
        ("ukp_convarg.jsonl.gz", "judgement", 16_927, {"label_word"}),
        ("finegrained_dev_pairs.jsonl.gz", "judgement", 3_000, set()),
    ],
)
def test_real_judgements_are_read_whole(name: str, kind: str, rows: int, codes: set[str]) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the repository (../shared/data)")
    dataset = read(path)
    assert (dataset.kind, len(dataset.rows)) == (kind, rows)
    assert dataset.ledger.summary()["by_code"].keys() == codes


@pytest.mark.parametrize(
    ("name", "shape", "rows", "bad"),
    [
        ("hh_harmless_test.jsonl.gz", "hh: pairs", 2_299, {"same_role_twice": 9, "empty_completion": 4}),
        ("llama_factory_dpo_en_demo.json.gz", "llama-factory: sharegpt, ranking", 300, {}),
        ("llama_factory_kto_en_demo.json.gz", "llama-factory: messages, KTO", 300, {}),
    ],
)
def test_real_files_of_other_formats_are_read_unmodified(name: str, shape: str, rows: int, bad: dict[str, int]) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the repository (../shared/data)")
    dataset = read(path)
    assert (len(dataset.rows), dataset.shapes) == (rows, {shape: rows})
    assert Counter(entry.code for entry in dataset.ledger.entries) == bad
    summary = dataset.ledger.summary()
    assert (summary["rows_in"], summary["fixed"]) == (rows + sum(bad.values()), 0)
