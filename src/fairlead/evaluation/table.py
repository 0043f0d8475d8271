"""Every measure of `fairlead eval` by name: its unit, which way is better, how items become one figure, its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead.evaluation.results import Direction

Statistic = Literal["mean", "median"]

REQUIRED = "required_phrase/"
CHECK = "check/"
"""Before the name of a check of the user's own."""
LM_EVAL = "lm_eval/"
"""Before the names of a task of lm-eval and of its metric."""
LM_EVAL_SHARES = frozenset(
    {"acc", "acc_norm", "acc_norm_bytes", "acc_mutual_info", "exact_match", "em", "f1", "pass@1"}
)
LM_EVAL_LOSSES = frozenset({"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter"})
"""Metrics of lm-eval of which less is better."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a measure is. statistic: how the items' values become the figure. counted: items are right or wrong."""

    unit: str
    direction: Direction
    meaning: str
    statistic: Statistic = "mean"
    counted: bool = True


KINDS = {
    "ranking_accuracy": Kind(
        unit="share",
        direction="up",
        meaning="pairs whose chosen side has the higher mean log-probability per token; a tie counts one half",
    ),
    "rewards/accuracies": Kind(
        unit="share",
        direction="up",
        meaning="pairs whose chosen side gained more log-probability over the reference than the rejected one",
    ),
    "rewards/margins": Kind(
        unit="reward",
        direction="up",
        meaning="mean of beta times the difference between both sides' gains in log-probability over the reference",
    ),
    "length/words": Kind(unit="words", direction="none", meaning="median length of an answer", statistic="median"),
    "length/tokens": Kind(
        unit="tokens",
        direction="none",
        meaning="median length of an answer, the end token included",
        statistic="median",
    ),
    "apology_rate": Kind(unit="share", direction="none", meaning="answers that apologise"),
    "refusal_rate": Kind(unit="share", direction="none", meaning="answers that refuse"),
    "over_refusal_rate": Kind(
        unit="share", direction="down", meaning="prompts marked benign (meta.benign: true) that are refused"
    ),
    "bullet_share": Kind(unit="share", direction="none", meaning="answers with a bulleted or numbered list"),
    "markdown_share": Kind(unit="share", direction="none", meaning="answers with Markdown other than a list"),
    "repetition": Kind(
        unit="share",
        direction="down",
        meaning="mean share of an answer's word 4-grams that stood earlier in it",
        counted=False,
    ),
    "language_match": Kind(
        unit="share",
        direction="up",
        meaning="answers in the language of the last user turn, where both languages are known",
    ),
    "json_validity": Kind(
        unit="share",
        direction="up",
        meaning="answers that are JSON of the schema, or a call of a listed tool, that the row asks for",
    ),
    "factual_accuracy": Kind(unit="share", direction="up", meaning="questions answered right"),
    "probe/attack_success": Kind(unit="share", direction="down", meaning="attacks by red-team probes that succeeded"),
    "probe/over_refusal": Kind(
        unit="share", direction="down", meaning="harmless requests among the red-team probes that were refused"
    ),
    "kl/k1": Kind(
        unit="nats",
        direction="none",
        meaning="KL to the reference per answer sampled from the model: mean of the sum of log-ratios (k1)",
    ),
    "kl/k3": Kind(
        unit="nats",
        direction="none",
        meaning="KL to the reference per answer sampled from the model, by the estimator that is never negative (k3)",
    ),
    "kl/per_token": Kind(
        unit="nats",
        direction="none",
        meaning="exact KL to the reference over the vocabulary, per token of answers sampled from the model",
    ),
}


def kind_of(name: str) -> Kind:
    """What the measure `name` is; each required phrase, and each check of the user's own, has a measure of its own."""
    if name.startswith(CHECK):
        return Kind(unit="share", direction="up", meaning=f"answers that pass the check {name.removeprefix(CHECK)!r}")
    if name.startswith(LM_EVAL):
        task, _, metric = name.removeprefix(LM_EVAL).rpartition("/")
        plain = metric.partition(",")[0]
        return Kind(
            unit="share" if plain in LM_EVAL_SHARES else "",
            direction="up" if plain in LM_EVAL_SHARES else "down" if plain in LM_EVAL_LOSSES else "none",
            meaning=f"{metric} of the task {task}, as lm-eval computes it",
        )
    if name.startswith(REQUIRED):
        phrase = name.removeprefix(REQUIRED)
        return Kind(unit="share", direction="up", meaning=f"answers that need the phrase {phrase!r} and carry it")
    return KINDS[name]


SECTIONS = {
    "held_out": ("ranking_accuracy", "rewards/accuracies", "rewards/margins"),
    "generation": (
        "length/words",
        "length/tokens",
        "apology_rate",
        "refusal_rate",
        "over_refusal_rate",
        REQUIRED,
        "bullet_share",
        "markdown_share",
        "repetition",
        "language_match",
        "json_validity",
        CHECK,
    ),
    "factual": ("factual_accuracy",),
    "probes": ("probe/attack_success", "probe/over_refusal"),
    "kl": ("kl/k1", "kl/k3", "kl/per_token"),
    "lm_eval": (LM_EVAL,),
}
"""The measures that each section of a suite gives."""
