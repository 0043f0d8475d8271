"""Strict decoding: nothing lost, nothing changed, and the fast path agrees with the strict one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.data.decoding import MAX_DEPTH, decode
from fairlead.data.ledger import Rejected

texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(['a":', '\\":', '" :', "\\", '"'])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=12,
)


@given(values, st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_value_comes_back_as_it_was_written(value: Any, ascii_only: bool, spaced: bool) -> None:
    separators = (" , ", " : ") if spaced else None
    assert decode(json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()) == value


@given(st.dictionaries(texts, texts, min_size=1, max_size=4), st.data(), st.sampled_from([":", " :", ": ", "\t:"]))
@settings(max_examples=150, deadline=None)
def test_a_key_named_twice_is_always_seen(pairs: dict[str, str], data: st.DataObject, colon: str) -> None:
    items = list(pairs.items())
    items.insert(data.draw(st.integers(0, len(items))), data.draw(st.sampled_from(items)))
    escape = data.draw(st.booleans())
    members = ",".join(json.dumps(key, ensure_ascii=escape) + colon + json.dumps(item) for key, item in items)
    with pytest.raises(Rejected) as caught:
        decode(f'[{{"inner":{{{members}}}}}]'.encode())
    assert caught.value.code == "duplicate_key"
    assert caught.value.field in pairs


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64 + 1, -(10**30)])
def test_whole_numbers_keep_every_digit(number: int) -> None:
    assert decode(b'{"id": %d}' % number) == {"id": number}


def test_whole_numbers_after_megabytes_of_text() -> None:
    value = [{"text": "x" * 3_000_000}, 2**60 + 1, "2026-01-31T16:59:52Z"]
    assert decode(json.dumps(value).encode()) == value


def test_nesting_is_read_up_to_the_limit() -> None:
    def nested(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    brackets = b', "' + b"[{" * 200 + b'"]'
    decode(nested(MAX_DEPTH))
    decode(b"[" + nested(MAX_DEPTH - 1) + brackets)
    with pytest.raises(Rejected, match="too_deep"):
        decode(b"[" + nested(MAX_DEPTH) + brackets)
    for levels in (MAX_DEPTH + 1, 1_200, 100_000):
        with pytest.raises(Rejected, match="too_deep"):
            decode(nested(levels))


def test_many_brackets_in_a_text_are_no_nesting() -> None:
    assert decode(json.dumps({"code": "[{" * 500}).encode()) == {"code": "[{" * 500}


@pytest.mark.parametrize(
    ("text", "field"),
    [(b'{"weight": NaN}', "weight"), (b'{"m": {"score" : -Infinity}}', "score"), (b'{"margin": 1e999}', "margin")],
)
def test_a_number_that_is_none_names_its_field(text: bytes, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(text)
    assert (caught.value.code, caught.value.field) == ("not_finite", field)


def test_an_end_in_the_middle_is_told_from_rubbish() -> None:
    for text, last, code in [
        (b'{"a": "b', True, "truncated_line"),
        (b'{"a": "b', False, "not_json"),
        (b"hello", True, "not_json"),
    ]:
        with pytest.raises(Rejected) as caught:
            decode(text, last=last)
        assert caught.value.code == code
