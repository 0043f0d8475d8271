"""What each metric of a run means and which way is better: one table that log, report and docs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

EVAL_PREFIX = "eval/"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: its meaning in a line, which way is better (`none`: neither by itself), and its unit."""

    meaning: str
    direction: Literal["up", "down", "none"]
    unit: str


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "loss": Metric(
            meaning="the loss that is minimised, over the whole batch; comparable only between runs with the same loss",
            direction="down",
            unit="",
        ),
        "learning_rate": Metric(meaning="learning rate of the step", direction="none", unit=""),
        "grad_norm": Metric(
            meaning="length of the gradient before clipping; a sudden rise announces trouble",
            direction="none",
            unit="",
        ),
        "rewards/chosen": Metric(
            meaning="implicit reward of the chosen (KTO: desirable) completions: β times the log-ratio to the "
            "reference, or β times the mean log-probability where there is none",
            direction="up",
            unit="nats × β",
        ),
        "rewards/rejected": Metric(
            meaning="implicit reward of the rejected (KTO: undesirable) completions",
            direction="down",
            unit="nats × β",
        ),
        "rewards/margins": Metric(
            meaning="reward of the chosen less that of the rejected completion",
            direction="up",
            unit="nats × β",
        ),
        "rewards/accuracies": Metric(
            meaning="share of pairs whose chosen completion has the higher reward, a tie counting ½; "
            "½ where policy and reference are the same model",
            direction="up",
            unit="share",
        ),
        "ranking_accuracy": Metric(
            meaning="share of pairs whose chosen completion has the higher mean log-probability per token, a tie "
            "counting ½; needs no reference, so it compares any two models",
            direction="up",
            unit="share",
        ),
        "logps/chosen": Metric(
            meaning="log-probability of the chosen (KTO: desirable) completions, summed over tokens; it often falls "
            "in DPO while margins grow",
            direction="up",
            unit="nats",
        ),
        "logps/rejected": Metric(
            meaning="log-probability of the rejected (KTO: undesirable) completions, summed over tokens",
            direction="down",
            unit="nats",
        ),
        "nll_loss": Metric(
            meaning="negative log-likelihood per token of the imitated completions, averaged over completions",
            direction="down",
            unit="nats/token",
        ),
        "kl": Metric(
            meaning="KTO's reference point z: mean log-ratio to the reference of mismatched completions, at least 0",
            direction="none",
            unit="nats",
        ),
        "tokens/s": Metric(meaning="tokens through the model per second", direction="up", unit="tokens/s"),
        "examples/s": Metric(meaning="examples trained on per second", direction="up", unit="examples/s"),
        "epoch": Metric(meaning="passes over the training rows so far", direction="none", unit="epochs"),
    }
)


def describe(name: str) -> Metric:
    """The entry of a metric, with or without `eval/` (the same measure on held-out rows); KeyError if there is none."""
    return METRICS[name.removeprefix(EVAL_PREFIX)]
