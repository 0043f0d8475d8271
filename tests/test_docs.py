"""The pages are true: links lead somewhere, configurations validate, commands exist, programs run, tables are whole."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import fairlead
from examples.harbor.world import FULL
from fairlead.config import Config, read_config
from fairlead.losses import pairwise
from fairlead.losses import table as losses
from fairlead.losses.scores import Pairs
from fairlead.runs.metrics import EVAL_PREFIX, METRICS
from fairlead.stages.init import init
from fairlead.stages.sweep_grid import make_grid
from tests import pages
from tests.cli.pages import commands, help_of, verbs
from tests.losses.batches import scores
from tests.tiny import save_tiny

ROOT = Path(__file__).parents[1]
WRITTEN = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples" / "harbor" / "README.md",
]
WRITTEN += sorted((ROOT / "docs").glob("*.md"))
USER_PAGES = [page for page in WRITTEN if page.name != "CONTRIBUTING.md"]
TUTORIAL, README = ROOT / "docs" / "tutorial.md", ROOT / "README.md"

every_page = pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))


class Block(NamedTuple):
    """A fenced block of a page: where it begins, its language, its text, and whether it is marked as runnable."""

    page: Path
    line: int
    language: str
    text: str
    runnable: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(pages: list[Path], language: str) -> list[Block]:
    """The fenced blocks of one language, in the order of the pages."""
    found = []
    for page in pages:
        for match in re.finditer(r"(<!-- runnable -->\n)?^```(\w*)\n(.*?)^```$", text_of(page), re.M | re.S):
            line = text_of(page).count("\n", 0, match.start(2)) + 1
            found.append(Block(page, line, match[2], match[3], runnable=match[1] is not None))
    return [block for block in found if block.language == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.M | re.S)


# ------------------------------------------------------------------------------------------------- pages made from code


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_made_from_the_code_is_fresh(name: str) -> None:
    assert text_of(ROOT / "docs" / name) == pages.PAGES[name](), "run: make docs"


def test_every_field_of_the_configuration_is_documented() -> None:
    page = text_of(ROOT / "docs" / "configuration.md")
    assert all(f"\n## {section}\n" in page for section in Config.model_fields if section != "version")
    definitions = fairlead.config.json_schema()["$defs"]
    fields = [field for definition in definitions.values() for field in definition["properties"]]
    assert fields
    assert all(f"| `{field}` | " in page for field in fields)
    assert all(node["description"] for each in definitions.values() for node in each["properties"].values())


def test_every_module_has_a_line_in_the_house() -> None:
    page = text_of(ROOT / "docs" / "architecture.md")
    silent = [path for path in pages.SOURCE.rglob("*.py") if path.stat().st_size > 2 and not pages.first_line(path)]
    assert silent == []
    assert "`losses/table.py`" in page
    assert "`errors.py`" in page


# ------------------------------------------------------------------------------------------------------------ the words


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of their words."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_no_path_of_one_machine(page: Path) -> None:
    assert not re.findall(r"(?<![\w.:/])/(?:work|tmp|root|home|mnt|var|usr|Users)\b[^\s`)]*", text_of(page))


@every_page
def test_nothing_is_left_to_fill(page: Path) -> None:
    assert re.findall(r"TO BE FILLED[^>\n]*", text_of(page)) == []


@every_page
def test_metrics_exist(page: Path) -> None:
    words = re.findall(r"\b(?:eval/)?(?:rewards|logps)/\w+|\beval/\w+(?:/\w+)?", text_of(page))
    assert {word.removeprefix(EVAL_PREFIX) for word in words} <= METRICS.keys()


def test_readme_says_the_two_commands_and_that_models_are_of_text() -> None:
    assert "\nmake demo " in text_of(README)
    assert "\nmake test " in text_of(README)
    assert "Text models only" in text_of(README)
    assert "CPU only so far" in text_of(README)


def test_every_loss_is_in_the_tables_of_methods() -> None:
    listed = re.findall(r"^\| `(\w+)` \| .*(?:pairs|demonstrations|thumbs)", text_of(README), re.M)
    assert listed == list(losses.LOSSES)
    for name, loss in losses.LOSSES.items():
        row = next(line for line in text_of(README).splitlines() if line.startswith(f"| `{name}` |"))
        assert row.split(" | ")[2] == ("yes" if loss.needs_reference else "no"), row
    choosing = text_of(ROOT / "docs" / "choosing-a-method.md")
    assert set(re.findall(r"`(\w+)`", choosing)) >= set(losses.LOSSES)
    over_pairs = {name for name, loss in losses.LOSSES.items() if loss.examples is Pairs}
    table = choosing.partition("## Pairs")[2].partition("\n## ")[0]
    listed_there = dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", table, re.M))
    assert listed_there == {name: "yes" if losses.LOSSES[name].needs_reference else "no" for name in over_pairs}


def test_the_map_in_the_readme_has_every_package() -> None:
    drawn = text_of(README).partition("## A map of the house")[2].partition("## ")[0]
    missing = [name for layer in pages.present() for name in layer if not re.search(rf"\b{name}(?:/|\.py)", drawn)]
    assert missing == []


def test_the_page_of_the_example_counts_its_prompts_right() -> None:
    counts = {name: sum(mix.values()) for name, mix in FULL.mixes().items()}
    words = re.sub(r"\s+", " ", text_of(ROOT / "docs" / "harbor.md"))
    for sentence in (
        f"on {counts['sft']} transcripts",
        f"replies to {counts['preference']} further prompts",
        f"pairs from {counts['repair']} disputes",
        f"refused**, {counts['red_team']} times",
        f"every model on {counts['evaluation']} prompts",
        f"replies to {counts['held_out']} further prompts",
        f"chosen on {counts['recipe']} prompts",
    ):
        assert sentence in words


# ---------------------------------------------------------------------------------------- configurations and commands


@pytest.mark.parametrize("block", blocks(WRITTEN, "yaml"), ids=str)
def test_a_configuration_is_valid(block: Block) -> None:
    given = yaml.safe_load(block.text)
    assert given.keys() <= Config.model_fields.keys()
    smallest = {"model": {"path": "my-model"}, "data": {"train": "pairs.jsonl"}}
    Config.parse(smallest | given, folder=block.page.parent, source=str(block))


def _commands() -> Iterator[Any]:
    """Every `fairlead …` line of every untagged block but of the generated page of verbs."""
    for block in blocks([page for page in USER_PAGES if page.name != "cli.md"], ""):
        for line in block.text.splitlines():
            if re.match(r"(?:\$ )?fairlead [a-z-]", line):
                yield pytest.param(shlex.split(line.removeprefix("$ "), comments=True), id=f"{block}: {line}")


COMMANDS = list(_commands())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_a_verb_and_its_options(command: list[str]) -> None:
    _, verb, *words = command
    assert verb in verbs()
    named = next(each for each in ((verb, *words[:1]), (verb,)) if each in commands())
    options = help_of(*named).partition("Options:")[2]
    for word in words:
        assert not word.startswith("-") or re.search(rf"^  (?:-\w, )?{word}\b", options, re.M), word


def test_settings_on_command_lines_are_fields(tmp_path: Path) -> None:
    settings = {
        (param.values[0][1], word) for param in COMMANDS for word in param.values[0] if re.match(r"[a-z]+\.\w+=", word)
    }
    assert {"train", "sweep"} <= {verb for verb, _ in settings}
    config = tmp_path / "fairlead.yaml"
    config.write_text("model: {path: m}\ndata: {train: p.jsonl}\nadapter: {r: 4}\n")
    for verb, setting in settings - {("train", "loss.bta=0.3")}:  # the page of errors shows a mistake
        if verb == "sweep":  # where a list of values stands
            make_grid(config, [setting])
        else:
            read_config(config, [setting])


def test_every_verb_is_used_in_the_tutorial() -> None:
    used = {command[1] for param in COMMANDS if str(TUTORIAL.name) in str(param.id) for command in param.values}
    assert used == set(verbs())


# ------------------------------------------------------------------------------------------------------------- programs


def test_the_tutorial_has_the_configuration_that_init_writes(tmp_path: Path) -> None:
    init(tmp_path)
    written = yaml.safe_load((tmp_path / "fairlead.yaml").read_text(encoding="utf-8"))
    shown = yaml.safe_load(blocks([TUTORIAL], "yaml")[0].text)
    assert written["model"].pop("path") != shown["model"].pop("path")
    assert shown == written


@pytest.mark.parametrize("block", blocks(WRITTEN, "python"), ids=str)
def test_a_program_names_what_there_is(block: Block) -> None:
    for name in re.findall(r"\bfairlead\.(\w+)\(", block.text):
        assert name in fairlead.__all__
    if not block.text.startswith(" "):  # an indented block is a part of something that CONTRIBUTING has you complete
        compile(block.text, str(block), "exec")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A starter project with a tiny model, and the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("project")
    init(folder)
    save_tiny(folder / "my-model")
    (folder / "fairlead.yaml").write_text(blocks([TUTORIAL], "yaml")[0].text, encoding="utf-8")
    rows = next(block.text for block in blocks([TUTORIAL], "json") if block.text.count("\n") == 4)
    (folder / "data" / "incoming.jsonl").write_text(rows, encoding="utf-8")
    prompts = re.findall(r'^\{"prompt": "[^"]*"\}$', text_of(TUTORIAL), re.M)
    (folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    pairs = [{"prompt": f"Order {n}?", "chosen": "It is here.", "rejected": "Please wait."} for n in range(30)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return folder


RUNNABLE = [block for block in blocks(WRITTEN, "python") if block.runnable]


@pytest.mark.parametrize("block", RUNNABLE, ids=str)
def test_a_program_runs_and_prints_what_is_shown(block: Block, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, str(block), "exec"), {})
    assert printed.getvalue()
    shown = re.match(r"\n\n```\n(.*?)```", text_of(block.page).partition(f"{block.text}```")[2], re.S)
    assert shown is None or printed.getvalue() == shown[1]


def test_readme_and_tutorial_have_programs_that_run() -> None:
    assert {block.page for block in RUNNABLE} == {README, TUTORIAL, ROOT / "docs" / "python.md"}
    assert len(RUNNABLE[0].text.splitlines()) <= 12
    assert len(blocks([README], "yaml")[0].text.splitlines()) <= 10


def test_the_loss_that_contributing_adds_gives_the_value_it_states() -> None:
    parts = [block.text for block in blocks([ROOT / "CONTRIBUTING.md"], "python")]
    by_hand = next(float(value) for part in parts for value in re.findall(r'"squared_hinge": (0\.\d+),', part))
    namespace = dict(vars(pairwise))
    exec(next(part for part in parts if part.startswith("def squared_hinge")), namespace)
    pairs = Pairs(scores([-0.5, -1.0]), scores([-1.0] * 4), scores([-1.0, -1.5]), scores([-0.5, -0.5, -1.0, -1.0]))
    output = namespace["squared_hinge"](pairs)
    assert output.terms[0].value.tolist() == pytest.approx([by_hand], abs=5e-7)
    assert output.metrics.keys() <= METRICS.keys()
    row = next(part for part in parts if "function=" in part).strip().partition(": ")[2].rstrip(",\n")
    loss = eval(row, vars(losses) | {"squared_hinge": namespace["squared_hinge"]})
    assert loss.examples is Pairs
    assert loss.needs_reference
