"""How a server is named: by its address, or by a file that says more."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.config.endpoint import read_endpoint
from fairlead.errors import ConfigError


def test_an_address() -> None:
    found = read_endpoint("http://localhost:8000/v1", model="tuned", api_key_env="OUR_KEY")
    assert (found.url, found.model, found.api_key_env) == ("http://localhost:8000/v1", "tuned", "OUR_KEY")


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.yaml"
    path.write_text("url: https://example.org/v1\napi_key_env: THEIR_KEY\nprice_in: 2\nmax_cost: 5\n")
    found = read_endpoint(str(path), model="m")
    assert (found.url, found.api_key_env, found.max_cost) == ("https://example.org/v1", "THEIR_KEY", 5)
    assert read_endpoint(str(path), model="m", api_key_env="OUR_KEY").api_key_env == "OUR_KEY"


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.yaml"
    path.write_text("url: https://me:word@example.org/v1\nmodel: m\ntemperature: 1\nretrys: 3\nmax_cost: 5\n")
    with pytest.raises(ConfigError) as caught:
        read_endpoint(str(path), model="m")
    assert {fault.field for fault in caught.value.faults} == {"url", "model", "temperature", "retrys", "max_cost"}
    assert "Did you mean retries?" in str(caught.value)


def test_what_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="url: is no address"):
        read_endpoint("ftp://example.org", model="m")
    with pytest.raises(ConfigError, match="does not exist"):
        read_endpoint(str(tmp_path / "none.yaml"), model="m")
