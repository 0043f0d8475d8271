"""The suite by which models are measured: a YAML file that names rows, prompts, questions (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic import ValidationInfo as Info

from fairlead.config.faults import nearest, translate
from fairlead.config.reading import Sort, read_yaml
from fairlead.config.schema import Files, FolderOrHub, InFolder, Section
from fairlead.errors import ConfigError, Fault
from fairlead.evaluation.table import CHECK, KINDS, LM_EVAL, REQUIRED, SECTIONS

SUITE = Sort(
    name="suite.yaml",
    starter="a starter",
    command="fairlead eval --starter suite.yaml",
    holds="sections such as held_out: and generation:",
    needs="one of the sections held_out, generation, factual, kl, probes, lm_eval",
)
BEGINNINGS = (REQUIRED, CHECK, LM_EVAL)
"""What the names of measures begin with that a suite, or its user, brings along."""


class HeldOut(Section):
    """Preferences that were not trained on."""

    rows: Files = Field(min_length=1, description="Files of held-out preferences; one path or a list.")
    reference: FolderOrHub | None = Field(
        default=None, description="The model that rewards are measured against; null: no rewards."
    )
    beta: float = Field(default=0.1, gt=0, description="Factor of the log-ratios in rewards/margins.")


class Generation(Section):
    """Prompts to be answered, and how."""

    prompts: Files = Field(min_length=1, description="Files of rows whose prompts are answered; one path or a list.")
    required: InFolder | None = Field(default=None, description="YAML file of phrases that answers must carry.")
    slices: list[Annotated[str, Field(min_length=1)]] = Field(
        default=["segment"], description="Fields of meta by whose values answers are also measured apart."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer, in tokens.")
    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest token each time.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Sample among the likeliest tokens of this mass.")
    n: int = Field(default=1, ge=1, description="Answers per prompt.")
    seed: int = Field(default=0, ge=0, description="Seed of the sampling.")


class Factual(Section):
    """Questions with right answers."""

    questions: InFolder = Field(description="JSONL file of questions (docs/evaluation.md).")
    max_new_tokens: int = Field(default=64, ge=1, description="Longest answer, in tokens.")


class KL(Section):
    """How far the model is from a reference, on answers sampled from the model."""

    prompts: Files = Field(min_length=1, description="Files of rows whose prompts are answered; one path or a list.")
    reference: FolderOrHub = Field(description="The model to measure the distance from.")
    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer, in tokens.")
    n: int = Field(default=1, ge=1, description="Answers per prompt.")
    seed: int = Field(default=0, ge=0, description="Seed of the sampling.")


class LmEval(Section):
    """Tasks of lm-eval, by the extra lm-eval."""

    tasks: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, description="Names of tasks or groups.")
    include: InFolder | None = Field(default=None, description="Folder with YAML files of tasks of one's own.")
    num_fewshot: int | None = Field(default=None, ge=0, description="Examples before each question; null: the task's.")
    limit: int | None = Field(default=None, ge=1, description="First questions of each task; null: all.")
    apply_chat_template: bool = Field(default=False, description="Put questions into the model's chat template.")


BUILTIN = "builtin"


def _set_from_folder(name: str, info: Info) -> str:
    """A relative path, seen from the folder of the suite; `builtin` stays."""
    folder: Path | None = (info.context or {}).get("folder")
    return name if name == BUILTIN or folder is None else str(folder / Path(name).expanduser())


def _as_set(value: Any) -> Any:
    return {"set": value} if isinstance(value, str) else value


class Probes(Section):
    """Red-team probes."""

    set: Annotated[str, Field(min_length=1), AfterValidator(_set_from_folder)] = Field(
        default=BUILTIN, description="builtin, or a YAML file of probes (docs/probes.md)."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer, in tokens.")
    seed: int = Field(default=0, ge=0, description="Seed of the canaries.")


class PromptExample(Section):
    """A question with the answer that it should get."""

    question: str = Field(min_length=1, description="What is asked.")
    answer: str = Field(min_length=1, description="The answer to go by.")


class PromptingBaseline(Section):
    """How the untuned model is asked, to see what training adds to that (docs/prompting-baseline.md)."""

    system: str = Field(default="", description="The system prompt.")
    examples: list[PromptExample] = Field(default_factory=list, description="Questions with their answers.")
    documents: InFolder | None = Field(default=None, description="Folder of .md and .txt files to look passages up in.")
    k: int = Field(default=3, ge=1, description="Passages looked up for each question.")
    passage_tokens: int = Field(default=1000, ge=1, description="The most tokens of all passages together.")


class Suite(Section):
    """What is measured. Every section is optional; at least one is there."""

    held_out: HeldOut | None = Field(default=None, description="Preferences that were not trained on.")
    generation: Generation | None = Field(default=None, description="Prompts to be answered, and how.")
    factual: Factual | None = Field(default=None, description="Questions with right answers.")
    kl: KL | None = Field(default=None, description="Distance from a reference on sampled answers.")
    probes: Annotated[Probes, BeforeValidator(_as_set, json_schema_input_type=str | Probes)] | None = Field(
        default=None, description="Red-team probes: builtin, a YAML file of probes, or a section."
    )
    lm_eval: LmEval | None = Field(default=None, description="Tasks of lm-eval.")
    baseline: PromptingBaseline | None = Field(
        default=None, description="Prompting the untuned model, measured as one model more."
    )
    measures: list[str] | None = Field(default=None, description="Names of the measures to keep; null: all.")

    def keeps(self, name: str) -> bool:
        """Whether a measure is wanted; `required_phrase/`, `check/`, `lm_eval/` stand for all of theirs."""
        return self.measures is None or any(
            name == each or (each in BEGINNINGS and name.startswith(each)) for each in self.measures
        )

    def wants(self, section: str) -> bool:
        """Whether the section is there and gives a measure that is wanted."""
        wanted = SECTIONS[section] if self.measures is None else self.measures
        given = any(_key(name) in SECTIONS[section] for name in wanted)
        return given and getattr(self, section) is not None


def _key(name: str) -> str:
    """The name by which a measure stands in `SECTIONS`."""
    return next((each for each in BEGINNINGS if name.startswith(each)), name)


def read_suite(path: str | Path) -> Suite:
    """The suite in a YAML file, its relative paths seen from the file's folder. Raises one ConfigError, all faults."""
    place = Path(path).expanduser()
    given, faults = read_yaml(place, SUITE)
    suite = None
    try:
        suite = Suite.model_validate(given, context={"folder": place.parent})
    except ValidationError as error:
        faults += translate(Suite, error.errors(include_url=False))
    faults += _measure_faults(given)
    if not any(given.get(section) is not None for section in SECTIONS):
        remedy = f"Add one of the sections {', '.join(SECTIONS)}."
        faults.append(Fault(field="suite", problem="measures nothing.", remedy=remedy))
    if faults or suite is None:
        raise ConfigError(faults, source=str(path))
    return suite


def _measure_faults(given: Mapping[str, Any]) -> Iterator[Fault]:
    """Measures that are not known, and those that no section of the suite gives."""
    listed = given.get("measures")
    for place, name in enumerate(listed if isinstance(listed, list) else []):
        field = f"measures.{place}"
        if not isinstance(name, str):
            continue
        key = _key(name)
        if key not in KINDS and key not in BEGINNINGS:
            close = nearest(name, [*KINDS, *BEGINNINGS])
            known = [*KINDS, f"{REQUIRED}NAME", f"{CHECK}NAME", f"{LM_EVAL}TASK/METRIC"]
            remedy = f"Did you mean {close}?" if close else f"Known: {', '.join(known)}."
            yield Fault(field=field, problem=f"{name!r} is no measure.", remedy=remedy)
            continue
        (section,) = [each for each, names in SECTIONS.items() if key in names]
        content = given.get(section)
        if content is None:
            yield Fault(
                field=field, problem=f"{name} needs the section {section}.", remedy="Add it, or remove the name."
            )
        elif isinstance(content, Mapping):
            needed = "required" if key == REQUIRED else "reference" if key.startswith("rewards/") else None
            if needed is not None and content.get(needed) is None:
                yield Fault(
                    field=field, problem=f"{name} needs {section}.{needed}.", remedy="Add it, or remove the name."
                )
