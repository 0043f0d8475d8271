"""Model families measured: packed and padded scoring against the model's own forward pass, and docs/families.md.

The oracle is the model itself in float64: one sequence at a time, its own attention, its own head, log-softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from fairlead.engine import attention
from fairlead.engine.attention import causal_of
from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.scoring import Scorer, make_scorer
from tests import tiny

PAGE = Path(__file__).parents[2] / "docs" / "families.md"

BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Largest difference allowed, relative to the larger of the size and 1."""


@dataclass(frozen=True)
class Family:
    """A family as users call it, how its tiny model is made, and what `engine: auto` must choose for it."""

    build: Callable[..., Any]
    engine: str
    traits: str


FAMILIES = {
    "Llama": Family(tiny.tiny_llama, "packed", "grouped queries"),
    "Qwen2": Family(tiny.tiny_qwen2, "packed", "biases, a window in some layers"),
    "Qwen3": Family(tiny.tiny_qwen3, "packed", "norms on queries and keys"),
    "Mistral": Family(tiny.tiny_mistral, "packed", "a window in every layer"),
    "Phi-3": Family(tiny.tiny_phi3, "packed", "fused projections, partly rotary, a window"),
    "OLMo 2": Family(tiny.tiny_olmo2, "packed", "norms behind the layers"),
    "SmolLM3": Family(tiny.tiny_smollm3, "packed", "layers without positions"),
    "GPT-2": Family(tiny.tiny_gpt2, "packed", "learned positions, `Conv1D`"),
    "Granite": Family(tiny.tiny_granite, "packed", "scaled logits, residuals and scores"),
    "Cohere": Family(tiny.tiny_cohere, "packed", "scaled logits, parallel layers"),
    "Gemma 3 (text)": Family(tiny.tiny_gemma3, "packed", "a window in some layers"),
    "Qwen3-MoE": Family(tiny.tiny_qwen3_moe, "packed", "experts"),
    "OLMoE": Family(tiny.tiny_olmoe, "packed", "experts"),
    "Gemma 2": Family(tiny.tiny_gemma2, "padded", "soft caps on scores and logits"),
    "gpt-oss": Family(tiny.tiny_gpt_oss, "padded", "attention sinks, experts"),
    "Qwen3-Next": Family(tiny.tiny_qwen3_next, "padded", "linear attention, experts"),
    "Falcon-H1": Family(tiny.tiny_falcon_h1, "padded", "a state space beside attention, scaled logits"),
    "Qwen2-MoE with a window": Family(tiny.tiny_qwen2_moe, "padded", "a window that only the mask knows of"),
}


# --------------------------------------------------------------------------------------------------------- what is run


def ids(seed: int, length: int) -> tuple[int, ...]:
    """Random token ids."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, tiny.VOCABULARY, (length,), generator=generator).tolist())


def completion(seed: int, length: int, *turns: tuple[int, int]) -> Completion:
    """A completion trained in the turns [start, end), by default throughout."""
    trained = tuple(any(start <= at < end for start, end in turns or ((0, length),)) for at in range(length))
    return Completion(ids=ids(seed, length), trained=trained)


GROUPS = (
    PromptGroup(row_id="pair", prompt=ids(1, 19), completions=(completion(2, 7), completion(3, 4))),
    PromptGroup(row_id="opening", prompt=ids(1, 19)[:16] + ids(4, 5), completions=(completion(5, 6),)),
    PromptGroup(row_id="three", prompt=ids(6, 11), completions=tuple(completion(7 + n, 1 + 5 * n) for n in range(3))),
    PromptGroup(row_id="turns", prompt=ids(10, 3), completions=(completion(11, 30, (0, 6), (13, 19), (25, 30)),)),
)
"""Shared prompts and a shared opening, one to three completions each, and a demonstration with three trained turns."""


@contextmanager
def all_in_float64() -> Iterator[None]:
    """Within, on every thread, what is float64 stays so: transformers' norms, routers and softmaxes would narrow it."""

    def wide(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if x.dtype == torch.float64:
                args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
                kwargs = {name: torch.float64 if arg is torch.float32 else arg for name, arg in kwargs.items()}
            return function(x, *args, **kwargs)

        return call

    with ExitStack() as patches:
        for owner, name in ((Tensor, "to"), (Tensor, "type"), (torch.nn.functional, "softmax"), (torch, "softmax")):
            patches.enter_context(patch.object(owner, name, wide(getattr(owner, name))))
        narrow = Tensor.float
        patches.enter_context(patch.object(Tensor, "float", lambda x: x if x.dtype == torch.float64 else narrow(x)))
        yield


def own_logps(model: Any, groups: Sequence[PromptGroup] = GROUPS) -> Tensor:
    """The model's own forward pass, one completion at a time: no padding, no packing, nothing of the engine."""
    pieces = []
    for group in groups:
        for done in group.completions:
            tokens = torch.tensor([group.prompt + done.ids])
            logps_TV = torch.log_softmax(model(input_ids=tokens, use_cache=False).logits[0], dim=-1)
            at = len(group.prompt) - 1
            own = logps_TV[at : at + len(done.ids)].gather(1, tokens[0, at + 1 :, None])[:, 0]
            pieces.append(own[torch.tensor(done.trained)])
    return torch.cat(pieces)


def in_float64(model: Any) -> Any:
    """The model in float64; its experts in a plain loop, since the grouped product knows narrower types only."""
    causal_of(model).set_experts_implementation("eager")
    return model.double()


def gradients(model: Any, logps: Tensor) -> dict[str, Tensor]:
    """The gradients of a scalar that weighs every token differently."""
    model.zero_grad()
    (logps * torch.linspace(-1, 1, len(logps), dtype=logps.dtype)).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def variants(build: Callable[..., Any], **overrides: Any) -> Iterator[Any]:
    """All weights trained and the head not tied; and LoRA with gradient checkpointing on a tied head."""
    yield build(tie_word_embeddings=False, **overrides).train()
    yield checkpointed(with_lora(build(tie_word_embeddings=True, **overrides))).train()


def with_lora(model: Any) -> Any:
    """LoRA on the linear layers (PEFT refuses the one behind a state space), with weights that already do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        refused = ["out_proj"] if hasattr(model.config, "mamba_d_ssm") else None
        peft = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", exclude_modules=refused))
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return peft


def checkpointed(model: Any) -> Any:
    """The model with gradient checkpointing."""
    causal_of(model).gradient_checkpointing_enable({"use_reentrant": False})
    return model


# --------------------------------------------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Difference:
    """Largest relative difference of token log-probabilities and of gradients."""

    values: float = 0.0
    gradients: float = 0.0

    def __or__(self, other: Difference) -> Difference:
        return Difference(max(self.values, other.values), max(self.gradients, other.gradients))


@dataclass(frozen=True)
class Measured:
    """What is found of a family: the scorer that `auto` chose, and the largest differences of all that was tried."""

    model_class: str
    scorer: Scorer
    differences: dict[torch.dtype, Difference]


def measure(build: Callable[..., Any]) -> Measured:
    """Score and differentiate every variant by every engine that it allows, in float64 and float32."""
    found = {dtype: Difference() for dtype in BOUNDS}
    for exact, narrow in zip(variants(build), variants(build), strict=True):
        with all_in_float64():
            in_float64(exact)
            logps = own_logps(exact)
            wanted = logps.detach(), gradients(exact, logps)
            chosen = make_scorer(exact)
            found[torch.float64] |= _engines(chosen, wanted)
        found[torch.float32] |= _engines(make_scorer(narrow), wanted)
    return Measured(type(causal_of(exact)).__name__, chosen, found)


def _engines(chosen: Scorer, wanted: tuple[Tensor, dict[str, Tensor]]) -> Difference:
    """The chosen engine, packed in its two ways (groups whole, groups cut into segments), and the padded one."""
    worst = difference(make_scorer(chosen.model, engine="padded"), wanted)
    for length in (attention.SHORT_GROUP, 0) if chosen.packed else ():
        with patch.object(attention, "SHORT_GROUP", length):
            worst |= difference(chosen, wanted)
    return worst


def difference(scorer: Scorer, wanted: tuple[Tensor, dict[str, Tensor]]) -> Difference:
    """How far scoring `GROUPS` is from the wanted log-probabilities and gradients."""
    with scorer.attention():
        logps = scorer.score(scorer.batch(GROUPS)).logp_N
        ours = gradients(scorer.model, logps)
    logps_N, gradient_of = wanted
    assert ours.keys() == gradient_of.keys()
    apart = [_relative(ours[name], gradient, gradient.abs().max()) for name, gradient in gradient_of.items()]
    return Difference(_relative(logps, logps_N, logps_N.abs()), max(apart))


def _relative(ours: Tensor, wanted: Tensor, size: Tensor) -> float:
    return ((ours.detach().double() - wanted).abs() / size.clamp(min=1)).max().item()


# --------------------------------------------------------------------------------------------------------------- page


HEAD = """\
# Model families

This page is measured; `python -m tests.pages` measures and writes it anew, and the tests hold it to the bounds below.

Fairlead scores a model *packed* where that is exact: a prompt is computed once for all of its completions, and nothing
is padded. Where it is not, the model is scored *padded*, one row per completion, which is slower and gives the same
numbers. Which of the two is used is decided when a run starts, and the log says why a model is padded. No family is
known by name. A model is padded if

- it passes something to its attention that the packed layout does not compute (a soft cap, attention sinks),
- it asks for a mask that is not causal, or for a window that it does not pass to its attention as well,
- a layer mixes tokens by other means than attention (a convolution, linear attention, a state space),
- or a short prompt with two completions, scored packed, differs from the model's own forward pass.

`model.engine` in the [configuration](configuration.md) forces one of the two: `packed` stops the run where packing is
not exact, `padded` never packs.

## What was measured

Each line is a tiny random model of the family: two layers, grouped queries where the family has them, windows of 8
tokens under {sequences} sequences of up to {longest} tokens: one to three completions of a prompt, prompts that begin
alike, a dialogue with three trained turns. They were scored packed (where that is chosen; groups attended to whole, and
cut into segments as long ones are) and padded, once with all weights trained and the head not tied, once with LoRA,
gradient checkpointing and a tied head.

The yardstick is the model's own forward pass in float64, one sequence at a time: its own attention, its own head,
log-softmax. The last four columns are the largest difference from it over all of these, of any token's log-probability
and of any entry of any gradient. Differences are relative to the size of what is compared (for gradients, to the
largest entry of the tensor), or absolute where that is below 1. The bounds are 1e-10 in float64 and 1e-5 in float32.

Greedy completions of prompts of seven lengths, sampled together, are token for token those of transformers' `generate`
in every family.

"""

TAIL = """
## What to know besides

- bfloat16 is held to 0.15 nats per token from float64, on models whose weights are spread less wide.
- Rounding in float32 grows along a recurrence, in the model's own forward pass as here. The tiny Qwen3-Next has weights
  of a standard deviation of 0.05, the others of 0.2.
- A family that is not listed works if transformers loads it as a causal language model: the same check decides, and a
  model whose log-probabilities cannot be had even padded is refused.
- Some models with long contexts (Phi-3's `longrope`) turn to other rotary factors when the longest sequence of a
  forward pass exceeds `original_max_position_embeddings`. Then every row of the batch gets them, in transformers as
  here: train such a model with `data.max_length` within that limit.
"""

COLUMNS = ("family", "model class", "what is particular", "engine", "why padded", "float64: log-probabilities")
COLUMNS += ("gradients", "float32: log-probabilities", "gradients")


def page() -> str:
    """docs/families.md, measured now."""
    lines = (COLUMNS, ("---",) * len(COLUMNS), *(row(name, measure(family.build)) for name, family in FAMILIES.items()))
    lengths = [len(group.prompt) + len(done.ids) for group in GROUPS for done in group.completions]
    head = HEAD.format(sequences=len(lengths), longest=max(lengths))
    return head + "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + TAIL


def row(name: str, measured: Measured) -> tuple[str, ...]:
    """A line of the table."""
    apart = [figure for found in measured.differences.values() for figure in (found.values, found.gradients)]
    engine = "packed" if measured.scorer.packed else "padded"
    why = measured.scorer.note or "–"
    return name, f"`{measured.model_class}`", FAMILIES[name].traits, engine, why, *(f"{figure:.0e}" for figure in apart)


def documented() -> dict[str, tuple[str, ...]]:
    """The table as docs/families.md shows it, by family."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    table = [tuple(line.strip("| ").split(" | ")) for line in lines[2:]]
    return {cells[0]: cells for cells in table}
