"""Tasks of lm-eval: its figures as measures, its samples as items; where it is installed, against log-probs by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fairlead.errors import ConfigError, MachineError
from fairlead.evaluation import lm_eval_tasks
from fairlead.evaluation.comparison import compare
from fairlead.evaluation.estimates import Z
from fairlead.evaluation.lm_eval_tasks import find_tasks, read_results
from fairlead.evaluation.results import Item, read_items, read_measures
from fairlead.evaluation.suite import LmEval, read_suite
from fairlead.models.loading import load
from fairlead.stages.evaluate import evaluate
from tests.tiny import save_tiny

with_lm_eval = pytest.mark.skipif(find_spec("lm_eval") is None, reason="the extra lm-eval is not installed")


def sample(document: int, **metrics: float) -> dict[str, Any]:
    return {"doc_id": document, "filter": "none", "metrics": list(metrics), **metrics}


RESULTS: Mapping[str, Any] = {
    "results": {
        "capitals": {
            "alias": "capitals",
            "acc,none": 0.75,
            "acc_stderr,none": 0.25,
            "exact_match,strict": 0.5,
            "exact_match_stderr,strict": 0.1,
        },
        "text": {"alias": "text", "word_perplexity,none": 12.5, "word_perplexity_stderr,none": "N/A"},
    },
    "n-samples": {"capitals": {"original": 9, "effective": 4}, "text": {"original": 2, "effective": 2}},
    "samples": {
        "capitals": [
            *(sample(document, acc=float(document > 0)) for document in (3, 0, 1, 2)),
            *({**sample(document, exact_match=document % 2), "filter": "strict"} for document in range(4)),
        ],
        "text": [sample(0, word_perplexity=(-3.0)), sample(1, word_perplexity=(-4.0))],
    },
}


def test_figures_become_measures() -> None:
    found = {each.name: each for each in read_results(RESULTS).measures}
    assert list(found) == [
        "lm_eval/capitals/acc",
        "lm_eval/capitals/exact_match,strict",
        "lm_eval/text/word_perplexity",
    ]
    accuracy = found["lm_eval/capitals/acc"]
    assert (accuracy.value, accuracy.n, accuracy.unit, accuracy.direction) == (0.75, 4, "share", "up")
    assert (accuracy.low, accuracy.high) == (pytest.approx(0.75 - Z * 0.25), 1.0)  # a share ends at 1
    assert found["lm_eval/capitals/exact_match,strict"].high == pytest.approx(0.5 + Z * 0.1)
    perplexity = found["lm_eval/text/word_perplexity"]
    assert (perplexity.value, perplexity.low, perplexity.high, perplexity.direction) == (12.5, None, None, "down")


def test_samples_become_items_where_the_figure_is_their_mean() -> None:
    items = read_results(RESULTS).items
    assert [each.id for each in items if each.measure == "lm_eval/capitals/acc"] == ["0", "1", "2", "3"]
    assert [each.value for each in items if each.measure == "lm_eval/capitals/exact_match,strict"] == [0, 1, 0, 1]
    assert not [each for each in items if "perplexity" in each.measure]  # e to the power of a mean is none


def test_two_models_on_one_task_are_paired() -> None:
    name = "lm_eval/capitals/acc"
    before = [Item(measure=name, id=str(number), value=float(number < 2)) for number in range(8)]
    after = [Item(measure=name, id=str(number), value=1.0) for number in range(8)]
    (row,) = compare(before, after)
    assert (row.test, row.gained, row.lost, row.direction) == ("mcnemar", 6, 0, "up")
    assert row.p_value == pytest.approx(2 / 64)


def test_a_suite_with_tasks(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("lm_eval: {tasks: [parity], include: tasks, limit: 5}\nmeasures: [lm_eval/parity/acc]\n")
    suite = read_suite(path)
    assert (suite.lm_eval.tasks, suite.lm_eval.include, suite.lm_eval.limit) == (["parity"], str(tmp_path / "tasks"), 5)
    assert suite.wants("lm_eval")
    assert suite.keeps("lm_eval/parity/acc")
    assert not suite.keeps("lm_eval/parity/acc_norm")
    path.write_text("lm_eval: {tasks: []}\nmeasures: [lm_evl/parity/acc]\n")
    with pytest.raises(ConfigError) as caught:
        read_suite(path)
    assert {fault.field for fault in caught.value.faults} == {"lm_eval.tasks", "measures.0"}


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval_tasks, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"pip install 'fairlead\[lm-eval\]'"):
        find_tasks(LmEval(tasks=["parity"]))


QUESTIONS = [{"question": f"Is {number} even?", "choices": ["yes", "no"], "answer": number % 2} for number in range(6)]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite with a task of one's own, whose data lie beside it."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "parity.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    task = {
        "task": "parity",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "parity.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    (folder / "parity.yaml").write_text(yaml.safe_dump(task))
    path = tmp_path / "suite.yaml"
    path.write_text("lm_eval: {tasks: [parity], include: tasks}\n")
    return path


def by_hand(path: str) -> list[float]:
    """Whether the right choice has the greater log-probability behind the question and a space."""
    lm = load(path, dtype=torch.float32)
    right = []
    for row in QUESTIONS:
        start = lm.tokenizer(str(row["question"]), add_special_tokens=False).input_ids
        totals = []
        for choice in ("yes", "no"):
            whole = lm.tokenizer(f"{row['question']} {choice}", add_special_tokens=False).input_ids
            with torch.no_grad():
                logps = lm.model(torch.tensor([whole])).logits[0].log_softmax(-1)
            totals.append(sum(float(logps[place - 1, whole[place]]) for place in range(len(start), len(whole))))
        right.append(float(totals.index(max(totals)) == row["answer"]))
    return right


@with_lm_eval
def test_a_task_of_ones_own_is_what_it_is_by_hand(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    models = [str(save_tiny(tmp_path / name, seed=seed)) for seed, name in enumerate(("tuned", "base"))]
    found = evaluate(models, suite, out=tmp_path / "run", precision="fp32")
    expected = by_hand(models[0])
    measure = read_measures(found.run).find("lm_eval/parity/acc")
    assert (measure.value, measure.n) == (pytest.approx(sum(expected) / 6), 6)
    assert read_items(found.run)["lm_eval/parity/acc"] == {str(place): value for place, value in enumerate(expected)}
    assert measure.low <= measure.value <= measure.high
    assert found.comparisons[0].compared[0].n == 6


@with_lm_eval
def test_a_task_that_is_not_known(suite: Path, tmp_path: Path) -> None:
    suite.write_text("lm_eval: {tasks: [paritty], include: tasks}\n")
    model = str(save_tiny(tmp_path / "base"))
    with pytest.raises(ConfigError, match=r"lm_eval\.tasks\.0: 'paritty' is no task\. Did you mean parity\?"):
        evaluate(model, suite, out=tmp_path / "run", precision="fp32")
    assert not (tmp_path / "run").exists()
