from __future__ import annotations

import subprocess
import sys

import pytest

from fairlead.runs.metrics import METRICS, describe


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
        "nll_loss",
        "kl",
        "tokens/s",
        "examples/s",
        "epoch",
    }


@pytest.mark.parametrize("name", METRICS)
def test_a_meaning_is_one_line(name: str) -> None:
    assert METRICS[name].meaning
    assert "\n" not in METRICS[name].meaning
    assert METRICS[name].direction in {"up", "down", "none"}


def test_held_out_metrics_mean_the_same() -> None:
    assert describe("eval/rewards/accuracies") is METRICS["rewards/accuracies"]
    assert describe("loss").direction == "down"
    with pytest.raises(KeyError):
        describe("eval/nothing")


def test_the_table_imports_without_torch() -> None:
    code = "import sys, fairlead.runs.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
