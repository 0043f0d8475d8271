"""Sampling speed: Fairlead's decoder against `transformers.generate`, on the same prompts, in one process, in turn.

    python bench/sampling.py out/harbor/model/SmolLM2-135M-Instruct

Greedy, so that both write the same replies; tokens per second count new tokens, and the time includes the prompts.
Prints one JSON object with the medians and the ratio, for `bench/results/`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import torch

from fairlead.data.records import Message
from fairlead.engine.rendering import Renderer
from fairlead.engine.sampling import Sampling, sample
from fairlead.models.loading import load, resolve_dtype
from fairlead.runs.surroundings import hardware, package_versions

BATCH, PROMPTS, NEW_TOKENS, ROUNDS = 32, 64, 48, 3
TOPICS = (
    "a late parcel",
    "a broken cup",
    "a double charge",
    "a lost ring",
    "a wrong size",
    "a return",
    "a gift",
    "a bill",
)


def prompts(renderer: Renderer) -> list[tuple[int, ...]]:
    """Sixty-four prompts of about 110 tokens, no two alike."""
    policy = "You answer for a shop. " + "Returns are free within 30 days; refunds take 5 days to the same card. " * 4
    rows = []
    for number in range(PROMPTS):
        question = f"Order {number}: I write about {TOPICS[number % len(TOPICS)]}. What can you do, and by when?"
        turns = [Message(role="system", content=policy), Message(role="user", content=question)]
        rows.append(renderer.prompt_ids(turns))
    return rows


def ours(lm: Any, rows: list[tuple[int, ...]], stop: frozenset[int]) -> int:
    """New tokens written by Fairlead."""
    settings = Sampling(temperature=0.0, max_new_tokens=NEW_TOKENS, batch_size=BATCH)
    return sum(len(reply.ids) for (reply,) in sample(lm.model, rows, settings, stop_ids=stop))


@torch.no_grad()
def theirs(lm: Any, rows: list[tuple[int, ...]], stop: frozenset[int]) -> int:
    """New tokens written by transformers, in batches padded on the left; rows that have ended count up to their end."""
    written = 0
    for at in range(0, len(rows), BATCH):
        batch = rows[at : at + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in batch])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
        out = lm.model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=sorted(stop)
        )
        for row in out[:, width:].tolist():
            ends = [place for place, token in enumerate(row) if token in stop]
            written += ends[0] + 1 if ends else len(row)
    return written


def main() -> None:
    """Time both in turn and print the medians."""
    lm = load(sys.argv[1], dtype=resolve_dtype("auto"))
    renderer = Renderer(lm.tokenizer)
    rows, stop = prompts(renderer), renderer.stop_ids
    speeds: dict[str, list[float]] = {"fairlead": [], "transformers": []}
    for round_number in range(ROUNDS + 1):
        for name, run in (("fairlead", ours), ("transformers", theirs)):
            start = time.perf_counter()
            written = run(lm, rows, stop)
            if round_number:  # the first round warms up
                speeds[name].append(written / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    found = {
        "model": "SmolLM2-135M-Instruct",
        "dtype": str(next(lm.model.parameters()).dtype),
        "batch": BATCH,
        "prompt_tokens": statistics.mean(map(len, rows)),
        "new_tokens": NEW_TOKENS,
        "tokens_per_second": medians,
        "ratio": medians["fairlead"] / medians["transformers"],
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
        "packages": package_versions(),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
