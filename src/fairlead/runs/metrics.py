"""What each metric of a run means and which way is better: one table that log, report and docs share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

EVAL_PREFIX, PROBE_PREFIX = "eval/", "probe/"
KL = f"{PROBE_PREFIX}kl"


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
            "reference, or β times the mean log-probability where there is none; under `reward`, what the reward model "
            "gives them, which has no unit",
            direction="up",
            unit="nats × β",
        ),
        "rewards/rejected": Metric(
            meaning="implicit reward of the rejected (KTO: undesirable) completions; under `reward`, what the reward "
            "model gives them",
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
            "½ where policy and reference are the same model, and where a new reward model starts",
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
        "logps/chosen_change": Metric(
            meaning="change of the log-probability of the chosen (KTO: desirable) completions per token: in training "
            "against the reference, averaged over completions; on held-out rows since before the first step, over all "
            "their tokens. A fall beyond 0.5 is pointed out",
            direction="up",
            unit="nats/token",
        ),
        "logps/rejected_change": Metric(
            meaning="the same of the rejected (KTO: undesirable) completions",
            direction="down",
            unit="nats/token",
        ),
        "nll_loss": Metric(
            meaning="negative log-likelihood per token of the imitated completions, averaged over completions",
            direction="down",
            unit="nats/token",
        ),
        "aux_loss": Metric(
            meaning="load-balancing loss of a mixture-of-experts model, before its weight router_aux_loss_coef; it is "
            "the number of experts per token where all experts are used alike. Micro-batches are averaged by tokens",
            direction="down",
            unit="",
        ),
        "kl": Metric(
            meaning="KTO's reference point z: mean log-ratio to the reference of mismatched completions, at least 0",
            direction="none",
            unit="nats",
        ),
        "probe/length": Metric(
            meaning="mean length of the replies to the run's fixed prompts (greedy, end token included); a steady rise "
            "while quality stays is a known failure of preference training, and at `train.sample_tokens` it ends",
            direction="none",
            unit="tokens",
        ),
        "probe/repetition": Metric(
            meaning="share of 4-grams of tokens that stood earlier in the same reply (seq-rep-4), averaged over "
            "replies of at least 4 tokens",
            direction="down",
            unit="share",
        ),
        "probe/ended": Metric(
            meaning="share of replies that end by themselves within `train.sample_tokens`",
            direction="up",
            unit="share",
        ),
        "probe/kl": Metric(
            meaning="how much likelier the policy finds its own replies than the reference does, per token; absent "
            "where the reference's weights are not at hand (full fine-tuning)",
            direction="down",
            unit="nats/token",
        ),
        "probe/bullets": Metric(
            meaning="share of replies with a bulleted or numbered list", direction="none", unit="share"
        ),
        "probe/markdown": Metric(
            meaning="share of replies with other Markdown: headings, bold, code, tables, links",
            direction="none",
            unit="share",
        ),
        "probe/apologies": Metric(
            meaning="share of replies that apologise (a list of English phrases)", direction="none", unit="share"
        ),
        "probe/refusals": Metric(
            meaning="share of replies that refuse (a list of English phrases, near the beginning)",
            direction="none",
            unit="share",
        ),
        "tokens/s": Metric(meaning="tokens through the model per second", direction="up", unit="tokens/s"),
        "examples/s": Metric(meaning="examples trained on per second", direction="up", unit="examples/s"),
        "epoch": Metric(meaning="passes over the training rows so far", direction="none", unit="epochs"),
    }
)


PROBES = tuple(name for name in METRICS if name.startswith(PROBE_PREFIX))
"""The metrics of replies to the run's fixed prompts."""


def evaluated_name(name: str, own: Collection[str] = ()) -> str:
    """The name under which evaluations record a metric: probes and a user's `own` as they are, others with `eval/`."""
    if name in own or name.startswith(PROBE_PREFIX):
        return name
    return EVAL_PREFIX + name.removeprefix(EVAL_PREFIX)


def describe(name: str) -> Metric:
    """The entry of a metric, with or without `eval/` (the same measure on held-out rows); KeyError if there is none."""
    return METRICS[name.removeprefix(EVAL_PREFIX)]
