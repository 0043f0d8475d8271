"""Import: canonical rows, the ledger and the quarantine beside them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.data.reading import read
from fairlead.errors import ConfigError, DataError, MachineError
from fairlead.stages.import_rows import import_rows
from tests.data.samples import PAIR, QUESTION, THUMB, assistant, lines
from tests.data.test_reading import SHARED

GOOD = [PAIR | {"id": f"p{number}"} for number in range(98)]
MENDED = {"prompt": [{"role": "human", "content": "Where?"}], "chosen": "a", "rejected": "b", "id": "m"}
BAD = PAIR | {"chosen": [assistant("")], "id": "bad"}


class Words:
    """A progress that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def task(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing here is long enough for a bar")


def put(folder: Path, *rows: Any, name: str = "in.jsonl") -> Path:
    (folder / name).write_bytes(lines(*rows))
    return folder / name


def test_rows_come_out_canonical_with_the_whole_account(tmp_path: Path) -> None:
    source = put(tmp_path, *GOOD, MENDED, BAD)
    words = Words()
    report = import_rows(source, to=tmp_path / "out.jsonl", progress=words)
    assert (report.rows_in, report.ok, report.fixed, report.quarantined) == (100, 98, 1, 1)
    assert (report.kind, report.shapes) == ("preference", {"canonical: preference": 99})
    again = read(report.to)
    assert again.rows == read(source).rows
    assert again.ledger.summary()["ok"] == 99
    assert report.by_code["empty_completion"].remedy == "Add the answer."
    entries = [json.loads(line) for line in report.ledger.read_bytes().splitlines()]
    assert [(entry["line"], entry["code"]) for entry in entries] == [(99, "role_alias"), (100, "empty_completion")]
    assert report.quarantine is not None
    assert report.quarantine.read_bytes() == lines(BAD)
    assert report.files[str(source)]["rows"] == 100
    (shown,) = words.said
    assert shown.startswith("The first row, read as preference (canonical: preference):\n  prompt:\n    user: Where is")


def test_without_quarantine_there_is_no_file_of_it_not_even_an_old_one(tmp_path: Path) -> None:
    old = tmp_path / "out.quarantined.jsonl"
    old.write_text("old")
    report = import_rows(put(tmp_path, *GOOD), to=tmp_path / "out.jsonl")
    assert report.quarantine is None
    assert not old.exists()


@pytest.mark.parametrize(("options", "limit"), [({"strict": True}, "with strict"), ({"max_quarantined": 0.0}, "0.00%")])
def test_too_many_bad_rows_are_refused_but_can_be_looked_at(tmp_path: Path, options: Any, limit: str) -> None:
    source = put(tmp_path, *GOOD, BAD)
    with pytest.raises(DataError, match=limit) as caught:
        import_rows(source, to=tmp_path / "out.jsonl", **options)
    assert caught.value.code == "too_many_quarantined"
    assert "out.quarantined.jsonl" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.ledger.jsonl", "out.quarantined.jsonl"]


def test_several_files_and_columns(tmp_path: Path) -> None:
    first = put(tmp_path, {"frage": "a?", "chosen": "b", "rejected": "c"}, name="a.jsonl")
    second = put(tmp_path, {"frage": "d?", "chosen": "e", "rejected": "f"}, name="b.jsonl")
    report = import_rows([first, second], to=tmp_path / "out.jsonl", columns={"prompt": "frage"})
    assert [row.prompt[0].content for row in read(report.to).rows] == ["a?", "d?"]


def test_an_input_is_never_written_over(tmp_path: Path) -> None:
    source = put(tmp_path, *GOOD, name="out.quarantined.jsonl")
    with pytest.raises(DataError, match="is an input too"):
        import_rows(source, to=tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="is an input too"):
        import_rows(source, to=source)
    assert source.read_bytes() == lines(*GOOD)


@pytest.mark.parametrize(("name", "message"), [("out.csv", "end the name in .jsonl"), ("no/out.jsonl", "no folder")])
def test_targets_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_rows(put(tmp_path, *GOOD), to=tmp_path / name)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fairlead.data.ledger.Ledger.write", refuse)
    with pytest.raises(MachineError, match="cannot be written"):
        import_rows(put(tmp_path, *GOOD), to=tmp_path / "out.jsonl")


def ranked(number: int) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "prompt": "Where?",
        "response_1": f"a{number}",
        "response_2": f"b{number}",
        "response_3": f"c{number}",
        "ranking.responses": [["response_1", "response_2", "response_3"]],
        "ranking.responses.users": ["ann"],
        "ranking.responses.status": ["submitted"],
    }


def test_constant_rankings_are_refused_unless_allowed(tmp_path: Path) -> None:
    source = put(tmp_path, *map(ranked, range(20)))
    with pytest.raises(DataError, match="--allow constant_rankings") as caught:
        import_rows(source, to=tmp_path / "out.jsonl")
    assert caught.value.code == "constant_rankings"
    assert not (tmp_path / "out.jsonl").exists()
    report = import_rows(source, to=tmp_path / "out.jsonl", allow=["constant_rankings"])
    assert [finding.code for finding in report.findings] == ["constant_rankings"]
    assert (report.kind, report.ok) == ("ranking", 20)


def test_an_exception_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean constant_rankings\?"):
        import_rows(put(tmp_path, *GOOD), to=tmp_path / "out.jsonl", allow=["constant_ranking"])


def test_a_kind_that_was_asked_for(tmp_path: Path) -> None:
    report = import_rows(
        put(tmp_path, *GOOD, THUMB, {"prompt": QUESTION}), to=tmp_path / "out.jsonl", kind="preference"
    )
    assert report.by_code["wrong_kind"].rows == 2


@pytest.mark.parametrize(
    ("name", "kind", "kept", "quarantined", "findings"),
    [
        ("ukp_convarg.jsonl.gz", "judgement", 16_927, 0, set()),
        ("finegrained_dev_pairs.jsonl.gz", "judgement", 3_000, 0, {"position_skew"}),
        ("hh_harmless_test.jsonl.gz", "preference", 2_299, 13, set()),
        ("llama_factory_dpo_en_demo.json.gz", "preference", 300, 0, set()),
        ("llama_factory_kto_en_demo.json.gz", "feedback", 300, 0, set()),
    ],
)
def test_real_files_are_imported_with_every_row_accounted_for(
    tmp_path: Path, name: str, kind: str, kept: int, quarantined: int, findings: set[str]
) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside the repository (../shared/data)")
    report = import_rows(SHARED / name, to=tmp_path / "out.jsonl")
    assert (report.kind, report.ok + report.fixed, report.quarantined) == (kind, kept, quarantined)
    assert report.rows_in == kept + quarantined
    assert len(report.to.read_bytes().splitlines()) == kept
    assert {finding.code for finding in report.findings} == findings
    if report.quarantine:
        assert len(report.quarantine.read_bytes().splitlines()) == quarantined
