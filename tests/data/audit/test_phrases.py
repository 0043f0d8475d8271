from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.data.audit.phrases import Phrase, read_phrases
from fairlead.errors import ConfigError, DataError


def test_a_file_of_phrases(tmp_path: Path) -> None:
    path = tmp_path / "phrases.yaml"
    path.write_text(
        "- name: disclaimer\n  phrases: [This is not legal advice, I am not a lawyer]\n"
        "  when: {segment: legal, prompt: contract, meta: {tier: 2}}\n- phrases: Harbor\n"
    )
    assert read_phrases(path) == (
        Phrase(
            name="disclaimer",
            phrases=("This is not legal advice", "I am not a lawyer"),
            segment="legal",
            prompt=("contract",),
            meta={"tier": 2},
        ),
        Phrase(name="Harbor", phrases=("Harbor",)),
    )


def test_faults_are_listed_together(tmp_path: Path) -> None:
    path = tmp_path / "phrases.yaml"
    path.write_text(
        "- text\n- {phrase: x}\n- {phrases: [1]}\n- {phrases: x, when: {topic: y}}\n- {phrases: x, when: {meta: 3}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_phrases(path)
    fields = {fault.field for fault in caught.value.faults}
    assert fields == {"[0]", "[1].phrase", "[1].phrases", "[2].phrases", "[3].when", "[4].when"}


@pytest.mark.parametrize("content", ["", "a: b", "[", "\x00"])
def test_what_is_no_list_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "phrases.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=r"phrases\.yaml"):
        read_phrases(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_phrases(tmp_path / "none.yaml")
