"""Panels of judges: read whole, or refused with every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.config.judge import JudgeConfig, read_judge
from fairlead.errors import ConfigError


def read(folder: Path, text: str) -> JudgeConfig:
    path = folder / "judge.yaml"
    path.write_text(text, encoding="utf-8")
    return read_judge(path)


def test_defaults_and_the_folder_of_the_cache(tmp_path: Path) -> None:
    config = read(tmp_path, "judges:\n- name: j\n  endpoint: {url: 'http://localhost:8000/v1', model: m}\n")
    assert config.cache == str(tmp_path / "judge-cache.sqlite")
    assert (config.canaries, config.self_preference, config.for_people) == (3, 20, 0.1)
    endpoint = config.judges[0].endpoint
    assert endpoint is not None
    assert (endpoint.temperature, endpoint.retries, endpoint.api_key_env) == (0, 5, None)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("judges: []", ["judges: must not be empty."]),
        ("judges:\n- name: j", ["judges.0: has no back end. Give it one of endpoint, model, reward, rules."]),
        (
            "judges:\n- {name: j, model: {path: m}, reward: {path: r}}",
            ["judges.0: has model and reward. Give it one of"],
        ),
        (
            "judges:\n- {name: j, model: {path: m}}\n- {name: j, model: {path: m}}",
            ["judges: 2 of them are called 'j'."],
        ),
        ("judges:\n- {name: panel, model: {path: m}}", ["'panel' is what all judges together are called."]),
        (
            "judges:\n- {name: j, rules: [{contains: a, lacks: b}, {}]}",
            ["judges.0.rules.0: asks more or less than one thing.", "judges.0.rules.1: asks more or less"],
        ),
        (
            "judges:\n- {name: j, endpoint: {url: 'localhost', model: m}}\ncanary: 2",
            ["canary: is not a known key. Did you mean canaries?", "judges.0.endpoint.url: is no address."],
        ),
        (
            "judges:\n- {name: j, endpoint: {url: 'http://me:secret@host/v1', model: m, max_cost: 3}}",
            ["url: holds a name, a password or a query", "max_cost: limits nothing where no token has a price."],
        ),
        ("judges:\n- {name: j, endpoint: {url: 'http://h', model: m, api_key: x}}", ["api_key: is not a known key."]),
        ("judges: {name: j}", ["judges: must be a list"]),
        ("canaries: 0", ["canaries: must be at least 1, not 0.", "judges: is missing."]),
    ],
)
def test_faults(tmp_path: Path, text: str, faults: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert all(fault in said for fault in faults), said
    assert len(caught.value.faults) == len(faults), said
