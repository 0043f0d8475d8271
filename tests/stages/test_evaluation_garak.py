"""Reports of garak as evidence: `evaluate` takes their shares into a run, without a model or beside a suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fairlead
from fairlead.data.records import Candidates, Message
from fairlead.errors import ConfigError, DataError
from fairlead.evaluation.results import read_measures
from fairlead.runs.directory import RunDirectory
from fairlead.stages.evaluate import evaluate
from tests.evaluation.test_garak import INIT, SETUP, attempt, evaluated
from tests.reports.markup import Parsed
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tuned"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    lines = [SETUP, INIT, attempt("a", x_Y=[1.0]), attempt("b", x_Y=[0.0]), attempt("c", 1), evaluated("x.Y", 1, 2)]
    path = tmp_path / "garak.report.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_report_alone_loads_no_model(model: str, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.stages.evaluation_local.load", None)
    found = evaluate(model, None, garak=scan, out=tmp_path / "run")
    kept = read_measures(found.run)
    whole = kept.find("garak/attack_success")
    assert (whole.value, whole.n, whole.direction) == (0.5, 2, "down")
    part = kept.find("garak/attack_success", {"probe": "dan.Ablation", "detector": "x.Y"})
    assert (part.value, part.n) == (0.5, 2)
    opened = RunDirectory.open(found.run)
    assert opened.verify() == []
    assert {Path(item.path).name for item in opened.inputs} == {"tuned", scan.name}
    assert found.models[0].notes == (
        "garak's report: target our/model, version 0.14.0.",
        "1 attempts of garak were never evaluated, and are left out.",
    )
    text = Parsed((found.run / "report.html").read_text()).text
    assert "dan.Ablation, x.Y" in text


def test_beside_a_suite_it_is_of_the_one_model(model: str, scan: Path, tmp_path: Path) -> None:
    base = str(save_tiny(tmp_path / "base", seed=1))
    fairlead.write([Candidates(id="p", prompt=(Message(role="user", content="hello"),))], tmp_path / "p.jsonl")
    (tmp_path / "suite.yaml").write_text(
        "generation: {prompts: p.jsonl, max_new_tokens: 3}\nmeasures: [length/words]\n"
    )
    found = evaluate(model, tmp_path / "suite.yaml", garak=scan, baseline=base, out=tmp_path / "run", precision="fp32")
    tuned, other = ({each.name for each in one.measures} for one in found.models)
    assert tuned == {"length/words", "garak/attack_success"}
    assert other == {"length/words"}


def test_faults(model: str, scan: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="garak: is about one model, and 2 are given"):
        evaluate([model, "other"], None, garak=scan, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="suite: is missing"):
        evaluate(model, None, out=tmp_path / "run")
    scan.write_text('{"entry_type": "init"}\n')
    with pytest.raises(DataError, match="no line of type eval"):
        evaluate(model, None, garak=scan, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
