"""Which language a text is in, by light rules: its script, and for the Latin script its commonest words.

No library: those that are exact enough are large, and those that are small are slow. The rules are wrong on a few words
and on mixed texts, where they say nothing ("") rather than guess.
"""

from __future__ import annotations

import re

READ = 600
"""Characters that are looked at: enough for fifty words."""
LEAST_HITS = 3
"""Common words that a text must hold before a language is named."""

SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("Cyrillic", re.compile(r"[\u0400-\u04ff]")),
    ("Arabic", re.compile(r"[\u0600-\u06ff]")),
    ("Devanagari", re.compile(r"[\u0900-\u097f]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
"""A script that one language uses bears its code, one that several use its name. Kana before Han: Japanese has both."""

COMMON = {
    "en": "the and of to is that it for you are with this was have not be on what your can my from will they we how do",
    "de": "der die das und ist nicht ich sie es ein eine zu mit den auf für dem wie sind auch wird haben werden oder "
    "kann mein ihre wir",
    "fr": "le la les et est des une pour que dans qui pas vous je nous sur avec ce il elle sont du au votre mais être",
    "es": "el los las y es que una por para con no se su del lo como más pero sus está son muy yo usted mi puede",
    "it": "il di che è non per una sono con della gli anche come del ho questo mi nel alla più dei si lo sua può",
    "pt": "o os as e é que não uma para com do da em por mais como dos foi você seu são na no ao ou muito",
    "nl": "de het een en van is dat niet op te met voor zijn ik je er maar aan ook hebben wordt deze naar wij bij",
    "pl": "nie się na jest że to z do jak ale co czy są przez po tak już może dla być od tylko",
    "sv": "och att det är som en på för med inte av jag har till den om var vi ett kan men du ska",
    "tr": "ve bir bu için ile da de çok ne var gibi daha ama olarak en kadar sonra olan değil mi",
}
NAMES = tuple(COMMON)
_PLACES_OF: dict[str, list[int]] = {}
for _place, _words in enumerate(COMMON.values()):
    for _word in _words.split():
        _PLACES_OF.setdefault(_word, []).append(_place)

_WORD = re.compile(r"[^\W\d_]+")


def language(text: str) -> str:
    """The code of a language, the name of a script that several languages use, or "" where the rules do not say."""
    read = text[:READ]
    if not read.isascii():
        letters = sum(map(str.isalpha, read))
        for name, pattern in SCRIPTS:
            found = len(pattern.findall(read))
            if found and found * (3 if name == "ja" else 2) > letters * (0.3 if name == "ja" else 1):
                return name
    hits = [0] * len(NAMES)
    for word in _WORD.findall(read.lower()):
        for place in _PLACES_OF.get(word, ()):
            hits[place] += 1
    most, next_most = max(hits), sorted(hits)[-2]
    # Words that two languages share count for both: only a clear lead says which it is.
    return NAMES[hits.index(most)] if most >= LEAST_HITS and most >= 1.5 * next_most else ""
