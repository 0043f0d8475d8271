"""The page of judge runs, from runs made with rules: verdict first, everything escaped, nothing fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.errors import RunError
from fairlead.reports.judge_report import judge_report
from fairlead.reports.ranking_figure import ranking_figure
from fairlead.stages.judge import judge
from tests.reports.markup import Parsed
from tests.stages.test_judge import GOOD, PLAIN, candidates, config, rules

EVIL = '<script>alert(1)</script> & "good" {{ 7 * 7 }} <img src=x onerror=alert(2)>'


def page(folder: Path, *texts: list[str], judges: list[dict[str, object]] | None = None) -> str:
    files = [candidates(folder / f"{n}.jsonl", each, f"model {n} <b>") for n, each in enumerate(texts)]
    run = judge(*files, judge=config(folder, judges or [rules()]), out=folder / "run").run
    text = (run / "report.html").read_text()
    assert text == judge_report(run)
    return text


def check(text: str) -> None:
    parsed = Parsed(text)
    assert parsed.faults == []
    assert not {"script", "img", "link"} & set(parsed.tags)


def before(text: str, first: str, second: str) -> bool:
    return 0 <= text.index(first) < text.index(second)


def test_a_run_that_counts_says_first_who_is_preferred(tmp_path: Path) -> None:
    text = page(tmp_path, [EVIL] * 11 + [PLAIN], [PLAIN] * 11 + [GOOD])
    check(text)
    assert before(text, "is preferred to the baseline: it wins 92 %", "judge/win_rate")
    assert ">valid<" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert "model 0 &lt;b&gt;" in text


@pytest.mark.parametrize(
    ("ours", "said"),
    [(6, "No difference is shown between"), (0, "is not preferred to the baseline: it wins only 0 %")],
)
def test_what_is_not_shown_is_not_claimed(tmp_path: Path, ours: int, said: str) -> None:
    text = page(tmp_path, [GOOD] * ours + [PLAIN] * (12 - ours), [PLAIN] * ours + [GOOD] * (12 - ours))
    assert said in text


def test_a_void_run_says_so_before_any_figure(tmp_path: Path) -> None:
    length = {"name": "length", "rules": [{"prefer": "longer"}]}
    text = page(tmp_path, [GOOD] * 12, [PLAIN] * 12, judges=[length])
    check(text)
    assert before(text, "Void: nothing can be concluded", "<h2>What the judges are worth")
    assert "judge/win_rate" not in text
    assert "it says nothing of the models" in text
    assert ">void<" in text


def test_a_ranking_has_a_figure_and_tables(tmp_path: Path) -> None:
    text = page(tmp_path, [GOOD] * 9 + [PLAIN] * 3, [PLAIN] * 4 + [GOOD] * 8, [GOOD, PLAIN] * 6)
    check(text)
    assert before(text, "and the others: it wins", "<h2>Ranking")
    assert before(text, "Every two models", "<h2>What the judges are worth")
    assert text.count("<svg") > 5


def test_models_without_strengths_are_no_figure(tmp_path: Path) -> None:
    text = page(tmp_path, [GOOD] * 12, [PLAIN] * 12, [PLAIN] * 12)
    assert "There are no strengths" in text
    assert "no model has a strength" in text
    drawn = ranking_figure(
        {"models": [{"name": "m", "strength": {"value": 1.0, "low": None, "high": None}}]}, candidate="m"
    )
    assert 'aria-label="Bradley–Terry strengths: m 1"' in drawn


def test_a_folder_that_is_no_judge_run(tmp_path: Path) -> None:
    page(tmp_path, [GOOD] * 12, [PLAIN] * 12)
    (tmp_path / "run" / "examples.json").write_text("{}")
    with pytest.raises(RunError, match="does not hold what a judge run writes"):
        judge_report(tmp_path / "run")
    (tmp_path / "run" / "examples.json").unlink()
    with pytest.raises(RunError, match=r"Name the run of `fairlead judge`"):
        judge_report(tmp_path / "run")
