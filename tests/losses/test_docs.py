"""The pages about losses say what the table and the guidance say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from fairlead.losses.checking import NamedLoss, check_losses
from fairlead.losses.contract import IMITATION_RATES, PREFERENCE_RATES
from fairlead.losses.divergences import DIVERGENCES
from fairlead.losses.guidance import GUIDANCE
from fairlead.losses.scores import Pairs
from fairlead.losses.table import LOSSES, parameters
from tests.losses.pages import DOCS, FAMILIES, PAGES

LOSSES_PAGE = (DOCS / "losses.md").read_text(encoding="utf-8")
METHODS = sorted((DOCS / "methods").glob("*.md"))


def named_in(page: str) -> list[list[NamedLoss]]:
    """The losses that each example of configuration on a page asks for."""
    found = []
    for example in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL):
        losses = yaml.safe_load(example)["loss"]
        each = [losses] if "name" in losses else losses
        found.append([(one.pop("name"), one, one.pop("weight", 1.0)) for one in each])
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: python -m tests.pages"


def test_every_loss_has_a_recipe_and_no_other_has() -> None:
    assert [path.stem for path in METHODS] == sorted(LOSSES)
    assert re.findall(r"^### `(\w+)`$", LOSSES_PAGE, flags=re.MULTILINE) == list(LOSSES)


def test_every_loss_has_its_guidance_in_the_order_of_the_table() -> None:
    assert list(GUIDANCE) == list(LOSSES)


@pytest.mark.parametrize("name", GUIDANCE)
def test_guidance_is_made_of_sentences_and_of_parts_of_them(name: str) -> None:
    said = GUIDANCE[name]
    for sentence in (said.gist, said.strength, *said.elsewhere):
        assert sentence.endswith(".")
    for part in (said.title, said.use_when, said.not_when):
        assert not part.endswith(".")
    words = re.findall(r"`(\w+)`", " ".join((said.gist, said.use_when, said.not_when, said.strength)))
    known = {key for each in LOSSES for key in parameters(each)} | LOSSES.keys() | {"margin", "running"}
    assert set(words) <= known


def test_every_loss_over_pairs_is_in_a_family_of_the_page_on_choosing() -> None:
    over_pairs = {name for name, loss in LOSSES.items() if loss.examples is Pairs}
    assert {name for name, said in GUIDANCE.items() if said.family in FAMILIES} == over_pairs
    assert {said.family for said in GUIDANCE.values()} >= set(FAMILIES)


@pytest.mark.parametrize("page", [DOCS / "losses.md", *METHODS], ids=lambda page: str(page.stem))
def test_examples_of_configuration_are_valid(page: Path) -> None:
    examples = named_in(page.read_text(encoding="utf-8"))
    assert len(examples) == (2 if page.stem == "losses" else 1)
    for losses in examples:
        assert check_losses(losses) == []
        if page.stem in LOSSES:
            assert [name for name, _, _ in losses] == [page.stem]
            assert all(parameters(page.stem)[key] == value for key, value in losses[0][1].items())


@pytest.mark.parametrize("page", METHODS, ids=lambda page: str(page.stem))
def test_links_of_a_recipe_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).resolve().is_file(), target


def test_learning_rates_are_those_of_the_table() -> None:
    section = LOSSES_PAGE.split("## Learning rates")[1].split("##")[0].replace("\n", " ")
    preference, imitation = PREFERENCE_RATES, IMITATION_RATES
    written = [float(number) for number in re.findall(r"\d+e-\d+", section)]
    assert written == [preference.full, preference.lora, imitation.full, imitation.lora]


def test_modifiers_name_the_losses_that_take_them() -> None:
    modifiers = LOSSES_PAGE.split("## Modifiers")[1].split("\n## ")[0]
    parts = re.split(r"\n\n(?=\*\*)", modifiers.strip())
    for key in ("label_smoothing", "f_divergence"):
        (part,) = (part for part in parts if f"`{key}`" in part.splitlines()[0])
        prose = part.partition("\n|")[0]
        assert set(re.findall(r"`(\w+)`", prose)) & LOSSES.keys() == {
            name for name in LOSSES if key in parameters(name)
        }
    listed = re.findall(r"^\| `(\w+)` \|", modifiers, re.MULTILINE)
    assert listed == ["f_divergence", *DIVERGENCES]
