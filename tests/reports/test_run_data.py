from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.errors import RunError
from fairlead.identity import digest
from fairlead.reports.run_data import MOST_SAMPLES, read_run
from fairlead.runs.directory import Input, RunDirectory

from .fake_run import LEDGER, make_run


def _bare_run(path: Path, **given: object) -> RunDirectory:
    settings = {"stage": "train", "config": {}, "seed": 0, **given}
    return RunDirectory.create(path, **settings)  # type: ignore[arg-type]


def test_a_whole_run(tmp_path: Path) -> None:
    data = read_run(make_run(tmp_path).path)
    assert (data.name, data.method, data.rows) == ("2026-11-23-dpo-7f3a", "dpo", 412)
    assert data.model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data.ledger is not None
    assert (data.ledger.rows_in, data.ledger.by_code) == (412, LEDGER["by_code"])
    assert data.samples[1].prompt.startswith("system: You are the support desk")
    assert list(data.series["eval/loss"].steps) == list(range(0, 91, 10))


def test_a_run_with_nothing_in_it(tmp_path: Path) -> None:
    data = read_run(_bare_run(tmp_path / "run").path)
    assert (data.method, data.model, data.data_digest, data.seconds, data.best_step) == ("train", "", "", None, None)
    assert (data.series, data.ledger, data.samples) == ({}, None, [])


def test_a_step_written_twice_counts_once(tmp_path: Path) -> None:
    run = _bare_run(tmp_path / "run")
    for value in (3.0, 2.0):
        run.append(2, {"loss": value})
    run.append(1, {"loss": 4.0})
    series = read_run(run.path).series["loss"]
    assert (series.steps, series.values) == ([1, 2], [4.0, 2.0])
    assert (series.at(2), series.at(7), series.at(None)) == (2.0, None, None)


def test_best_step_follows_the_direction_of_its_metric(tmp_path: Path) -> None:
    run = _bare_run(tmp_path / "run", config={"train": {"metric_for_best": "loss"}})
    for step, loss in enumerate([3.0, 1.0, float("nan"), 1.0, 2.0]):
        run.append(step, {"eval/loss": loss, "eval/rewards/accuracies": loss / 3})
    assert (read_run(run.path).metric_for_best, read_run(run.path).best_step) == ("eval/loss", 1)
    run.update_extra(metric_for_best="rewards/accuracies")
    assert (read_run(run.path).metric_for_best, read_run(run.path).best_step) == ("eval/rewards/accuracies", 0)
    run.update_extra(best_step=4)
    assert read_run(run.path).best_step == 4


def test_data_digest_of_one_file_and_of_two(tmp_path: Path) -> None:
    model = Input(path="model", sha256="f" * 64)
    files = [Input(path=f"{name}.jsonl", sha256=name * 64, rows=3) for name in "ab"]
    one = read_run(_bare_run(tmp_path / "one", inputs=[model, files[0]]).path)
    two = read_run(_bare_run(tmp_path / "two", inputs=[model, *files]).path)
    assert (one.data_digest, one.rows) == ("a" * 64, 3)
    assert (two.data_digest, two.rows) == (digest(["a" * 64, "b" * 64]), 6)


def test_a_sum_of_losses_is_named_whole(tmp_path: Path) -> None:
    config = {"loss": [{"name": "dpo"}, {"name": "sft"}]}
    assert read_run(_bare_run(tmp_path / "run", config=config).path).method == "dpo + sft"


def test_a_run_cut_short_has_samples_from_before_alone(tmp_path: Path) -> None:
    run = _bare_run(tmp_path / "run")
    line = json.dumps({"prompt": [{"role": "user", "content": "Hi"}], "before": "Hello"}) + "\n"
    run.artifact("samples.jsonl").write_text(line * (MOST_SAMPLES + 3))
    samples = read_run(run.path).samples
    assert len(samples) == MOST_SAMPLES
    assert (samples[0].prompt, samples[0].before, samples[0].after) == ("Hi", "Hello", None)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("ledger.json", "{", "ledger.json"),
        ("ledger.json", '{"rows_in": 3}', "ledger.json"),
        ("ledger.json", '{"rows_in": 1, "ok": 1, "fixed": 0, "quarantined": 0, "by_code": [1]}', "ledger.json"),
        ("artifacts/samples.jsonl", '{"prompt": "a", "before": "b"}\n{"before": 1}\n', "samples.jsonl:2"),
        ("artifacts/samples.jsonl", '{"prompt": [1], "before": "b"}\n', "samples.jsonl:1"),
        ("inputs.json", '[{"name": "x"}]', "inputs.json"),
        ("config.json", "{}", "config.json"),
        ("events.jsonl", '{"step": 1}\n', "events.jsonl:1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    run = _bare_run(tmp_path / "run")
    (run.path / name).write_text(content)
    with pytest.raises(RunError, match=says):
        read_run(run.path)
