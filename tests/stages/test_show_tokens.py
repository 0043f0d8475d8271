"""A row, token by token, from a folder that holds no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fairlead.cli.application import app
from fairlead.errors import DataError
from fairlead.stages.show_tokens import RenderedRow, show_tokens
from tests.engine.chat_templates import LLAMA3, MISTRAL, QWEN3, SMOLLM2, prefixed_tokenizer
from tests.tiny import CHATML, save_tiny

PROMPT = [{"role": "user", "content": "may I?"}]
ASKED = "<|im_start|>user\nmay I?<|im_end|>\n<|im_start|>assistant\n"
PAIR = {"prompt": PROMPT, "chosen": "yes", "rejected": "no"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = save_tiny(tmp_path_factory.mktemp("model"))
    (folder / "model.safetensors").unlink()
    return str(folder)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_rows(*rows: Any) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write_rows


def template(tmp_path: Path, text: str) -> str:
    path = tmp_path / "template.jinja"
    path.write_text(text)
    return str(path)


def parts(row: RenderedRow) -> tuple[str, str]:
    """The text of the tokens that are not trained and of those that are."""
    return tuple("".join(token.text for token in row.tokens if token.trained is trained) for trained in (False, True))


def test_a_preference_gives_chosen_and_rejected(model, write):
    chosen, rejected = show_tokens(write(PAIR), model=model)
    assert (chosen.name, parts(chosen)) == ("chosen", (ASKED, "yes<|im_end|>"))
    assert (rejected.name, parts(rejected)) == ("rejected", (ASKED, "no<|im_end|>"))
    assert chosen.tokens[-1].id == 2
    assert chosen.notes == ()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [*PROMPT, {"role": "assistant", "content": "yes"}]}, [("messages", "yes<|im_end|>")]),
        ({"prompt": PROMPT, "completion": "yes", "label": True}, [("completion", "yes<|im_end|>")]),
        (
            {"prompt": PROMPT, "candidates": [{"id": str(i), "messages": f"no {i}"} for i in range(2)]},
            [("candidates[0]", "no 0<|im_end|>"), ("candidates[1]", "no 1<|im_end|>")],
        ),
        ({"prompt": PROMPT}, [("prompt", "")]),
        (
            {"prompt": PROMPT, "response_a": "yes", "response_b": "no", "label": "a"},
            [("response_a", "yes<|im_end|>"), ("response_b", "no<|im_end|>")],
        ),
        (
            {"prompt": PROMPT, "draft": "no", "edited": "yes"},
            [("draft", "no<|im_end|>"), ("edited", "yes<|im_end|>")],
        ),
    ],
    ids=["demonstration", "feedback", "candidates", "prompt", "judgement", "edit"],
)
def test_every_kind_of_row(model, write, row, expected):
    shown = show_tokens(write(row), model=model)
    assert [(item.name, parts(item)) for item in shown] == [(name, (ASKED, text)) for name, text in expected]


def test_rows_are_counted_over_the_whole_file(model, write):
    pairs = [PAIR | {"chosen": f"yes {i}"} for i in range(4)]
    path = write(pairs[0], "", "not json", pairs[1], PAIR | {"chosen": "no"}, pairs[2], pairs[3])
    for row, answer in ((0, "yes 0"), (2, "yes 1"), (4, "yes 2"), (5, "yes 3")):
        assert parts(show_tokens(path, model=model, row=row)[0])[1] == f"{answer}<|im_end|>"


def test_a_quarantined_row_says_why(model, write):
    path = write(PAIR, PAIR | {"chosen": "no"})
    with pytest.raises(DataError, match=r"rows\.jsonl:2: row 1 is quarantined, identical_pair in rejected") as caught:
        show_tokens(path, model=model, row=1)
    assert (caught.value.line, caught.value.code, caught.value.field) == (2, "identical_pair", "rejected")


def test_a_row_that_the_template_cannot_render_says_why(model, write, tmp_path):
    row = PAIR | {"tools": [{"type": "function", "function": {"name": "look_up"}}]}
    assert "look_up" in parts(show_tokens(write(PAIR, row), model=model, row=1)[0])[0]
    with pytest.raises(DataError, match="row 1 is quarantined, template_ignores_tools in tools") as caught:
        show_tokens(write(PAIR, row), model=model, row=1, chat_template=template(tmp_path, SMOLLM2))
    assert (caught.value.line, caught.value.code) == (2, "template_ignores_tools")


@pytest.mark.parametrize("row", [2, -1])
def test_a_row_that_is_not_there(model, write, row):
    with pytest.raises(DataError, match=f"there is no row {row}: the rows are counted from 0 to 1"):
        show_tokens(write(PAIR, PAIR), model=model, row=row)


def test_an_empty_file(model, write):
    with pytest.raises(DataError, match="holds no rows"):
        show_tokens(write(), model=model)


def test_notes_tell_what_the_template_adds_and_what_was_typed(model, write, tmp_path):
    smol = template(tmp_path, SMOLLM2)
    shown = show_tokens(write(PAIR | {"chosen": "<|im_end|>"}), model=model, chat_template=smol)
    for item in shown:
        added, typed = sorted(item.notes, reverse=True)
        assert "the template adds a system turn of its own" in added
        assert "You are a helpful assistant" in added
        assert typed.startswith("control_text: a text spells a special token")
    assert "You are a helpful assistant" in parts(shown[0])[0]
    with_system = PAIR | {"prompt": [{"role": "system", "content": "be kind"}, *PROMPT]}
    assert show_tokens(write(with_system), model=model, chat_template=smol)[0].notes == ()


def test_notes_tell_what_was_changed_on_reading(model, write):
    human = PAIR | {"prompt": [{"role": "human", "content": "and I?"}]}
    (note,) = show_tokens(write(PAIR, human), model=model, row=1)[0].notes
    assert note.startswith("role_alias: ")
    assert "human → user" in note


def test_a_dialogue_that_is_trained_turn_by_turn(model, write, tmp_path):
    turns = [{"role": ("user", "assistant")[i % 2], "content": f"turn {i}"} for i in range(4)]
    shown = show_tokens(write({"messages": turns}), model=model, chat_template=template(tmp_path, QWEN3))
    assert [item.name for item in shown] == ["messages, trained turn 1 of 2", "messages, trained turn 2 of 2"]
    assert [parts(item)[1].split("\n")[-1] for item in shown] == ["turn 1<|im_end|>", "turn 3<|im_end|>"]
    assert "each trained turn is a completion of its own" in shown[0].notes[0]


def test_plain_text_templates_can_be_named(model, write):
    shown = show_tokens(write(PAIR), model=model, chat_template="plain")
    prompt, answer = parts(shown[0])
    assert prompt.startswith("User:")
    assert answer.strip() == "yes<|im_end|>"


def test_tokens_show_their_spaces_and_broken_characters(model, write, tmp_path):
    shown = show_tokens(write(PAIR | {"chosen": "🙂", "rejected": "is it? it is"}), model=model)
    trained = [token.text for token in shown[0].tokens if token.trained]
    assert trained[-1] == "<|im_end|>"
    assert len(trained) > 2
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in trained)
    folder = save_tiny(tmp_path / "prefixed")
    prefixed_tokenizer("metaspace", MISTRAL).save_pretrained(folder)
    shown = show_tokens(write(PAIR | {"chosen": "hello, hello"}), model=str(folder))
    assert parts(shown[0])[1] == " hello, hello</s>"


def test_a_missing_begin_token_is_noted(write, tmp_path):
    from tokenizers.processors import TemplateProcessing

    folder = save_tiny(tmp_path / "begins")
    tokenizer = prefixed_tokenizer("metaspace", CHATML)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save_pretrained(folder)
    (note,) = show_tokens(write(PAIR), model=str(folder))[0].notes
    assert "begins texts with <s>, the template does not" in note
    begun = template(tmp_path, "{{ bos_token }}" + LLAMA3.replace("{{ bos_token }}", ""))
    assert show_tokens(write(PAIR), model=str(folder), chat_template=begun)[0].notes == ()


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["show-tokens", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_prints_each_token_and_the_prompt_once(model, write, tmp_path):
    path = str(write(PAIR))
    lines = call(path, "--model", model, "--chat-template", template(tmp_path, SMOLLM2)).splitlines()
    assert lines[0].startswith("note: the template adds a system turn")
    headers = [line for line in lines if "of them trained" in line]
    assert [line.partition(":")[0] for line in headers] == ["chosen", "rejected"]
    second = lines[lines.index(headers[1]) :]
    assert "the prompt, as above" in second[1]
    assert all("●" in line for line in second[2:])
    assert len([line for line in lines if "'<|im_end|>'" in line]) == 4
    assert sum("note: " in line for line in lines) == 1


def test_the_command_in_colour(model, write):
    path = str(write(PAIR))
    done = CliRunner().invoke(app, ["show-tokens", path, "--model", model], color=True, catch_exceptions=False)
    green, dim = "\x1b[32m", "\x1b[2m"
    assert all(line.startswith(green) for line in done.stdout.splitlines() if "●  " in line)
    assert all(line.startswith(dim) for line in done.stdout.splitlines() if "·  " in line)


def test_the_command_as_json(model, write):
    shown = json.loads(call(str(write(PAIR)), "--model", model, "--json"))
    assert shown["row"] == 0
    assert [item["name"] for item in shown["rendered"]] == ["chosen", "rejected"]
    assert shown["rendered"][0]["tokens"][-1] == {"id": 2, "text": "<|im_end|>", "trained": True}
