"""`evaluate`: models in, figures with intervals, items, answers and a page out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import yaml

import fairlead
from fairlead.config import AdapterConfig
from fairlead.data.records import Candidates, Message, Preference
from fairlead.errors import ConfigError, DataError, ModelError, RunError
from fairlead.evaluation.results import read_items, read_measures
from fairlead.evaluation.suite import read_suite
from fairlead.models.adapters import add_lora
from fairlead.models.loading import load
from fairlead.models.reward_model import add_reward_head
from fairlead.models.weights import save_adapter, save_model
from fairlead.reports.evaluation_report import COMPARISON
from fairlead.runs.directory import Input, RunDirectory
from fairlead.stages import evaluation_answers
from fairlead.stages.evaluate import Evaluation, evaluate
from fairlead.stages.evaluation_starter import write_suite
from fairlead.stages.generate import generate
from tests.reports.markup import Parsed
from tests.tiny import CHATML, save_tiny, tiny_tokenizer

TEXTS = ("where is my order?", "hello, how can we help?", "was the parcel sent yesterday?", "thank you for the answer.")


def turn(text: str, role: str = "user") -> tuple[Message, ...]:
    return (Message(role=role, content=text),)


def pairs(count: int = 12) -> list[Preference]:
    return [
        Preference(
            id=f"pair-{n}",
            prompt=turn(f"{TEXTS[n % 4]} {n}"),
            chosen=turn(f"the order arrives on Monday {n}.", "assistant"),
            rejected=turn(f"no. {n}", "assistant"),
            meta={"segment": "retail" if n % 2 else "trade", "rejection_type": "too short"},
        )
        for n in range(count)
    ]


def prompts(count: int = 6) -> list[Candidates]:
    return [
        Candidates(id=f"prompt-{n}", prompt=turn(f"{TEXTS[n % 4]} number {n}"), meta={"benign": n % 2 == 0})
        for n in range(count)
    ]


QUESTIONS = [
    {"id": "capital", "question": "What is the capital of France?", "answer": "Paris"},
    {"id": "sum", "kind": "numeric", "question": "What is 2 + 2?", "answer": 4},
    {"id": "sky", "question": "The sky is", "choices": ["blue", "made of wood"], "answer": "A"},
    {"id": "sea", "kind": "likelihood", "question": "The sea is", "choices": ["wet", "dry dry dry"], "answer": "wet"},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    base = save_tiny(folder / "base")
    found = {"base": str(base), "other": str(save_tiny(folder / "other", seed=1))}
    lm = add_lora(load(str(base), dtype=torch.float32), AdapterConfig(r=4), seed=0)
    for name, parameter in lm.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(3))
    save_adapter(lm, folder / "tuned")
    return found | {"tuned": str(folder / "tuned")}


def write_material(folder: Path, models: Mapping[str, str], **changes: Any) -> Path:
    """A suite with all sections and its files; a change of None leaves a section out."""
    fairlead.write(pairs(), folder / "held-out.jsonl")
    fairlead.write(prompts(), folder / "prompts.jsonl")
    (folder / "facts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    (folder / "required.yaml").write_text("- {name: order, phrases: [order], when: {prompt: order}}\n")
    suite: dict[str, Any] = {
        "held_out": {"rows": "held-out.jsonl", "reference": models["base"]},
        "generation": {"prompts": "prompts.jsonl", "required": "required.yaml", "max_new_tokens": 8},
        "factual": {"questions": "facts.jsonl", "max_new_tokens": 4},
        "kl": {"prompts": "prompts.jsonl", "reference": models["base"], "max_new_tokens": 6},
    }
    suite = {name: section for name, section in (suite | changes).items() if section is not None}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path


def run(models: str | list[str], suite: Path, out: Path, **settings: Any) -> Evaluation:
    return evaluate(models, suite, out=out, **({"precision": "fp32"} | settings))


GENERATION_ONLY: dict[str, Any] = {"held_out": None, "factual": None, "kl": None}
HELD_OUT_ONLY: dict[str, Any] = {"generation": None, "factual": None, "kl": None}


def test_one_model_gives_a_sealed_run_with_every_measure(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models)
    found = run(models["tuned"], suite, tmp_path / "runs" / "one")
    opened = RunDirectory.open(found.run)
    assert (opened.stage, opened.status, opened.verify()) == ("eval", "complete", [])
    assert {Path(item.path).name for item in opened.inputs} == {
        *("tuned", "suite.yaml", "held-out.jsonl", "prompts.jsonl", "facts.jsonl", "required.yaml")
    }
    kept = read_measures(found.run)
    assert (kept.model, kept.adapter) == (models["tuned"], None)
    assert kept.suite["path"] == str(suite)
    assert kept.measures == found.models[0].measures
    whole = {each.name: each for each in kept.measures if not each.slice}
    assert {"ranking_accuracy", "rewards/accuracies", "rewards/margins", "length/words", "length/tokens"} <= set(whole)
    assert {"refusal_rate", "over_refusal_rate", "required_phrase/order", "factual_accuracy"} <= set(whole)
    assert {"kl/k1", "kl/k3", "kl/per_token"} <= set(whole)
    assert (whole["ranking_accuracy"].n, whole["over_refusal_rate"].n, whole["factual_accuracy"].n) == (12, 3, 4)
    assert whole["kl/per_token"].value > 0.001
    assert all(each.low <= each.value <= each.high for each in whole.values())
    assert kept.find("ranking_accuracy", {"segment": "retail"}).n == 6
    assert kept.find("ranking_accuracy", {"rejection_type": "too short"}).n == 12
    items = read_items(found.run)
    assert items["ranking_accuracy"].keys() == {row.id for row in pairs()}
    assert sum(items["ranking_accuracy"].values()) / 12 == pytest.approx(whole["ranking_accuracy"].value)
    assert not (found.run / COMPARISON).exists()


def test_a_model_is_no_distance_from_itself_and_gains_no_reward(models: dict[str, str], tmp_path: Path) -> None:
    found = run(models["base"], write_material(tmp_path, models), tmp_path / "run")
    whole = {each.name: each.value for each in found.models[0].measures if not each.slice}
    assert whole["kl/k1"] == whole["kl/k3"] == whole["kl/per_token"] == whole["rewards/margins"] == 0
    assert read_items(found.run)["kl/k1"].keys() == {row.id for row in prompts()}
    assert not list(found.run.glob("artifacts/answers-kl-*"))
    assert "base is the reference of kl itself: its distance is 0, and not sampled." in found.models[0].notes


def test_answers_are_those_of_generate(models: dict[str, str], tmp_path: Path) -> None:
    found = run(models["tuned"], write_material(tmp_path, models, **GENERATION_ONLY), tmp_path / "run")
    (file,) = (found.run / "artifacts").iterdir()
    plain = generate(models["tuned"], prompts(), max_new_tokens=8, precision="fp32")
    assert [row.candidates[0].messages for row in fairlead.read(file).rows] == [
        row.candidates[0].messages for row in plain
    ]
    lengths = sorted(len(row.candidates[0].messages[0].content.split()) for row in plain)
    words = next(each for each in found.models[0].measures if each.name == "length/words")
    assert words.value == (lengths[2] + lengths[3]) / 2


def test_several_models_are_compared_on_the_same_items(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, kl=None)
    found = run([models["tuned"], models["other"]], suite, tmp_path / "run", baseline=models["base"])
    assert [model.name for model in found.models] == ["tuned", "other", "base"]
    assert [(each.model, each.baseline) for each in found.comparisons] == [("tuned", "base"), ("other", "base")]
    assert "stand on different base weights" in found.notes[-1]
    assert found.notes[-1].startswith("other and base")
    for model in found.models:
        assert RunDirectory.open(model.run).verify() == []
        assert read_measures(model.run).measures == model.measures
    assert found.models[2].run.parent == found.run / "compared"
    content = json.loads((found.run / COMPARISON).read_text())
    assert content["baseline"] == "base"
    ranked = content["comparisons"][0]["measures"][0]
    before, after = (read_items(found.models[place].run)["ranking_accuracy"] for place in (2, 0))
    assert ranked["name"] == "ranking_accuracy"
    assert ranked["lost"] == sum(before[row] > after[row] for row in before)
    assert ranked["test"] == "mcnemar"
    parsed = Parsed((found.run / "report.html").read_text())
    assert "tuned against base" in parsed.text
    assert "ranking_accuracy" in parsed.text


def test_without_a_baseline_the_first_model_is_it(models: dict[str, str], tmp_path: Path) -> None:
    found = run([models["base"], models["tuned"]], write_material(tmp_path, models, **HELD_OUT_ONLY), tmp_path / "run")
    assert [(each.model, each.baseline) for each in found.comparisons] == [("tuned", "base")]
    assert found.notes == ()


def test_an_adapter_by_itself_and_on_its_base_is_one_model(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models)
    alone = run(models["tuned"], suite, tmp_path / "a" / "run")
    over = run(models["base"], suite, tmp_path / "b" / "run", adapter=models["tuned"], baseline=models["base"])
    assert over.models[0].measures == alone.models[0].measures
    assert over.models[0].name == "base + tuned"
    assert read_measures(over.run).adapter == models["tuned"]


def test_answers_are_taken_from_a_run_beside_it(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = write_material(tmp_path, models)
    first = run(models["tuned"], suite, tmp_path / "one", baseline=models["base"])
    monkeypatch.setattr(evaluation_answers, "complete", None)
    again = run(models["tuned"], suite, tmp_path / "two", baseline=models["base"])
    assert [model.measures for model in again.models] == [model.measures for model in first.models]
    assert set(RunDirectory.open(again.run).record["extra"]["answers_of"]) == {"prompts", "factual", "kl"}
    with pytest.raises(TypeError):
        run(models["other"], suite, tmp_path / "three")  # another model has to answer itself


@pytest.mark.parametrize("changed", ["prompts", "sampling", "file"])
def test_answers_to_something_else_or_changed_ones_are_not_taken(
    models: dict[str, str], tmp_path: Path, changed: str
) -> None:
    suite = write_material(tmp_path, models, **GENERATION_ONLY)
    first = run(models["tuned"], suite, tmp_path / "one")
    (file,) = (first.run / "artifacts").iterdir()
    if changed == "prompts":
        fairlead.write(prompts(7), tmp_path / "prompts.jsonl")
    elif changed == "sampling":
        suite.write_text(suite.read_text().replace("max_new_tokens: 8", "max_new_tokens: 7"))
    else:
        file.write_bytes(file.read_bytes().replace(b"order", b"0rder"))
    again = run(models["tuned"], suite, tmp_path / "two")
    assert RunDirectory.open(again.run).record["extra"]["answers_of"] == {}


def trained_run(folder: Path, models: Mapping[str, str], file: Path, **data: Any) -> str:
    """A training run as `fairlead train` leaves it, whose model is the tuned adapter."""
    made = RunDirectory.create(
        folder,
        stage="train",
        config={"data": {"train": [str(file)], "eval": [], "eval_fraction": 0.0, "format": "auto"} | data},
        inputs=[Input(path=str(file), sha256=fairlead.read(file).sha256[str(file)], rows=1)],
        seed=0,
    )
    target = made.artifact("adapter")
    target.mkdir()
    for each in Path(models["tuned"]).iterdir():
        target.joinpath(each.name).write_bytes(each.read_bytes())
    made.seal()
    return str(folder)


def test_rows_that_the_run_was_trained_on_are_refused_by_name(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models)
    seen = [msgspec.structs.replace(row, id=f"train-{row.id}") for row in pairs()[2:4]]
    fairlead.write([*seen, pairs(40)[30]], tmp_path / "train.jsonl")
    trained = trained_run(tmp_path / "dpo", models, tmp_path / "train.jsonl")
    with pytest.raises(DataError, match=r"held_out: dpo was trained on the prompts of 2 of 12 rows \(pair-2, pair-3\)"):
        run(trained, suite, tmp_path / "run")
    with pytest.raises(DataError, match="pair-2"):
        run(models["base"], suite, tmp_path / "run", baseline=trained)
    assert not (tmp_path / "run").exists()
    found = run(trained, suite, tmp_path / "run", allow_leakage=True)
    assert [(leak.section, leak.rows) for leak in found.leaks] == [("held_out", ("pair-2", "pair-3"))]
    assert RunDirectory.open(found.run).record["extra"]["leaks"][0]["of"] == 12
    assert "was trained on the prompts of 2" in Parsed((found.run / "report.html").read_text()).text


def test_rows_that_the_run_itself_held_out_are_no_leak(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, **HELD_OUT_ONLY)
    parts = fairlead.split(pairs(40), fraction=0.3)
    fairlead.write(pairs(40), tmp_path / "all.jsonl")
    fairlead.write(parts.held_out, tmp_path / "held-out.jsonl")
    trained = trained_run(tmp_path / "dpo", models, tmp_path / "all.jsonl", eval_fraction=0.3)
    assert run(trained, suite, tmp_path / "run").leaks == ()
    fairlead.write(parts.train, tmp_path / "held-out.jsonl")
    with pytest.raises(DataError, match=f"{len(parts.train)} of {len(parts.train)} rows"):
        run(trained, suite, tmp_path / "other")


def test_training_rows_that_are_gone_are_said(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, **HELD_OUT_ONLY)
    fairlead.write(pairs(40)[20:], tmp_path / "train.jsonl")
    trained = trained_run(tmp_path / "dpo", models, tmp_path / "train.jsonl")
    (tmp_path / "train.jsonl").unlink()
    (note,) = run(trained, suite, tmp_path / "run").notes
    assert "cannot be read" in note


def test_only_the_measures_that_are_asked_for(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, measures=["length/words", "factual_accuracy"])
    found = run(models["base"], suite, tmp_path / "run")
    assert {each.name for each in found.models[0].measures} == {"length/words", "factual_accuracy"}
    assert set(read_items(found.run)) == {"length/words", "factual_accuracy"}


def test_checks_of_the_user_are_measures_like_any_other(models: dict[str, str], tmp_path: Path) -> None:
    seen = []

    def short(row: Candidates, answer: str) -> bool | None:
        seen.append((row.id, answer))
        return len(answer) < 20 if row.meta["benign"] else None

    generation = {"prompts": "prompts.jsonl", "max_new_tokens": 8, "slices": ["benign"]}
    suite = write_material(tmp_path, models, **(GENERATION_ONLY | {"generation": generation}))
    own = {"checks": {"short": short}}
    found = run([models["tuned"], models["base"]], suite, tmp_path / "eval", **own)
    (file,) = (found.models[0].run / "artifacts").glob("answers-*.jsonl")
    answers = {row.id: row.candidates[0].messages[-1].content for row in fairlead.read(file, kind="candidates").rows}
    of_checked = [len(answers[f"prompt-{n}"]) < 20 for n in (0, 2, 4)]
    (whole, benign) = [each for each in found.models[0].measures if each.name == "check/short"]
    assert (whole.value, whole.n, whole.slice) == (sum(of_checked) / 3, 3, {})
    assert (benign.slice, benign.n) == ({"benign": "true"}, 3)
    assert {each.name for each in found.comparisons[0].compared} >= {"check/short", "length/words"}
    assert set(answers.items()) <= set(seen)
    assert RunDirectory.open(found.run).config["checks"] == ["short"]
    with pytest.raises(RunError, match="checks"):
        run([models["tuned"], models["base"]], suite, tmp_path / "eval")


def test_checks_need_answers_and_measures_their_checks(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, **HELD_OUT_ONLY)
    with pytest.raises(ConfigError, match=r"checks: have no answers to look at\. Add the section generation"):
        run(models["base"], suite, tmp_path / "a", checks={"short": lambda row, answer: True})
    suite = write_material(tmp_path, models, measures=["check/polite", "kl/k1"], held_out=None, factual=None)
    with pytest.raises(ConfigError, match=r"measures.0: check/polite needs the check 'polite'. Given are: none."):
        run(models["base"], suite, tmp_path / "b")


def test_the_order_of_the_rows_does_not_matter(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, factual=None)
    first = run(models["tuned"], suite, tmp_path / "a" / "run")
    fairlead.write(pairs()[::-1], tmp_path / "held-out.jsonl")
    fairlead.write(prompts()[::-1], tmp_path / "prompts.jsonl")
    second = run(models["tuned"], suite, tmp_path / "b" / "run")
    for one, two in zip(first.models[0].measures, second.models[0].measures, strict=True):
        assert replace(one, value=0, low=0, high=0) == replace(two, value=0, low=0, high=0)
        # Batches are others, so that sums round otherwise.
        assert [one.value, one.low, one.high] == pytest.approx([two.value, two.low, two.high], rel=1e-4, abs=1e-5)


def test_rows_that_cannot_be_rendered_are_counted(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, **HELD_OUT_ONLY)
    tool = {"type": "function", "function": {"name": "look_up"}}
    odd = msgspec.structs.replace(pairs(20)[15], id="odd", tools=(tool,))
    fairlead.write([*pairs(), odd], tmp_path / "held-out.jsonl")
    silent = tmp_path / "silent"
    shutil.copytree(models["base"], silent)
    template = "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + CHATML
    (silent / "chat_template.jinja").write_text(template)
    found = run(str(silent), suite, tmp_path / "run")
    assert next(each for each in found.models[0].measures if not each.slice).n == 12
    (note,) = found.models[0].notes
    assert note.startswith("1 rows of held_out cannot be put to silent, and are left out (")
    assert list(json.loads((found.run / "left_out.json").read_text())["held_out"]) == ["odd"]


def test_faults(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, **HELD_OUT_ONLY)
    with pytest.raises(ConfigError, match="one is given twice"):
        run([models["base"], models["base"]], suite, tmp_path / "run")
    with pytest.raises(ConfigError, match="is put on one model, and 2 are given"):
        run([models["base"], models["other"]], suite, tmp_path / "run", adapter=models["tuned"])
    with pytest.raises(ModelError, match="no model"):
        run(str(tmp_path / "none" / "x"), suite, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run(models["base"], suite, tmp_path / "run")
    with pytest.raises(RunError, match="something of that name already"):
        run(models["base"], suite, tmp_path / "run", seed=1)
    save_model(add_reward_head(load(models["base"], dtype=torch.float32), endings={2}), tmp_path / "reward")
    with pytest.raises(ModelError, match="is a reward model"):
        run(str(tmp_path / "reward"), suite, tmp_path / "rewards")


def test_prompts_that_stand_there_twice_are_counted(models: dict[str, str], tmp_path: Path) -> None:
    suite = write_material(tmp_path, models, **GENERATION_ONLY)
    twice = msgspec.structs.replace(prompts()[2], id="again")
    fairlead.write([*prompts(), twice], tmp_path / "prompts.jsonl")
    (note,) = run(models["base"], suite, tmp_path / "run").notes
    assert note.startswith("2 of 7 rows of generation share their prompt with another row (again, prompt-2)")


def test_a_starter_is_a_suite(tmp_path: Path) -> None:
    suite = read_suite(write_suite(tmp_path / "suite.yaml"))
    assert suite.generation.prompts == [str(tmp_path / "prompts.jsonl")]
    with pytest.raises(DataError, match="is there already"):
        write_suite(tmp_path / "suite.yaml")


def test_a_folder_that_another_trainer_saved(models: dict[str, str], tmp_path: Path) -> None:
    """An adapter of TRL's, trained for two steps: it is measured, and has left its base."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    def dialogue(turns: tuple[Message, ...]) -> list[dict[str, str]]:
        return [{"role": each.role, "content": each.content} for each in turns]

    fields = ("prompt", "chosen", "rejected")
    data = Dataset.from_list([{name: dialogue(getattr(row, name)) for name in fields} for row in pairs(40)[20:]])
    trainer = DPOTrainer(
        model=models["base"],
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"),
            max_steps=2,
            learning_rate=0.05,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=data,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    found = run(str(tmp_path / "saved"), write_material(tmp_path, models), tmp_path / "run", baseline=models["base"])
    whole = {each.name: each.value for each in found.models[0].measures if not each.slice}
    assert whole["kl/per_token"] > 1e-3
    assert whole["rewards/margins"] != 0
    assert whole["ranking_accuracy"] is not None
