"""`fairlead import` and `fairlead export` from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.data.samples import PAIR, lines
from tests.stages.test_import_rows import BAD, GOOD, MENDED, ranked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.jsonl").write_bytes(lines(*GOOD, MENDED, BAD))
    return tmp_path


def test_import_prints_the_account(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("import", folder / "in.jsonl", "--to", folder / "out.jsonl") == 0
    out, err = capsys.readouterr()
    assert out.startswith("100 rows in = 98 ok + 1 fixed + 1 quarantined, kind preference\n  99 as canonical: ")
    assert "  1 quarantined, empty_completion: a completion has no text and no tool call. Add the answer.\n" in out
    assert "out.quarantined.jsonl" in out
    assert "user: Where is my parcel?" in err


def test_import_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("import", folder / "in.jsonl", "--to", folder / "out.jsonl", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rows_in"], shown["by_code"]["role_alias"]["outcome"]) == (100, "fixed")
    assert shown["quarantine"].endswith("out.quarantined.jsonl")


def test_import_of_odd_columns(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("frage,besser,schlechter\nWhere?,a,b\n")
    names = "prompt=frage,chosen=besser,rejected=schlechter"
    assert call("import", tmp_path / "in.csv", "--columns", names, "--to", tmp_path / "out.jsonl") == 0
    assert '"content":"Where?"' in (tmp_path / "out.jsonl").read_text()


def test_import_refuses_with_one_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("import", folder / "in.jsonl", "--to", folder / "out.jsonl", "--strict", "--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    message = err[err.rindex("fairlead: ") :]
    assert message.count("\n") == 1
    assert "with strict, none may be" in message
    assert not (folder / "out.jsonl").exists()


def test_faults_of_labelling_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_bytes(lines(*map(ranked, range(20))))
    target = ("import", tmp_path / "in.jsonl", "--to", tmp_path / "out.jsonl")
    assert call(*target) == 2
    assert "--allow constant_rankings" in capsys.readouterr().err
    assert call(*target, "--allow", "constant_rankings") == 0
    assert "error, constant_rankings: Rankings that never change (100.0% of 20)." in capsys.readouterr().out


def test_export_prints_account_and_snippet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_file = folder / "pairs.jsonl"
    assert call("export", folder / "in.jsonl", "--to", "llama-factory", "--out", out_file) == 0
    out = capsys.readouterr().out
    assert out.startswith("100 rows in = 99 written + 0 left out + 1 quarantined, as llama-factory: sharegpt")
    assert "  no place for id (99 rows)\n" in out
    assert '"ranking": true' in out
    assert call("export", folder / "in.jsonl", "--to", "trl", "--out", out_file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] == 99


def test_export_of_rows_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = PAIR | {"prompt": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}
    (tmp_path / "in.jsonl").write_bytes(lines(PAIR, system))
    target = ("export", tmp_path / "in.jsonl", "--to", "hh", "--out", tmp_path / "out.jsonl")
    assert call(*target) == 0
    assert "1 left out, system_turn: the format has no system turn" in capsys.readouterr().out
    assert call(*target, "--strict") == 2


START = """
import sys
from fairlead.cli import main
sys.argv = ["fairlead", "{verb}", "in.jsonl", *{options}]
try:
    main()
except SystemExit as ending:
    assert not ending.code
print([name for name in ("torch", "transformers", "polars", "datasets") if name in sys.modules])
"""


@pytest.mark.parametrize("verb", ["import", "export"])
def test_the_verbs_start_without_heavy_packages(folder: Path, verb: str) -> None:
    options = ["--to", "out.jsonl"] if verb == "import" else ["--to", "trl", "--out", "out.jsonl"]
    code = START.format(verb=verb, options=options)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
