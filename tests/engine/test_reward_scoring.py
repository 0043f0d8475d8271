"""Rewards: packed = padded = transformers' sequence classifier on the same weights, for values and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.scoring import Scorer, make_scorer
from fairlead.errors import ModelError
from fairlead.models.language_model import LanguageModel
from fairlead.models.reward_model import add_reward_head
from tests import tiny
from tests.engine.families import FAMILIES, GROUPS, all_in_float64, checkpointed, gradients, in_float64, with_lora

WITHOUT = ("Granite", "Cohere", "OLMoE", "Falcon-H1")
"""Families that transformers has no sequence classifier for, of those that we score."""
SEQUENCES = [group.prompt + completion.ids for group in GROUPS for completion in group.completions]


def reward_model(name: str, **overrides: Any) -> LanguageModel:
    """A tiny reward model of the family, whose head says something; texts end with token 2, so that it pads with 0."""
    build, tokenizer = FAMILIES[name].build, tiny.tiny_tokenizer()
    lm = LanguageModel(model=build(**overrides), tokenizer=tokenizer, source="tiny", weights_digest="")
    lm = add_reward_head(lm, endings={2})
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        lm.model.score.weight.normal_(generator=generator)
    return lm


def oracle(model: Any, folder: Path) -> Any:
    """The same weights under transformers' own class, in float64."""
    model.save_pretrained(folder)
    loaded = in_float64(AutoModelForSequenceClassification.from_pretrained(folder))
    constants = dict(model.named_buffers())  # √hidden of Gemma 3: no weight, and once rounded to float32, once not
    for name, constant in loaded.named_buffers():
        constant.copy_(constants[name])
    return loaded


def one_by_one(model: Any, sequences: list[tuple[int, ...]] = SEQUENCES) -> Tensor:
    """Each sequence by itself through the model's own forward pass: nothing of ours, no padding."""
    return torch.cat([model(input_ids=torch.tensor([ids]), use_cache=False).logits[:, 0] for ids in sequences])


def scores(scorer: Scorer, groups: Sequence[PromptGroup] = GROUPS) -> Tensor:
    return scorer.score_sequences(scorer.batch(groups))


def close(ours: Tensor, wanted: Tensor, bound: float) -> bool:
    return ((ours - wanted).abs() / wanted.abs().max().clamp(min=1)).max().item() <= bound


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in WITHOUT])
def test_values_and_gradients_of_every_family(name: str, tmp_path: Path) -> None:
    with all_in_float64():
        model = in_float64(reward_model(name).model).requires_grad_(True).train()
        own = oracle(model, tmp_path).train()
        rewards = one_by_one(own)
        wanted = gradients(own, rewards)
        for engine in ("auto", "padded"):
            scorer = make_scorer(model, engine=engine)
            assert scorer.packed == (engine == "auto" and FAMILIES[name].engine == "packed"), scorer.note
            with scorer.attention():
                ours = scores(scorer)
                found = gradients(model, ours)
            assert rewards.std() > 0.1
            assert close(ours, rewards, 1e-10)
            assert found.keys() == wanted.keys()
            assert all(close(found[each], wanted[each], 1e-10) for each in wanted)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_family_without_a_sequence_classifier_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="transformers has no sequence classifier for"):
        reward_model(name)


@pytest.mark.parametrize("name", ["Llama", "GPT-2", "Gemma 2"])
def test_an_adapter_with_checkpointing(name: str) -> None:
    with all_in_float64():
        model = in_float64(checkpointed(with_lora(reward_model(name).model))).train()
        rewards = one_by_one(model)
        wanted = gradients(model, rewards)
        scorer = make_scorer(model)
        with scorer.attention():
            ours = scores(scorer)
            found = gradients(model, ours)
    assert close(ours, rewards, 1e-10)
    assert found.keys() == wanted.keys()
    assert all(close(found[each], wanted[each], 1e-10) for each in wanted)


@pytest.mark.parametrize("name", ["Llama", "Gemma 2"])
def test_lower_precision_stays_near_float64(name: str, tmp_path: Path) -> None:
    model = reward_model(name, initializer_range=0.05).model
    with all_in_float64(), torch.no_grad():
        exact = one_by_one(oracle(model, tmp_path))
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        narrow = model.to(dtype)
        narrow.score.float()
        scorer = make_scorer(narrow)
        with scorer.attention(), torch.no_grad():
            found[dtype] = scores(scorer)
        assert found[dtype].dtype == torch.float32
    assert close(found[torch.float32].double(), exact, 1e-5)
    assert close(found[torch.bfloat16].double(), exact, 0.05)


def done(*ids: int) -> Completion:
    return Completion(ids=ids, trained=(True,) * len(ids))


ENDINGS = (
    PromptGroup(row_id="a", prompt=(9, 8, 7), completions=(done(5, 2), done(5, 2, 0, 0), done(0, 0), done(2, 2))),
    PromptGroup(row_id="b", prompt=(9, 8, 7, 6, 0), completions=(done(11, 12), done(0), done(0, 4, 0))),
)
"""Completions that end with the token 0, which may be the padding: one of them is nothing else, after such a prompt."""


@pytest.mark.parametrize("skipped", [0, 2, None])
@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_the_reward_is_read_where_transformers_reads_it(skipped: int | None, engine: str) -> None:
    model = reward_model("Llama").model
    model.config.pad_token_id = skipped
    scorer = make_scorer(model, engine=engine)
    sequences = [group.prompt + completion.ids for group in ENDINGS for completion in group.completions]
    with scorer.attention(), torch.no_grad():
        ours = scores(scorer, ENDINGS)
    with torch.no_grad():
        assert close(ours, one_by_one(model, sequences), 1e-5)


def test_a_padded_batch_of_transformers_gives_the_same() -> None:
    """In our layout rewards are those that transformers gives for a batch, padded with the token we chose."""
    model = reward_model("Llama").model
    width = max(map(len, SEQUENCES))
    ended = [(*ids[:-1], 2) for ids in SEQUENCES]
    padded = torch.tensor([ids + (model.config.pad_token_id,) * (width - len(ids)) for ids in ended])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in ended])
    with torch.no_grad():
        assert close(model(input_ids=padded, attention_mask=mask).logits[:, 0], one_by_one(model, ended), 1e-5)


def test_an_engine_that_reads_other_states_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof before a run looks at hidden states: under a head of zeros rewards would agree whatever was read."""
    model = reward_model("Llama").model
    torch.nn.init.zeros_(model.score.weight)
    honest = Scorer.last_hidden
    monkeypatch.setattr(Scorer, "last_hidden", lambda scorer, batch: (honest(scorer, batch)[0].flip(0), None))
    with pytest.raises(ModelError, match="of its hidden states"):
        make_scorer(model)


def test_experts_are_kept_evenly_used_as_in_the_language_model() -> None:
    language = make_scorer(tiny.tiny_qwen3_moe(output_router_logits=True, router_aux_loss_coef=0.1))
    rewards = make_scorer(reward_model("Qwen3-MoE", output_router_logits=True, router_aux_loss_coef=0.1).model)
    with torch.no_grad():
        with language.attention():
            _, wanted = language.score_with_balance(language.batch(GROUPS))
        with rewards.attention():
            _, found = rewards.score_sequences_with_balance(rewards.batch(GROUPS))
    assert wanted is not None
    assert found is not None
    assert (found.value.item(), found.coefficient) == (pytest.approx(wanted.value.item(), rel=1e-6), 0.1)
