"""Prompts as models are asked them in `eval`: with the suite's prompting, and for templates without a system turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from msgspec.structs import replace

from fairlead.data.records import Candidates, Message
from fairlead.engine.rendering import Renderer, RenderingFault
from fairlead.evaluation.baseline import Example, Passage, Prompting, Share, share_of_gain
from fairlead.evaluation.estimates import Observed
from fairlead.evaluation.results import Item
from fairlead.evaluation.suite import PromptingBaseline
from fairlead.evaluation.system_turns import without_system_turn
from fairlead.evaluation.table import kind_of
from fairlead.models.language_model import LanguageModel

PROMPTING = "prompting.json"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Prompts as they are put to a model, and what is worth knowing about them."""

    rows: tuple[Candidates, ...]
    notes: tuple[str, ...]


def prompting_of(section: PromptingBaseline, passages: Sequence[Passage], lm: LanguageModel) -> Prompting:
    """The suite's prompting, with tokens counted as the model does."""
    return Prompting(
        system=section.system,
        examples=tuple(Example(question=each.question, answer=each.answer) for each in section.examples),
        documents=tuple(passages),
        k=section.k,
        passage_tokens=section.passage_tokens,
        count_tokens=lambda text: len(lm.tokenizer(text, add_special_tokens=False).input_ids),
    )


def ask(rows: Sequence[Candidates], lm: LanguageModel, prompting: Prompting | None, *, fold: bool) -> Asked:
    """The rows with the prompts that are put to the model.

    fold: where the template takes no system turn, its text is put at the head of the first user turn. Prompting does so
    by itself, since its system turn is ours.
    """
    notes = []
    asked = list(rows)
    if prompting is not None:
        made = [prompting.prompt(row.prompt) for row in rows]
        asked = [replace(row, prompt=each.turns) for row, each in zip(rows, made, strict=True)]
        short = sum(bool(each.left_out) for each in made)
        if short:
            notes.append(
                f"passages were left out of {short:,} of {len(rows):,} prompts: more than baseline.passage_tokens."
            )
    if (fold or prompting is not None) and not _takes_system_turn(lm):
        folded = [replace(row, prompt=without_system_turn(row.prompt)) for row in asked]
        count = sum(new != old for new, old in zip(folded, asked, strict=True))
        if count:
            notes.append(
                f"the chat template takes no system turn: in {count:,} prompts it stands at the head of the first user "
                "turn."
            )
        asked = folded
    return Asked(rows=tuple(asked), notes=tuple(notes))


def with_own_prompts(rows: Sequence[Candidates], answered: Sequence[Candidates]) -> tuple[Candidates, ...]:
    """The answers under the prompts of `rows`, by which they are measured."""
    return tuple(replace(row, candidates=each.candidates) for row, each in zip(rows, answered, strict=True))


def _takes_system_turn(lm: LanguageModel) -> bool:
    try:
        Renderer(lm.tokenizer).prompt_ids((Message(role="system", content="a"), Message(role="user", content="b")))
    except RenderingFault:
        return False
    return True


def shares(
    observed: Mapping[str, Sequence[Observed | Item]], *, tuned: Sequence[str], prompted: str, untuned: str, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """For each tuned model and each measure with a better way, the share of its gain that prompting reaches.

    Also the sentences for gains that are settled, and one for those that are not.
    """
    found: list[dict[str, Any]] = []
    notes = []
    before, between = _by_measure(observed[untuned]), _by_measure(observed[prompted])
    for model in tuned:
        after = _by_measure(observed[model])
        unsettled = []
        for measure in before.keys() & between.keys() & after.keys():
            direction = kind_of(measure).direction
            if direction == "none":
                continue
            share: Share = share_of_gain(
                before[measure], between[measure], after[measure], direction=direction, seed=seed
            )
            found.append({"model": model, "measure": measure, **asdict(share)})
            if share.low is None:
                unsettled.append(measure)
            else:
                notes.append(f"{model}, {measure}: {share.says}")
        if unsettled:
            notes.append(
                f"{model} gains nothing that is settled over {untuned} in {', '.join(sorted(unsettled))}, so no "
                "share of it can be told."
            )
    return sorted(found, key=lambda each: (each["model"], each["measure"])), sorted(notes)


def _by_measure(observed: Sequence[Observed | Item]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for each in observed:
        found.setdefault(each.measure, {})[each.id] = each.value
    return found
