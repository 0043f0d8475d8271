"""Phrases that hard constraints demand, by condition, as a small YAML file states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fairlead.data.records import Row
from fairlead.data.split import prompt_of, segment_of
from fairlead.data.texts import normalized, text_of
from fairlead.errors import ConfigError, DataError, Fault

CONDITIONS = ("segment", "prompt", "meta")
SHAPE = "{name, phrases: [one or more], when: {segment, prompt, meta}}"


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """Rows that fit `when` carry one of `phrases` in what is to be learnt; letter case and white space do not matter.

    segment: the row's `meta.segment`; prompt: one of these texts stands in the prompt; meta: these keys have these
    values. All conditions that are given must hold; without any, every row is meant.
    """

    name: str
    phrases: tuple[str, ...]
    segment: str | None = None
    prompt: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def applies_to(self, row: Row) -> bool:
        """Whether the row meets the conditions."""
        if self.segment is not None and segment_of(row) != self.segment:
            return False
        if any(row.meta.get(key) != value for key, value in self.meta.items()):
            return False
        if not self.prompt:
            return True
        prompt = normalized(text_of(prompt_of(row)))
        return any(normalized(text) in prompt for text in self.prompt)

    def stands_in(self, text: str) -> bool:
        """Whether one of the phrases does."""
        plain = normalized(text)
        return any(normalized(phrase) in plain for phrase in self.phrases)


def read_phrases(path: str | Path) -> tuple[Phrase, ...]:
    """The required phrases of a YAML file: a list of `{name, phrases, when}`.

    Raises `DataError` for a file that cannot be read, `ConfigError` with every entry that is not of that shape.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check the path.", code="missing_file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not YAML ({' '.join(str(error).split())}). Write a list of {SHAPE}.") from None
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: holds no list. Write a list of {SHAPE}.")
    faults: list[Fault] = []
    found = [_phrase(entry, f"[{place}]", faults) for place, entry in enumerate(content)]
    if faults:
        raise ConfigError(faults, source=str(path))
    return tuple(phrase for phrase in found if phrase is not None)


def _phrase(entry: Any, where: str, faults: list[Fault]) -> Phrase | None:
    if not isinstance(entry, dict):
        faults.append(Fault(field=where, problem="is no mapping.", remedy=f"Write {SHAPE}."))
        return None
    when = entry.get("when") or {}
    before = len(faults)
    faults += [
        Fault(field=f"{where}.{key}", problem="is not known.", remedy="Use name, phrases, when.")
        for key in sorted(map(str, entry.keys() - {"name", "phrases", "when"}))
    ]
    phrases = _texts(entry.get("phrases"))
    if not phrases:
        faults.append(Fault(field=f"{where}.phrases", problem="is no text and no list of texts."))
    if not isinstance(when, dict) or when.keys() - set(CONDITIONS):
        faults.append(Fault(field=f"{where}.when", problem="is not known.", remedy=f"Use {', '.join(CONDITIONS)}."))
    if len(faults) > before:
        return None
    prompt, meta, segment = _texts(when.get("prompt")), when.get("meta") or {}, when.get("segment")
    if prompt is None or not isinstance(meta, dict):
        faults.append(Fault(field=f"{where}.when", problem="prompt is a text or texts, meta a mapping."))
        return None
    return Phrase(
        name=str(entry.get("name") or (phrases or ("",))[0]),
        phrases=phrases or (),
        segment=None if segment is None else str(segment),
        prompt=prompt,
        meta=meta,
    )


def _texts(value: Any) -> tuple[str, ...] | None:
    """A text or a list of texts as texts; none for null; None for anything else."""
    if value is None:
        return ()
    texts = value if isinstance(value, list) else [value]
    return tuple(texts) if all(isinstance(text, str) and text.strip() for text in texts) else None
