"""`score`: rewards of rows are those that transformers gives the same dialogues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import fairlead
from fairlead.data.records import Candidate, Candidates, Demonstration, Edit, Feedback, Judgement, Message, Preference
from fairlead.errors import DataError, ModelError
from fairlead.models.loading import load
from fairlead.models.reward_model import add_reward_head
from fairlead.models.weights import save_model
from fairlead.stages.generate import generate
from fairlead.stages.score import load_reward_model, score
from tests.tiny import save_tiny


def turn(text: str, role: str = "assistant") -> tuple[Message, ...]:
    return (Message(role=role, content=text),)


ASKED = turn("where is my order?", "user")
PREFERENCE = Preference(id="p", prompt=ASKED, chosen=turn("it arrives on Monday."), rejected=turn("no idea!"))
CANDIDATES = Candidates(
    id="c",
    prompt=turn("hello", "user"),
    candidates=(
        Candidate(id="x", messages=turn("hello, how can we help?")),
        Candidate(id="y", messages=turn("go away")),
    ),
)
EMPTY = Candidates(id="e", prompt=ASKED)
ROWS = [PREFERENCE, EMPTY, CANDIDATES]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model whose head says something."""
    folder = tmp_path_factory.mktemp("models")
    lm = add_reward_head(load(str(save_tiny(folder / "base")), dtype=torch.float32), endings={2})
    torch.nn.init.normal_(lm.model.score.weight, generator=torch.Generator().manual_seed(1))
    save_model(lm, folder / "reward")
    return folder / "reward"


def plainly(model: Path, *turns: Message) -> float:
    """The reward of a dialogue by transformers alone, as docs/reward-models.md shows it."""
    classifier = AutoModelForSequenceClassification.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    dialogue = [{"role": each.role, "content": each.content} for each in turns]
    text = tokenizer.apply_chat_template(dialogue, tokenize=False).rstrip()
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        return classifier(ids).logits.item()


def test_rewards_are_those_of_transformers_on_the_same_dialogues(model: Path) -> None:
    found = score(str(model), ROWS, precision="fp32")
    assert [scored.row_id for scored in found] == ["p", "e", "c"]
    assert [list(scored.rewards) for scored in found] == [["chosen", "rejected"], [], ["x", "y"]]
    expected = [plainly(model, *ASKED, *turns) for turns in (PREFERENCE.chosen, PREFERENCE.rejected)]
    expected += [plainly(model, *CANDIDATES.prompt, *each.messages) for each in CANDIDATES.candidates]
    rewards = [reward for scored in found for reward in scored.rewards.values()]
    assert rewards == pytest.approx(expected, rel=1e-5)
    assert len({round(reward, 3) for reward in rewards}) == 4


@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_a_reward_does_not_depend_on_what_is_scored_beside_it(model: Path, engine: str) -> None:
    together = score(str(model), ROWS, engine=engine, precision="fp32")
    loaded = load_reward_model(str(model), engine=engine, precision="fp32", micro_batch_tokens=1)
    for row, scored in zip(ROWS, together, strict=True):
        (alone,) = loaded([row])
        assert alone.rewards == pytest.approx(scored.rewards, rel=1e-5)
    assert not any(parameter.grad_fn for parameter in loaded.scorer.model.parameters())


def test_rows_of_every_kind_with_a_prompt(model: Path) -> None:
    good, bad = turn("it is here"), turn("no")
    rows = [
        Feedback(id="f", prompt=ASKED, completion=good, label=True),
        Judgement(id="j", prompt=ASKED, response_a=good, response_b=bad),
        Edit(id="d", prompt=ASKED, draft=bad, edited=good),
        Preference(id="same", prompt=ASKED, chosen=good, rejected=good),
    ]
    found = {scored.row_id: scored.rewards for scored in score(str(model), rows, precision="fp32")}
    assert [list(found[row.id]) for row in rows] == [
        ["completion"],
        ["response_a", "response_b"],
        ["draft", "edited"],
        ["chosen", "rejected"],
    ]
    rewards = [found["f"]["completion"], found["j"]["response_a"], found["d"]["edited"], *found["same"].values()]
    assert rewards == pytest.approx([rewards[0]] * 5, rel=1e-5)


def test_a_file_of_rows(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"id": str(n), "prompt": "hello", "chosen": f"hello {n}", "rejected": "go away"} for n in range(5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = fairlead.score(str(model), file)
    assert [scored.row_id for scored in found] == ["0", "1", "2", "3", "4"]
    assert len({scored.rewards["rejected"] for scored in found}) == 1


def test_whole_dialogues_have_no_completion_to_score(model: Path) -> None:
    with pytest.raises(DataError, match=r"row d is a whole dialogue.*Give rows with a prompt"):
        score(str(model), [Demonstration(id="d", messages=(*ASKED, *turn("here")))])


def test_a_language_model_gives_no_rewards(model: Path) -> None:
    with pytest.raises(ModelError, match=r"is a language model and gives no rewards. Give a run .*loss.name: reward"):
        score(str(model.parent / "base"), ROWS)


def test_a_reward_model_writes_no_replies(model: Path) -> None:
    with pytest.raises(ModelError, match=r"is a reward model: it gives completions a number.*fairlead.score"):
        generate(str(model), [EMPTY])
