from __future__ import annotations

import json
from pathlib import Path

import pytest

import fairlead
from fairlead.data.records import Candidates, Message, Preference
from fairlead.evaluation.results import read_measures
from tests.cli.calling import call
from tests.evaluation.judging.server import completion, serving
from tests.tiny import save_tiny


def turn(text: str, role: str = "user") -> tuple[Message, ...]:
    return (Message(role=role, content=text),)


@pytest.fixture
def suite(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pairs = [
        Preference(
            id=str(n),
            prompt=turn(f"hello {n}"),
            chosen=turn("thank you", "assistant"),
            rejected=turn("no", "assistant"),
            meta={"segment": "trade"},
        )
        for n in range(6)
    ]
    fairlead.write(pairs, "held-out.jsonl")
    fairlead.write([Candidates(id=f"p{n}", prompt=turn(f"where is it? {n}")) for n in range(3)], "prompts.jsonl")
    Path("suite.yaml").write_text(
        "held_out: {rows: held-out.jsonl}\ngeneration: {prompts: prompts.jsonl, max_new_tokens: 4}\n"
    )
    save_tiny("other", seed=1)
    return Path("suite.yaml")


def test_figures_for_people(suite: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("eval", "other", "--suite", suite, "--baseline", tiny, "--out", "run") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[1] == "other"
    ranked = next(line for line in lines if line.startswith("  ranking_accuracy "))
    assert ranked.endswith("n = 6")
    assert " to " in ranked
    assert any(line.startswith("    ranking_accuracy [segment: trade]") for line in lines)
    assert f"other against {tiny.name}, on the same items" in lines
    compared = [line for line in lines if " points " in line]
    assert len({line.index("  n = ") for line in compared}) == 1  # figures stand below one another
    assert lines[-1] == "The run is in run; its page is run/report.html."
    assert "stand on different base weights" in err
    assert (Path("run") / "report.html").is_file()
    assert (Path("run") / "comparison.json").is_file()


def test_figures_for_programs(suite: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("eval", tiny, "--suite", suite, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"run", "models", "comparisons", "leaks", "notes"}
    assert "-eval-" in found["run"]
    (model,) = found["models"]
    assert [each["name"] for each in model["measures"]] == [each.name for each in read_measures(found["run"]).measures]


def test_a_suite_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("eval", "--starter", tmp_path / "suite.yaml") == 0
    assert "A suite to start from is in" in capsys.readouterr().out
    assert call("eval", "--starter", tmp_path / "suite.yaml") == 2
    assert call("eval", "--starter", tmp_path / "other.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["suite"].endswith("other.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "MODEL: is missing."),
        (["other"], "--suite: is missing."),
        (["other", "--suite", "none.yaml"], "none.yaml: 1 fault"),
        (["none/of/it", "--suite", "suite.yaml"], "There is no model at none/of/it"),
    ],
)
def test_mistakes(suite: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("eval", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert not Path("runs").exists()


def test_finished_evaluations_are_compared(suite: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("eval", tiny, "--suite", suite, "--out", "runs/before") == 0
    assert call("eval", "other", "--suite", suite, "--out", "runs/after") == 0
    capsys.readouterr()
    assert call("eval", "--compare", "runs/before", "runs/after", "--out", "runs/both") == 0
    out, err = capsys.readouterr()
    assert "after against before, on the same items" in out
    assert out.splitlines()[-1] == "The comparison is in runs/both; its page is runs/both/report.html."
    assert "stand on different base weights" in err
    assert call("eval", "--compare", "runs/after", "--baseline", "runs/before", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"run", "baseline", "comparisons", "notes"}
    assert (found["baseline"], "-compare-" in found["run"]) == ("before", True)
    assert call("eval", "--compare", "runs/before", "runs/after", "--suite", suite) == 2
    assert "--suite: has no place beside --compare" in capsys.readouterr().err
    assert call("eval", "--compare", "runs/before") == 2
    assert "nothing is given to compare with" in capsys.readouterr().err


def test_a_model_behind_a_server(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda number, asked: completion("It is on its way.", tokens=(5, 6))) as server:
        assert call("eval", "tuned", "--endpoint", server.url, "--suite", suite, "--out", "run") == 0
        out, err = capsys.readouterr()
        assert "length/tokens" in out
        assert "6 rows of held_out cannot be put to tuned" in err
        assert call("eval", "tuned", "--endpoint", server.url, "--suite", suite, "--out", "run") == 0
        assert server.calls == 3
        assert call("generate", "prompts.jsonl", "--model", "tuned", "--endpoint", server.url) == 0
        assert "→ It is on its way." in capsys.readouterr().out
    assert call("eval", "tuned", "--endpoint", "nowhere.yaml", "--suite", suite) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_a_report_of_garak(suite: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"entry_type": "eval", "probe": "dan.Ablation", "detector": "x.Y", "passed": 3, "total_evaluated": 4}
    Path("garak.report.jsonl").write_text(json.dumps(line) + "\n")
    assert call("eval", tiny, "--garak", "garak.report.jsonl", "--out", "run") == 0
    out = capsys.readouterr().out
    assert "garak/attack_success [probe: dan.Ablation, detector: x.Y]" in out
    assert "25.0 %" in out


def test_measures_that_are_not_known_and_rows_that_are_damaged(
    suite: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_text("held_out: {rows: held-out.jsonl}\nmeasures: [ranking_acuracy]\n")
    assert call("eval", tiny, "--suite", suite) == 2
    assert "Did you mean ranking_accuracy?" in capsys.readouterr().err
    suite.write_text("held_out: {rows: held-out.jsonl}\n")
    Path("held-out.jsonl").write_text('{"prompt": "hello"}\n{"no": "row"}\n')
    assert call("eval", tiny, "--suite", suite) == 2
    assert "held-out.jsonl" in capsys.readouterr().err
