"""`generate`: completions of prompts, as rows of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fairlead.config.endpoint import read_endpoint
from fairlead.config.judge import EndpointSection
from fairlead.data.reading import read
from fairlead.data.records import Candidate, Candidates, Demonstration, Message, Row, Turns
from fairlead.data.writing import write
from fairlead.engine.rendering import Renderer, RenderingFault
from fairlead.engine.sampling import Sample, Sampling, sample
from fairlead.errors import ConfigError, DataError, Fault, ModelError
from fairlead.evaluation.judging.cache import AnswerCache
from fairlead.evaluation.judging.endpoint import key_from_environment
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load, resolve_dtype
from fairlead.models.quantization import narrow
from fairlead.models.reward_model import is_reward_model
from fairlead.progress import SILENT, Progress
from fairlead.stages.served import ServedModel, how_sampled

NAMED = 10
"""Rows that a message names."""
MAX_QUARANTINED = 0.02
"""Share of the rows of a file of prompts that may be at fault."""


def generate(
    model: str,
    prompts: str | Path | Sequence[Row],
    *,
    to: str | Path | None = None,
    adapter: str | None = None,
    chat_template: str | None = None,
    n: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    batch_size: int = 32,
    precision: str = "auto",
    without_system: bool = False,
    endpoint: str | None = None,
    api_key_env: str | None = None,
    progress: Progress = SILENT,
) -> list[Candidates]:
    """Sample `n` completions of each row's prompt; `to` names a JSONL file to write them to.

    `model` is anything `fairlead.models.loading.load` takes, a run directory too; `prompts` is a file of rows of any
    kind or the rows themselves (of a demonstration, the turns before the last answer are the prompt). A row of
    candidates keeps those it has. A candidate's scores are its log-probability under the model (`logp`, nats), its
    length (`tokens`, the end token included) and whether it ended by itself (`finished`, 1 or 0).

    without_system: system turns of the prompts are not put to the model, for samples that are worse on purpose. The
    rows keep them, and the candidates' `sampling` says so. A chat template may put in a system turn of its own.

    endpoint: a server of chat completions, by its address or a YAML file (docs/evaluation.md), that knows the model by
    its name; api_key_env: the environment variable of its key. Candidates have no `logp` then. A call that was broken
    off goes on with the same `to`, beside which answers are kept until it is written.

    Raises DataError for prompts that cannot be read, rendered or answered, ModelError and MachineError as `load` does,
    ConfigError for settings out of range; of a server what `Endpoint.complete` raises.
    """
    settings = Sampling(
        n=n, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed, batch_size=batch_size
    )
    rows = read_rows(prompts)
    if endpoint is not None:
        if adapter is not None or chat_template is not None:
            problem = "is put on models of this machine only."
            field = "adapter" if adapter is not None else "chat_template"
            remedy = "Name the model with it as the server knows it."
            raise ConfigError([Fault(field=field, problem=problem, remedy=remedy)], source="generate")
        server = read_endpoint(endpoint, model=model, api_key_env=api_key_env)
        answered = _served(server, rows, settings, to, without_system, progress)
        if to is not None:
            write(answered, to)
            _cache(to).unlink(missing_ok=True)
        return answered
    dtype = resolve_dtype(precision)
    lm = load(model, dtype=dtype, adapter=adapter, chat_template=chat_template)
    if is_reward_model(lm.model):
        raise ModelError(
            f"{model} is a reward model: it gives completions a number and cannot write any. Give a language model; "
            f"rewards of completions are what `fairlead.score` is for."
        )
    # Adapters are kept in float32 for training; here that would cost two conversions in each of their products.
    narrow(lm.model, dtype)
    name = model if adapter is None else f"{model} + {adapter}"
    answered = complete(lm, rows, settings, name=name, without_system=without_system, progress=progress)
    if to is not None:
        write(answered, to)
    return answered


def complete(
    lm: LanguageModel,
    rows: Sequence[Row],
    settings: Sampling,
    *,
    name: str,
    without_system: bool = False,
    progress: Progress = SILENT,
) -> list[Candidates]:
    """As `generate`, of rows, with a model in memory that the candidates call `name`."""
    renderer = Renderer(lm.tokenizer)
    ids = [_prompt_ids(row, renderer, without_system) for row in rows]
    samples = sample(lm.model, ids, settings, stop_ids=renderer.stop_ids, progress=progress)
    how = how_sampled(settings, without_system=without_system)
    return [_with_candidates(row, own, name, how, renderer) for row, own in zip(rows, samples, strict=True)]


def _served(
    server: EndpointSection,
    rows: Sequence[Row],
    settings: Sampling,
    to: str | Path | None,
    without_system: bool,
    progress: Progress,
) -> list[Candidates]:
    """As `complete`, by a model behind a server. Raises DataError for rows that got no answer."""
    key = key_from_environment(server, name=server.model, kind="model")
    waiting = [
        Candidates(
            id=row.id,
            prompt=tuple(turn for turn in prompt_of(row) if not (without_system and turn.role == "system")),
            candidates=row.candidates if isinstance(row, Candidates) else (),
            tools=row.tools,
            template_kwargs=row.template_kwargs,
            weight=row.weight,
            meta=row.meta,
        )
        for row in rows
    ]
    with AnswerCache(":memory:" if to is None else _cache(to)) as cache:
        model = ServedModel(settings=server, key=key, cache=cache, progress=progress)
        served = model.answer(waiting, settings, how=how_sampled(settings, without_system=without_system))
    if served.left_out:
        ids = sorted(served.left_out)
        named = ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")
        told = f"{len(ids):,} of {len(rows):,} rows got no answer ({named}): {served.left_out[ids[0]]}"
        raise DataError(f"{told}. Leave them out, or ask again: other answers are kept.")
    return [replace(row, prompt=prompt_of(own)) for row, own in zip(served.rows, rows, strict=True)]


def _cache(to: str | Path) -> Path:
    """Where a server's answers are kept until the rows are written."""
    return Path(to).with_name(f".{Path(to).name}.answers.sqlite")


def read_rows(rows: str | Path | Sequence[Row]) -> Sequence[Row]:
    """The rows of a file, few of which may be at fault; rows themselves are given back."""
    if not isinstance(rows, str | Path):
        return rows
    dataset = read(rows)
    dataset.ledger.check(max_quarantined=MAX_QUARANTINED)
    return dataset.rows


def prompt_of(row: Row) -> Turns:
    """The turns that a completion answers; of a demonstration, those before its last answer."""
    if not isinstance(row, Demonstration):
        return row.prompt
    last = max(index for index, message in enumerate(row.messages) if message.role == "assistant")
    return row.messages[:last]


def _prompt_ids(row: Row, renderer: Renderer, without_system: bool) -> tuple[int, ...]:
    prompt = tuple(turn for turn in prompt_of(row) if not (without_system and turn.role == "system"))
    try:
        return renderer.prompt_ids(prompt, tools=row.tools, template_kwargs=row.template_kwargs)
    except RenderingFault as fault:
        raise DataError(
            f"row {row.id} cannot be put to this model: {fault.detail}. Leave the row out or change its {fault.field}.",
            field=fault.field,
            code=fault.code,
        ) from fault


def _with_candidates(
    row: Row, samples: Sequence[Sample], model: str, how: dict[str, Any], renderer: Renderer
) -> Candidates:
    kept = row.candidates if isinstance(row, Candidates) else ()
    taken = {candidate.id for candidate in kept}
    names = (name for number in range(len(kept) + len(samples)) if (name := f"{row.id}-{number}") not in taken)
    new = (
        Candidate(
            id=name,
            messages=(Message(role="assistant", content=_text(one, renderer)),),
            model=model,
            sampling=how,
            scores={"logp": one.logp, "tokens": len(one.ids), "finished": int(one.finished)},
        )
        for name, one in zip(names, samples, strict=False)
    )
    return Candidates(
        id=row.id,
        prompt=prompt_of(row),
        candidates=(*kept, *new),
        tools=row.tools,
        template_kwargs=row.template_kwargs,
        weight=row.weight,
        meta=row.meta,
    )


def _text(one: Sample, renderer: Renderer) -> str:
    """What the model said, without the token that ended it."""
    ids = one.ids[:-1] if one.finished else one.ids
    return str(renderer.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
