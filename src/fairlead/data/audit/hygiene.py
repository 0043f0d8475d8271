"""What does not belong in the texts: other languages, odd lengths, control text, personal data, public test sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.grading import finding, share_finding
from fairlead.data.audit.items import completions_of, texts_of
from fairlead.data.audit.length import unit_of
from fairlead.data.audit.material import Material
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.languages import language
from fairlead.data.split import prompt_of
from fairlead.data.texts import text_of
from fairlead.stats.intervals import wilson

HIDE = "Replace them by made-up values of the same form before training: a model can repeat what it has seen."

KINDS = {
    "languages": Kind(
        title="Languages",
        meaning="share of rows in the most frequent language, of those whose language the rules can name",
        remedy="Compare with what production asks in; see `language_mismatch` for answers in another language.",
    ),
    "language_mismatch": Kind(
        title="Answer in another language",
        meaning="share of rows where a completion to be learnt is in another language than its prompt, unasked",
        remedy="Leave these rows out, or have the answers written in the language of the prompt.",
    ),
    "length_outliers": Kind(
        title="Length outliers",
        meaning="share of rows with a completion far outside the usual lengths (five robust deviations on a log scale)",
        remedy="Look at them: texts pasted twice, cut off, or of another task. Leave out what is damaged.",
    ),
    "control_text": Kind(
        title="Control text",
        meaning="share of rows that spell a control token of some chat template (<|im_end|>, </s>, [INST], …)",
        remedy="Strip it where it is left over from a template. It is trained as plain text, never as a token.",
    ),
    "pii_email": Kind(title="E-mail addresses", meaning="share of rows with an e-mail address", remedy=HIDE),
    "pii_phone": Kind(title="Phone numbers", meaning="share of rows with a phone number", remedy=HIDE),
    "pii_card": Kind(
        title="Card numbers", meaning="share of rows with a payment card number whose check digit is right", remedy=HIDE
    ),
    "pii_key": Kind(
        title="Keys and secrets",
        meaning="share of rows with the pattern of an access key, token or private key",
        remedy="Revoke the key at once, then remove it: it is to be taken as public.",
    ),
}

DEVIATIONS = 5.0
ASKS_FOR_LANGUAGE = re.compile(
    r"translat|übersetz|tradu|vertaal|przetłumacz|\b(?:in|into|to|auf|en|in het) (?:english|german|french|spanish|"
    r"italian|portuguese|dutch|polish|swedish|turkish|chinese|japanese|korean|russian|arabic|hindi|hebrew|greek|thai|"
    r"deutsch|französisch|spanisch|englisch|anglais|allemand|français|espagnol|inglés|alemán|francés|español)\b"
)
CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|<｜[^｜<>]{1,40}｜>"
)

EMAIL = re.compile(r"[\w.%+-]+@((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})\b")
RESERVED = re.compile(r"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost)$")
"""Domains that belong to nobody (RFC 2606)."""
PHONE = re.compile(
    r"(?<![\w.,/+-])(?:"
    r"\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"  # international
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4}"  # North America
    r"|0\d{2,4}[ /-]\d{3,4}(?:[ -]?\d{2,5}){1,2}"  # with a trunk prefix
    r")(?![\w-])"
)
CARD = re.compile(r"(?<![\w.,-])[2-6](?:[ -]?\d){12,18}(?![\w-])")
KEY = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{36,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}\b|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
)


def has_email(text: str) -> bool:
    """Whether there is an e-mail address that may be somebody's."""
    return "@" in text and any(not RESERVED.search(found[1].lower()) for found in EMAIL.finditer(text))


def has_phone(text: str) -> bool:
    """Whether there is a phone number of 9 to 15 digits; 555-01xx, which is kept for fiction, is none."""
    for found in PHONE.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if 9 <= len(digits) <= 15 and not re.search(r"55501\d\d$", digits):
            return True
    return False


def has_card(text: str) -> bool:
    """Whether there is a payment card number of 13 to 19 digits whose check digit is right."""
    return any(passes_luhn(re.sub(r"\D", "", found[0])) for found in CARD.finditer(text))


def passes_luhn(digits: str) -> bool:
    """Whether the last digit checks the others by Luhn's formula (ISO/IEC 7812-1); all zeros do not count."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0 and any(doubled)


def has_key(text: str) -> bool:
    """Whether there is the pattern of an access key, a token or a private key."""
    return KEY.search(text) is not None


def has_control_text(text: str) -> bool:
    """Whether a control token of some chat template is spelt."""
    return ("<" in text or "[" in text) and CONTROL.search(text) is not None


PERSONAL: Mapping[str, Callable[[str], bool]] = {
    "pii_key": has_key,
    "pii_card": has_card,
    "pii_email": has_email,
    "pii_phone": has_phone,
}


def hygiene(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Languages, outliers, control text and personal data, over the prompt and every completion of each row."""
    if not material.rows:
        return
    yield from _languages(material, settings)
    yield from _outliers(material, settings)
    n = len(material.rows)
    found: dict[str, list[str]] = {"control_text": [], **{code: [] for code in PERSONAL}}
    for row in material.ordered_rows:
        text = "\n".join(texts_of(row))
        if has_control_text(text):
            found["control_text"].append(row.id)
        for code, holds in PERSONAL.items():
            if holds(text):
                found[code].append(row.id)
    for code, rows in found.items():
        grave = code in ("pii_key", "pii_card")
        warning = settings.control_warning if code == "control_text" else settings.pii_warning
        yield share_finding(
            code,
            len(rows),
            n,
            warning=warning,
            error=warning if grave else None,
            rows=rows,
            detail=f"{len(rows):,} of {n:,} rows",
        )


def _languages(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    better: dict[str, list[str]] = {}
    for side in material.contrast.better:
        better.setdefault(side.row, []).append(side.text)
    counts: Counter[str] = Counter()
    mismatched, compared = [], 0
    for row in material.ordered_rows:
        prompt = text_of(prompt_of(row))
        asked = language(prompt)
        completions = better.get(row.id) or completions_of(row)
        answered = [language(text) for text in completions]
        counts[asked or next(filter(None, answered), "")] += 1
        if asked and any(answered):
            compared += 1
            if any(spoken not in ("", asked) for spoken in answered) and not ASKS_FOR_LANGUAGE.search(prompt.lower()):
                mismatched.append(row.id)
    named = counts.total() - counts[""]
    if named:
        most, main = max((count, name) for name, count in counts.items() if name)
        yield finding(
            "languages",
            "note",
            most / named,
            n=named,
            interval=wilson(most, named),
            detail=f"{main}; by script and commonest words, {counts['']:,} rows are too short or mixed to say",
            data={"languages": dict(sorted(counts.items()))},
        )
    if compared:
        yield share_finding(
            "language_mismatch",
            len(mismatched),
            compared,
            warning=settings.language_warning,
            rows=mismatched,
            detail=f"{len(mismatched):,} of {compared:,} rows where both languages are known",
        )


def _outliers(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    unit = unit_of(material)
    rows, lengths = [], []
    for row in material.ordered_rows:
        for text in completions_of(row):
            rows.append(row.id)
            lengths.append(unit.measure(text))
    if not rows:
        return
    logs = np.log1p(np.array(lengths, dtype=np.float64))
    middle = np.median(logs)
    away = np.abs(logs - middle)
    spread = 1.4826 * np.median(away)  # that of a normal distribution with this median absolute deviation
    if spread == 0:
        return
    far = np.nonzero(away > DEVIATIONS * spread)[0]
    far = far[np.argsort(-away[far], kind="stable")]
    concerned = list(dict.fromkeys(rows[place] for place in far))
    low, high = (float(np.expm1(middle + sign * DEVIATIONS * spread)) for sign in (-1, 1))
    yield share_finding(
        "length_outliers",
        len(concerned),
        len(material.rows),
        warning=settings.outliers_warning,
        rows=concerned,
        detail=f"outside {max(0.0, low):,.0f} to {high:,.0f} {unit.name}, around a median of {np.expm1(middle):,.0f}",
    )
