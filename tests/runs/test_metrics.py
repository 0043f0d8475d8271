from __future__ import annotations

import subprocess
import sys

import pytest

from fairlead.runs.metrics import METRICS, PROBES, describe, evaluated_name


def test_the_names_users_know() -> None:
    assert set(METRICS) == {
        "loss",
        "learning_rate",
        "grad_norm",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
        "ranking_accuracy",
        "logps/chosen",
        "logps/rejected",
        "logps/chosen_change",
        "logps/rejected_change",
        "nll_loss",
        "aux_loss",
        "kl",
        *PROBES,
        "tokens/s",
        "examples/s",
        "epoch",
    }


@pytest.mark.parametrize("name", METRICS)
def test_a_meaning_is_one_line(name: str) -> None:
    assert METRICS[name].meaning
    assert "\n" not in METRICS[name].meaning
    assert METRICS[name].direction in {"up", "down", "none"}


def test_the_names_of_probes() -> None:
    names = ("length", "repetition", "ended", "kl", "bullets", "markdown", "apologies", "refusals")
    assert tuple(f"probe/{name}" for name in names) == PROBES


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("loss", "eval/loss"),
        ("eval/loss", "eval/loss"),
        ("rewards/margins", "eval/rewards/margins"),
        ("probe/kl", "probe/kl"),
        ("mine", "mine"),
        ("theirs", "eval/theirs"),
    ],
)
def test_the_name_that_evaluations_record_by(name: str, recorded: str) -> None:
    assert evaluated_name(name, {"mine"}) == recorded


def test_held_out_metrics_mean_the_same() -> None:
    assert describe("eval/rewards/accuracies") is METRICS["rewards/accuracies"]
    assert describe("loss").direction == "down"
    with pytest.raises(KeyError):
        describe("eval/nothing")


def test_the_table_imports_without_torch() -> None:
    code = "import sys, fairlead.runs.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
