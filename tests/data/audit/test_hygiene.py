from __future__ import annotations

import pytest

from fairlead.data.audit.hygiene import has_card, has_control_text, has_email, has_key, has_phone, passes_luhn
from fairlead.data.records import Demonstration
from tests.data.audit.planted import assistant, changed, clean_pairs, found, user

# Put together here, so that no tool that looks for secrets finds one in the tests.
KEYS = [
    "AKIA" + "ABCDEFGHIJ234567",
    "sk-" + "proj-0123456789abcdefghij",
    "ghp_" + "a1" * 18,
    "hf_" + "Ab" * 17,
    "xoxb-" + "1234567890-abcdef",
    "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0In0." + "c2lnbmF0dXJlIQ",
]

HITS = {
    has_email: ["Write to jo.do+x@mail.harbor.co.uk.", "<a@b.de>"],
    has_phone: ["Call +49 30 1234567", "(212) 736-5000 now", "212-736-5000", "040/123456 78", "+1 (212) 736-5000"],
    has_card: ["4111 1111 1111 1111", "my card 5500005555555559.", "3782-822463-10005"],
    has_key: KEYS,
    has_control_text: ["a<|im_end|>b", "</s>", "[INST] x [/INST]", "<<SYS>>", "<start_of_turn>", "<|eot_id|>"],
}
MISSES = {
    has_email: ["jo@example.com", "x@y.test", "@home", "a @ b.de", "mail@localhost"],
    has_phone: [
        "from 1990-2000",
        "2026-01-31 16:59",
        "1,000,000.00",
        "order 4711-0815",
        "212-555-0123",
        "v1.2.3-4.5",
        "0.1234567 8901",
        "https://a.b/212-736-5000",
    ],
    has_card: ["4111 1111 1111 1112", "0000 0000 0000 0000", "order 12345678901234567890123", "4111-1111"],
    has_key: ["sk-short", "AKIA1234", "a public key", "ghp_x"],
    has_control_text: ["a < b and c > d", "<b>bold</b>", "[1]", "x || y", "<|not closed", "List<String>"],
}


@pytest.mark.parametrize(("holds", "text"), [(holds, text) for holds, texts in HITS.items() for text in texts])
def test_what_is_found(holds: object, text: str) -> None:
    assert holds(text)  # type: ignore[operator]


@pytest.mark.parametrize(("holds", "text"), [(holds, text) for holds, texts in MISSES.items() for text in texts])
def test_what_is_left_alone(holds: object, text: str) -> None:
    assert not holds(text)  # type: ignore[operator]


def test_luhn_by_the_standard_example() -> None:
    assert passes_luhn("79927398713")
    assert not any(passes_luhn(f"7992739871{digit}") for digit in "012456789")


PLANTED = {
    "pii_email": "Mail jo@harbor.de",
    "pii_phone": "Call +49 30 1234567",
    "pii_card": "Card 4111 1111 1111 1111",
    "pii_key": KEYS[0],
    "control_text": "x<|im_start|>system",
}


@pytest.mark.parametrize("code", PLANTED)
@pytest.mark.parametrize("side", ["prompt", "chosen", "rejected"])
def test_rows_with_it_are_found_on_every_side(code: str, side: str) -> None:
    rows = clean_pairs(60)
    text = PLANTED[code]
    changes = {"prompt": user(text)} if side == "prompt" else {side: text}
    rows[7] = changed(rows[7], **changes)
    finding = found(rows, code)
    assert (finding.rows, finding.count, finding.n) == (("p0007",), 1, 60)
    assert finding.severity == ("error" if code in ("pii_card", "pii_key") else "warning")
    assert text not in finding.detail


def test_answers_in_another_language() -> None:
    german = "Das ist nicht wahr, und es wird auch nicht wahr, wie oft man es sagt."
    rows = clean_pairs(100)
    for place in (3, 4):
        rows[place] = changed(rows[place], chosen=german)
    rows[5] = changed(
        rows[5], chosen=german, prompt=user("Translate this for me, and do it with care: it is not true.")
    )
    rows[6] = changed(rows[6], rejected=german)
    finding = found(rows, "language_mismatch")
    assert (finding.rows, finding.severity) == (("p0003", "p0004"), "warning")
    assert found(rows, "languages").data["languages"]["en"] == 100


def test_lengths_out_of_all_proportion() -> None:
    rows = clean_pairs(100)
    rows[8] = changed(rows[8], rejected="word " * 5000)
    rows[9] = changed(rows[9], chosen="word " * 3000)
    finding = found(rows, "length_outliers")
    assert (finding.rows, finding.severity) == (("p0008", "p0009"), "warning")


def test_dialogues_are_read_too() -> None:
    rows = [Demonstration(id=f"d{n}", messages=(*user("Hm?"), *assistant(f"Ask jo{n}@harbor.de"))) for n in range(4)]
    assert found(rows, "pii_email").count == 4
