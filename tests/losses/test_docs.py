"""`docs/losses.md` says what the table of losses says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from fairlead.losses.binding import check_losses
from fairlead.losses.scores import Demonstrations, Pairs, Thumbs
from fairlead.losses.table import IMITATION_RATES, LOSSES, PREFERENCE_RATES, allowed, parameters

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", PAGE, flags=re.MULTILINE | re.DOTALL))
ROWS = {Pairs: "pairs", Thumbs: "single completions with a label", Demonstrations: "demonstrations"}


def facts(name: str) -> list[str]:
    loss = LOSSES[name]
    described = []
    for key, default in parameters(name).items():
        choice = allowed(name, key)
        described.append(f"`{key}` {default} ({' or '.join(choice) if isinstance(choice, tuple) else choice})")
    rows = ROWS[loss.examples] + (", which may carry a margin" if loss.margin else "")
    reference = "reference" if loss.needs_reference else "no reference"
    return [
        f"- Equation: {loss.equation}",
        f"- Parameters: {', '.join(described) or 'none'}",
        f"- Rows: {rows}; {reference}; {loss.normalization} of log-probabilities",
        f"- Source: {loss.source}",
    ]


def test_every_loss_has_a_section_in_the_order_of_the_table() -> None:
    assert list(SECTIONS) == list(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_section_states_the_facts_of_the_table(name: str) -> None:
    assert [line for line in SECTIONS[name].splitlines() if line.startswith("- ")] == facts(name)
    assert re.search(r"^\w", SECTIONS[name], flags=re.MULTILINE), "a word on when to use it"


def test_examples_of_configuration_are_valid() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        losses = yaml.safe_load(example)["loss"]
        named = [
            (loss.pop("name"), loss.pop("weight", 1.0), loss) for loss in ([losses] if "name" in losses else losses)
        ]
        assert check_losses([(name, given, weight) for name, weight, given in named]) == []


def test_learning_rates_are_those_of_the_table() -> None:
    section = PAGE.split("## Learning rates")[1].split("##")[0].replace("\n", " ")
    preference, imitation = PREFERENCE_RATES, IMITATION_RATES
    written = [float(number) for number in re.findall(r"\d+e-\d+", section)]
    assert written == [preference.full, preference.lora, imitation.full, imitation.lora]
