"""The judges that a configuration names, ready to be asked: servers, models and reward models are opened here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from fairlead.config.judge import JudgeConfig, JudgeSection, ModelSection, RewardSection
from fairlead.config.rubric import Rubric
from fairlead.data.records import Candidate, Candidates, Turns
from fairlead.errors import ModelError
from fairlead.evaluation.judging.cache import AnswerCache, Complete, Completion
from fairlead.evaluation.judging.contract import Judge
from fairlead.evaluation.judging.endpoint import Endpoint, identity_of, key_from_environment
from fairlead.evaluation.judging.rewards import Rewards, reward_judge
from fairlead.evaluation.judging.rules import rule_judge
from fairlead.evaluation.judging.written import answers_of, written_judge
from fairlead.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Judges that can be asked, and the servers among them with what they have cost."""

    judges: tuple[Judge, ...]
    endpoints: tuple[Endpoint, ...]

    @property
    def calls(self) -> int:
        """Calls made to servers, further tries included."""
        return sum(endpoint.calls for endpoint in self.endpoints)

    @property
    def cost(self) -> float:
        """What these calls cost, at the prices of the configuration."""
        return sum(endpoint.spent for endpoint in self.endpoints)


@contextmanager
def open_judges(config: JudgeConfig, rubric: Rubric | None, progress: Progress = SILENT) -> Generator[Bench]:
    """The judges of a configuration while the block runs.

    Every key is looked up before anything is loaded. Raises ConfigError for a key that is not set, and what
    `AnswerCache` and the loading of models raise.
    """
    keys = {
        section.name: key_from_environment(section.endpoint, name=section.name)
        for section in config.judges
        if section.endpoint is not None
    }
    with ExitStack() as stack:
        writers = any(section.endpoint or section.model for section in config.judges)
        cache = stack.enter_context(AnswerCache(config.cache)) if writers else None
        endpoints = {
            section.name: stack.enter_context(Endpoint(section.endpoint, name=section.name, key=keys[section.name]))
            for section in config.judges
            if section.endpoint is not None
        }
        judges = [_judge(section, endpoints.get(section.name), cache, rubric, progress) for section in config.judges]
        yield Bench(judges=tuple(judges), endpoints=tuple(endpoints.values()))


def _judge(
    section: JudgeSection,
    endpoint: Endpoint | None,
    cache: AnswerCache | None,
    rubric: Rubric | None,
    progress: Progress,
) -> Judge:
    name = section.name
    if endpoint is not None:
        complete = _shown(endpoint.complete, name, progress)
        return written_judge(name, complete, rubric=rubric, cache=cache, identity=identity_of(endpoint.settings))
    if section.model is not None:
        answers, identity = _local(section.model)
        complete = _shown(answers_of(answers), name, progress)
        return written_judge(name, complete, rubric=rubric, cache=cache, identity=identity)
    if section.reward is not None:
        return reward_judge(section.name, _rewards(section.reward), margin=section.reward.margin)
    assert section.rules is not None
    return rule_judge(section.name, section.rules)


def _shown(complete: Complete, name: str, progress: Progress) -> Complete:
    """The same, and a bar of how many answers are there."""

    def shown(prompts: Sequence[Turns], done: Callable[[int, Completion], None]) -> None:
        lock = Lock()  # servers answer to several threads
        with progress.task(f"judge {name}", total=len(prompts), unit="answers") as task:

            def told(place: int, completion: Completion) -> None:
                done(place, completion)
                with lock:
                    task.advance()

            complete(prompts, told)

    return shown


def _local(section: ModelSection) -> tuple[Callable[[Sequence[Turns]], list[Completion]], dict[str, Any]]:
    """A model on this machine: prompts to its likeliest answers, and what these depend on besides the prompts."""
    from fairlead.engine.sampling import Sampling
    from fairlead.models.loading import load, resolve_dtype
    from fairlead.models.quantization import narrow
    from fairlead.models.reward_model import is_reward_model
    from fairlead.stages.generate import complete

    dtype = resolve_dtype("auto")
    lm = load(section.path, dtype=dtype, adapter=section.adapter)
    if is_reward_model(lm.model):
        raise ModelError(f"{section.path} is a reward model and writes nothing. Name it under reward:, not model:.")
    narrow(lm.model, dtype)
    settings = Sampling(temperature=0.0, max_new_tokens=section.max_new_tokens)

    def answer(prompts: Sequence[Turns]) -> list[Completion]:
        rows = [Candidates(id=str(place), prompt=prompt) for place, prompt in enumerate(prompts)]
        answered = [row.candidates[0] for row in complete(lm, rows, settings, name=section.path)]
        return [
            Completion(text=one.messages[-1].content, fault="" if one.scores["finished"] else "truncated")
            for one in answered
        ]

    identity = {
        "weights": lm.weights_digest,
        "adapter": lm.adapter_digest,
        "quantize": lm.quantize,
        "dtype": str(dtype),
        "template": str(lm.tokenizer.chat_template),
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_new_tokens,
    }
    return answer, identity


def _rewards(section: RewardSection) -> Rewards:
    from fairlead.stages.score import load_reward_model

    model = load_reward_model(section.path, adapter=section.adapter)

    def rewards(asked: Sequence[tuple[Turns, Turns]]) -> list[float]:
        rows = [
            Candidates(id=str(place), prompt=prompt, candidates=(Candidate(id="0", messages=answer),))
            for place, (prompt, answer) in enumerate(asked)
        ]
        return [scored.rewards["0"] for scored in model(rows)]

    return rewards
