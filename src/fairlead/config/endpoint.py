"""A server that answers in the place of a model on this machine: its address, or a YAML file that says more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairlead.config.faults import translate
from fairlead.config.judge import EndpointSection, address_faults
from fairlead.config.reading import Sort, read_yaml
from fairlead.errors import ConfigError, Fault

ENDPOINT = Sort(
    name="endpoint.yaml",
    starter="one",
    command="fairlead eval --help",
    holds="url: and how the server is asked",
    needs="url",
)
BY_CALLER = ("model", "temperature", "max_tokens")
"""Settings that come from the command and from what is asked, not from the file."""


def read_endpoint(given: str, *, model: str, api_key_env: str | None = None) -> EndpointSection:
    """How `model` is asked at a server, named by its address or by a YAML file (docs/evaluation.md).

    api_key_env: the environment variable that holds the key, in place of the file's. Raises one ConfigError with all
    faults.
    """
    values: dict[str, Any] = {"url": given}
    faults: list[Fault] = []
    is_address = "://" in given
    if not is_address:
        values, faults = read_yaml(Path(given).expanduser(), ENDPOINT)
    for name in BY_CALLER:
        if name in values:
            problem = "is said by the command or the suite, not by this file."
            faults.append(Fault(field=name, problem=problem, remedy="Remove it."))
    named = {key: value for key, value in values.items() if key not in BY_CALLER} | {"model": model}
    if api_key_env is not None:
        named["api_key_env"] = api_key_env
    section = None
    try:
        section = EndpointSection.model_validate(named)
    except ValidationError as error:
        faults += translate(EndpointSection, error.errors(include_url=False))
    if isinstance(named.get("url"), str):
        faults += address_faults("", named)
    if faults or section is None:
        raise ConfigError(faults, source="endpoint" if is_address else given)
    return section
