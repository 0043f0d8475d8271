from __future__ import annotations

import pytest

from fairlead.data.languages import COMMON, language

SAID = {
    "en": "Where is my parcel? I have been waiting for it and it is not here.",
    "de": "Wo ist mein Paket? Ich warte seit einer Woche und es ist noch nicht da, wie kann das sein?",
    "fr": "Où est mon colis ? Je ne sais pas où il est et vous ne répondez pas à mes messages dans la journée.",
    "es": "¿Dónde está mi paquete? No sé por qué no ha llegado y su servicio no contesta en todo el día.",
    "it": "Dov'è il mio pacco? Non so perché non è arrivato e il vostro servizio non risponde della consegna.",
    "pt": "Onde está a minha encomenda? Não sei por que não chegou e o serviço não responde em dias como os de hoje.",
    "nl": "Waar is mijn pakket? Ik weet niet waarom het er nog niet is en de dienst zegt dat het een dag duurt.",
    "sv": "Var är mitt paket? Jag vet inte varför det inte har kommit och det är en vecka för mycket om du frågar mig.",
    "pl": "Gdzie jest moja paczka? Nie wiem, dlaczego jej nie ma, to jest już tydzień, czy można to sprawdzić?",
    "tr": "Paketim nerede? Bir hafta oldu ve daha gelmedi, bu ne kadar sürer, çok var mı, gibi sorular için yazdım.",
    "Cyrillic": "Где моя посылка? Я жду уже неделю.",
    "zh": "我的包裹在哪里？我已经等了一个星期了。",
    "ja": "私の荷物はどこですか。もう一週間待っています。",
    "ko": "제 소포는 어디에 있나요? 일주일을 기다렸어요.",
    "Arabic": "أين طردي؟ أنا أنتظر منذ أسبوع.",
    "Devanagari": "मेरा पार्सल कहाँ है? मैं एक सप्ताह से प्रतीक्षा कर रहा हूँ।",
    "el": "Πού είναι το δέμα μου; Περιμένω μια εβδομάδα.",
    "he": "איפה החבילה שלי? אני מחכה שבוע.",
    "th": "พัสดุของฉันอยู่ที่ไหน",
}


@pytest.mark.parametrize(("code", "text"), SAID.items())
def test_languages_are_told_apart(code: str, text: str) -> None:
    assert language(text) == code


@pytest.mark.parametrize("text", ["", "OK", "42", "parcel 4711", "no no no", "{}[]", "👍👍"])
def test_too_little_is_not_guessed(text: str) -> None:
    assert language(text) == ""


def test_every_listed_language_is_tested() -> None:
    assert COMMON.keys() <= SAID.keys()


def test_a_foreign_name_in_an_english_text() -> None:
    assert language("The name of the hotel is 東京ホテル and it is in the centre of the city.") == "en"
