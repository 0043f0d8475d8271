"""Who judges, and how: the back ends of a panel, its cache, what is planted and what is set aside (docs/judges.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from fairlead.config.faults import translate
from fairlead.config.reading import Sort, read_yaml
from fairlead.config.schema import Section
from fairlead.errors import ConfigError, Fault

JUDGE = Sort(
    name="judge.yaml",
    starter="one",
    command="fairlead judge --help",
    holds="judges: and what holds for all of them",
    needs="judges, with one judge",
)

Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BACK_ENDS = ("endpoint", "model", "reward", "rules")


class EndpointSection(Section):
    """A server that speaks the chat-completions protocol."""

    url: Text = Field(description="Base address, for instance http://localhost:8000/v1; /chat/completions is added.")
    model: Text = Field(description="Name of the model, as the server knows it.")
    api_key_env: Text | None = Field(default=None, description="Environment variable that holds the key.")
    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest token each time.")
    max_tokens: int = Field(default=512, ge=1, description="Longest answer of the judge, in tokens.")
    timeout: float = Field(default=60.0, gt=0, description="Longest wait for one answer, in seconds.")
    retries: int = Field(default=5, ge=0, description="Further tries after a fault that may pass.")
    backoff: float = Field(default=1.0, ge=0, description="Wait before the first further try, in seconds; it doubles.")
    max_wait: float = Field(default=60.0, ge=0, description="Longest wait between two tries, in seconds.")
    concurrency: int = Field(default=4, ge=1, le=64, description="Calls under way at once.")
    requests_per_minute: float | None = Field(default=None, gt=0, description="Most calls begun in a minute.")
    price_in: float = Field(default=0.0, ge=0, description="Price of a million tokens read.")
    price_out: float = Field(default=0.0, ge=0, description="Price of a million tokens written.")
    max_cost: float | None = Field(default=None, gt=0, description="Most that one run may cost, in the price's money.")


class ModelSection(Section):
    """A model on this machine."""

    path: Text = Field(description="Transformers folder, hub id, .gguf file or run.")
    adapter: Text | None = Field(default=None, description="Folder of a PEFT adapter.")
    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer of the judge, in tokens.")


class RewardSection(Section):
    """A reward model; the greater reward wins."""

    path: Text = Field(description="Run trained with loss.name: reward, or a sequence classifier with one label.")
    adapter: Text | None = Field(default=None, description="Folder of a PEFT adapter.")
    margin: float = Field(default=0.0, ge=0, description="Rewards that differ by no more are a tie.")


class Rule(Section):
    """One question about the two answers; where they differ in it, it decides. Give one of its keys."""

    prefer: Literal["shorter", "longer"] | None = Field(default=None, description="By number of characters.")
    contains: Text | None = Field(default=None, description="The answer with this phrase wins; case is ignored.")
    lacks: Text | None = Field(default=None, description="The answer without this phrase wins; case is ignored.")


class JudgeSection(Section):
    """One judge: its name, and one back end."""

    name: Text = Field(description="What verdicts and measures call it.")
    endpoint: EndpointSection | None = Field(default=None, description="A chat-completions server.")
    model: ModelSection | None = Field(default=None, description="A model on this machine.")
    reward: RewardSection | None = Field(default=None, description="A reward model.")
    rules: list[Rule] | None = Field(default=None, min_length=1, description="Fixed rules, for tests and trials.")


class JudgeConfig(Section):
    """A panel of judges."""

    judges: list[JudgeSection] = Field(min_length=1, description="The judges; most votes decide.")
    cache: Text = Field(
        default="judge-cache.sqlite", description="File that keeps judges' answers, so that none is paid twice."
    )
    canaries: int = Field(default=3, ge=1, description="Comparisons with an answer that must lose, of either sort.")
    sycophancy: int = Field(default=20, ge=0, description="Comparisons asked again under a user's two opinions.")
    self_preference: int = Field(
        default=20,
        ge=0,
        description="Prompts that each judge answers itself, to see whether it prefers its own answer.",
    )
    for_people: Share = Field(default=0.1, description="Share of comparisons set aside for people to judge.")
    seed: int = Field(default=0, ge=0, description="Seed of what is drawn.")


def read_judge(path: str | Path) -> JudgeConfig:
    """The panel in a YAML file, whose folder the cache is seen from. Raises one ConfigError with all faults."""
    path = Path(path).expanduser()
    given, faults = read_yaml(path, JUDGE)
    config = None
    try:
        config = JudgeConfig.model_validate(given)
    except ValidationError as error:
        faults += translate(JudgeConfig, error.errors(include_url=False))
    judges = given.get("judges")
    faults += _judge_faults(judges if isinstance(judges, list) else [])
    if faults or config is None:
        raise ConfigError(faults, source=str(path))
    return config.model_copy(update={"cache": str(path.parent / Path(config.cache).expanduser())})


def _judge_faults(judges: list[Any]) -> Iterator[Fault]:
    """Judges that cannot be told apart, or that have no back end or several; rules and addresses that say nothing."""
    judges = [judge if isinstance(judge, Mapping) else {} for judge in judges]
    for name, count in Counter(str(judge.get("name")) for judge in judges).items():
        if count > 1:
            yield Fault(field="judges", problem=f"{count} of them are called {name!r}.", remedy="Name each apart.")
    if "panel" in (judge.get("name") for judge in judges):
        problem = "is what all judges together are called."
        yield Fault(field="judges.name", problem=f"'panel' {problem}", remedy="Choose another name.")
    for place, judge in enumerate(judges):
        named = [key for key in BACK_ENDS if judge.get(key) is not None]
        if len(named) != 1:
            problem = f"has {' and '.join(named) or 'no back end'}."
            yield Fault(field=f"judges.{place}", problem=problem, remedy=f"Give it one of {', '.join(BACK_ENDS)}.")
        for number, rule in enumerate(judge["rules"] if isinstance(judge.get("rules"), list) else []):
            if isinstance(rule, Mapping) and len(rule) != 1:
                field = f"judges.{place}.rules.{number}"
                yield Fault(field=field, problem="asks more or less than one thing.", remedy="Write each as its own.")
        endpoint = judge.get("endpoint")
        if isinstance(endpoint, Mapping) and isinstance(endpoint.get("url"), str):
            yield from address_faults(f"judges.{place}.endpoint.", endpoint)


def address_faults(field: str, endpoint: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with the address of a server, and with its limit; `field` is where its settings stand."""
    try:
        parts = urlsplit(endpoint["url"])
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        yield Fault(field=f"{field}url", problem="is no address.", remedy="For instance http://localhost:8000/v1.")
    elif parts.username or parts.password or parts.query:
        problem = "holds a name, a password or a query, and would be written down with the run."
        yield Fault(field=f"{field}url", problem=problem, remedy="Give keys by api_key_env.")
    if endpoint.get("max_cost") is not None and not (endpoint.get("price_in") or endpoint.get("price_out")):
        problem = "limits nothing where no token has a price."
        yield Fault(field=f"{field}max_cost", problem=problem, remedy="Set price_in and price_out too.")
