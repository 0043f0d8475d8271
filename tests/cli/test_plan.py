"""`fairlead plan`: what it prints, and what it refuses."""

from __future__ import annotations

import json

import pytest

from fairlead.cli.plan import _size, _span
from tests.cli.calling import call
from tests.cli.project import Project


def test_what_is_printed(project: Project) -> None:
    assert call("plan", project.config, "--detect", "0.1", "--answers", "60") == 0
    out, err = project.capsys.readouterr()
    assert "18 rows in = 18 ok" in err
    for words in (
        "planned for  this machine",
        "\nWork\n",
        "18 to train on, 6 held out",
        "\nMemory at its worst, in the training step\n",
        "It fits: there are ",
        "The most that fits is train.micro_batch_tokens=",
        "\nTime\n",
        "timed on layers of this shape",
        "\nDisk\n",
        "What can be shown (power 0.8, level 0.05; one-sided / two-sided)",
        "pairs needed for 10.0%",
        "60 answers show",
    ):
        assert words in out, words


def test_one_object_of_json(project: Project) -> None:
    assert call("plan", project.config, "--json", "--gpu", "l4", "--set", "train.epochs=3") == 0
    shown = json.loads(project.capsys.readouterr().out)
    assert shown["machine"] == "l4"
    assert shown["work"]["steps"] == 15
    assert shown["time"]["is_measured"] is False
    assert {"phases", "total", "fits", "largest_micro_batch_tokens"} <= shown["memory"].keys()


def test_a_run_that_does_not_fit(project: Project) -> None:
    assert call("plan", project.config, "--memory", "0.01") == 0
    out = project.capsys.readouterr().out
    assert "It does not fit: there are " in out
    assert "Not even the longest row does as a micro-batch of its own." in out
    assert "--set train.gradient_checkpointing=true: " in out
    assert ", does not fit either" in out


def fail(project: Project, *options: str) -> str:
    assert call("plan", project.config, *options) == 2
    out, err = project.capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err[err.rindex("fairlead: ") :]


def test_faults_of_arguments_and_of_the_configuration(project: Project) -> None:
    message = fail(project, "--gpu", "l44", "--detect", "2")
    assert "2 faults" in message
    assert "--gpu: 'l44' is not known. Did you mean l4?" in message
    assert "--detect: 2 is no difference between two accuracies." in message
    message = fail(project, "--set", "train.epochs=0", "--set", "loss.bta=1")
    assert "2 faults" in message


def test_a_model_and_rows_that_are_not_there(project: Project) -> None:
    (project.folder / "preference.jsonl").write_text("")
    assert "preference.jsonl" in fail(project)
    project.configure(adapter={"r": 2}, data={"train": str(project.folder / "preference-eval.jsonl"), "eval": []})
    (project.model / "config.json").unlink()
    assert "holds no model: config.json is missing" in fail(project)


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 B"), (1200, "1.20 kB"), (3_456_000, "3.46 MB"), (1.2e10, "12.00 GB")]
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert _size(int(size)).strip() == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0412, "0.041 s"), (59, "59 s"), (150, "2 min"), (3 * 3600 + 125, "3 h 2 min"), (90 * 3600, "3 d 18 h")],
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert _span(seconds) == words
