"""The page of an evaluation: from run directories alone, one model or several, nothing from outside but as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fairlead.data.records import Candidate, Candidates, Message
from fairlead.data.writing import write
from fairlead.errors import RunError
from fairlead.reports.evaluation_report import evaluation_report
from fairlead.runs.directory import RunDirectory
from fairlead.stages.report import report
from tests.reports.markup import Parsed

EVIL = "<script>alert(1)</script>"


def measure(name: str, value: float | None, *, unit: str = "share", **more: Any) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    told = {"n": 40, "direction": "up", "slice": {}, "meaning": f"what {name} means"}
    return {"name": name, "value": value, "low": low, "high": high, "unit": unit} | told | more


def evaluated(
    folder: Path, measures: Sequence[Mapping[str, Any]], answer: str = "Hello.", **extra: Any
) -> RunDirectory:
    run = RunDirectory.create(folder, stage="eval", config={}, seed=0, extra=extra)
    content = {"model": f"models/{folder.name}", "adapter": None, "suite": {"path": "a/suite.yaml"}}
    (folder / "measures.json").write_text(json.dumps({**content, "measures": list(measures)}))
    items = [{"measure": "length/words", "id": f"i{n}", "value": n % 9 + 3, "group": ""} for n in range(30)]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    replies = (Candidate(id="c", messages=(Message(role="assistant", content=answer),)),)
    write(
        [
            Candidates(id=f"p{n}", prompt=(Message(role="user", content=f"question {n}"),), candidates=replies)
            for n in (1, 0)
        ],
        run.artifact("answers-prompts-0123.jsonl"),
    )
    return run


def compared(name: str, verdict: str, **more: Any) -> dict[str, Any]:
    told = {"unit": "share", "direction": "up", "before": 0.5, "after": 0.7, "difference": 0.2, "low": 0.1, "high": 0.3}
    counts = {"n": 40, "alone": 0, "lost": 2, "gained": 10, "test": "mcnemar", "p_value": 0.0386, "detectable": 0.15}
    return {"name": name, "verdict": verdict} | told | counts | more


MEASURES = [
    measure("ranking_accuracy", 0.7),
    measure("ranking_accuracy", 0.8, slice={"segment": "retail"}),
    measure("ranking_accuracy", None, slice={"segment": "trade"}, n=0),
    measure("length/words", 7.0, unit="words", direction="none"),
    measure("garak/attack_success", 0.25, slice={"probe": "dan.Ablation", "detector": "x.Y"}, direction="down"),
]


def test_one_model(tmp_path: Path) -> None:
    notes = ["3 rows of held_out cannot be put to tuned."]
    run = evaluated(tmp_path / "run", MEASURES, name="tuned", notes=notes, notes_on_all=["prompting is not measured."])
    parsed = Parsed(evaluation_report(run.path))
    assert parsed.faults == []
    for text in ("tuned", "suite.yaml", "measured", "ranking_accuracy", "70 %", "60 to 80", "what ranking_accuracy"):
        assert text in parsed.text
    for text in ("By segment", "retail", "By probe and detector", "dan.Ablation, x.Y", "Length in words", *notes):
        assert text in parsed.text
    assert parsed.text.index("question 0") < parsed.text.index("question 1")
    assert "prompting is not measured." in parsed.text
    assert "against" not in parsed.text


def both(folder: Path, **rows: str) -> RunDirectory:
    first = evaluated(folder / "run", MEASURES, "First answer.", name="tuned", notes=[])
    evaluated(folder / "run" / "compared" / "1-base", MEASURES[:1], "Second answer.", name="base", notes=[])
    measures = [compared(name, verdict) for name, verdict in rows.items()]
    measures.append(compared("length/words", "more", unit="words", difference=-3.5, low=-5, high=-2, p_value=None))
    content = {
        "baseline": "base",
        "models": [{"name": "tuned", "run": "."}, {"name": "base", "run": "compared/1-base"}],
        "notes": ["they differ in more than their training."],
        "comparisons": [{"model": "tuned", "measures": measures}],
    }
    (first.path / "comparison.json").write_text(json.dumps(content))
    return first


def test_several_models(tmp_path: Path) -> None:
    run = both(tmp_path, ranking_accuracy="better", factual_accuracy="worse")
    parsed = Parsed(evaluation_report(run.path))
    assert parsed.faults == []
    for text in ("tuned against base", "1 better, 1 worse", "+20.0 points", "10.0 to 30.0, n = 40", "0.039"):
        assert text in parsed.text
    for text in ("2 / 10", "−3.5 words", "McNemar, exact", "they differ in more", "First answer.", "Second answer."):
        assert text in parsed.text
    assert "status bad" in parsed.values("class")


def test_rows_that_were_trained_on_stand_at_the_head(tmp_path: Path) -> None:
    leak = {"model": "tuned", "section": "held_out", "rows": ["a", "b"], "of": 12}
    run = evaluated(tmp_path / "run", MEASURES, name="tuned", leaks=[leak], notes=[])
    parsed = Parsed(evaluation_report(run.path))
    assert "tuned was trained on the prompts of 2 of 12 rows of held_out" in parsed.text
    assert "prose bad" in parsed.values("class")


def test_it_is_what_report_gives_and_everything_from_outside_is_text(tmp_path: Path) -> None:
    rows = [measure(f"m{EVIL}", 0.5), measure("m", 0.5, slice={"segment": EVIL})]
    run = evaluated(tmp_path / "run", rows, EVIL, name=EVIL, notes=[EVIL])
    page = report([run.path]).read_text()
    assert page == evaluation_report(run.path)
    assert "script" not in Parsed(page).tags
    assert EVIL in Parsed(page).text
    assert not any(value.startswith(("http:", "https:", "//")) for value in Parsed(page).values("src"))


def test_runs_that_are_gone_or_damaged(tmp_path: Path) -> None:
    run = both(tmp_path, ranking_accuracy="better")
    other = run.path / "compared" / "1-base"
    (other / "measures.json").write_text("[]")
    with pytest.raises(RunError, match="does not hold what an evaluation writes there"):
        evaluation_report(run.path)
    (other / "run.json").unlink()
    with pytest.raises(RunError, match="1-base: this folder is not a run"):
        evaluation_report(run.path)
    (run.path / "comparison.json").unlink()
    (run.path / "items.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match="no item"):
        evaluation_report(run.path)
