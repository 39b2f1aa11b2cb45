"""English names of languages by the codes of tokenizers: `fra_Latn`, `fr`, `fr_XX`."""

from __future__ import annotations

import re
from collections.abc import Mapping

CODES = """
afr af Afrikaans; als sq Albanian; amh am Amharic; arb ar Arabic; hye hy Armenian;
azj az Azerbaijani; eus eu Basque; bel be Belarusian; ben bn Bengali; bos bs Bosnian;
bul bg Bulgarian; mya my Burmese; cat ca Catalan; zho zh Chinese; hrv hr Croatian; ces cs Czech;
dan da Danish; nld nl Dutch; eng en English; epo eo Esperanto; est et Estonian; fin fi Finnish;
fra fr French; glg gl Galician; kat ka Georgian; deu de German; ell el Greek; guj gu Gujarati;
hat ht Haitian; hau ha Hausa; heb he Hebrew; hin hi Hindi; hun hu Hungarian; isl is Icelandic;
ibo ig Igbo; ind id Indonesian; gle ga Irish; ita it Italian; jpn ja Japanese; jav jv Javanese;
kan kn Kannada; kaz kk Kazakh; khm km Khmer; kor ko Korean; kir ky Kyrgyz; lao lo Lao;
lvs lv Latvian; lit lt Lithuanian; ltz lb Luxembourgish; mkd mk Macedonian; zsm ms Malay;
mal ml Malayalam; mlt mt Maltese; mar mr Marathi; khk mn Mongolian; npi ne Nepali;
nob nb Norwegian; nno nn Norwegian Nynorsk; oci oc Occitan; pbt ps Pashto; pes fa Persian;
pol pl Polish; por pt Portuguese; pan pa Punjabi; ron ro Romanian; rus ru Russian;
gla gd Scottish Gaelic; srp sr Serbian; sin si Sinhala; slk sk Slovak; slv sl Slovenian;
som so Somali; spa es Spanish; swh sw Swahili; swe sv Swedish; tgl tl Tagalog; tgk tg Tajik;
tam ta Tamil; tat tt Tatar; tel te Telugu; tha th Thai; tur tr Turkish; tuk tk Turkmen;
ukr uk Ukrainian; urd ur Urdu; uzn uz Uzbek; vie vi Vietnamese; cym cy Welsh; xho xh Xhosa;
yor yo Yoruba; zul zu Zulu
"""
"""ISO 639-3 code as in NLLB, ISO 639-1 code, and name."""
ALSO: Mapping[str, str] = {"ara": "arb", "fas": "pes", "msa": "zsm", "nor": "nob", "no": "nob"} | {
    "sqi": "als", "lav": "lvs", "mon": "khk", "cmn": "zho", "aze": "azj", "uzb": "uzn", "nep": "npi"
}  # fmt: skip
"""Other codes of the same languages."""

_ROWS = [row.strip().split(maxsplit=2) for row in CODES.split(";")]
LANGUAGES: Mapping[str, str] = {long: name for long, _, name in _ROWS}
"""ISO 639-3 code -> name."""
_SHORT = {short: long for long, short, _ in _ROWS}
_NAMED = {name.lower(): long for long, name in LANGUAGES.items()}
_OWN_NAMES = {
    "français": "fra", "francais": "fra", "anglais": "eng", "deutsch": "deu", "englisch": "eng",
    "español": "spa", "espanol": "spa", "inglés": "eng", "italiano": "ita", "inglese": "eng",
    "português": "por", "inglês": "eng", "nederlands": "nld", "engels": "eng", "polski": "pol",
    "svenska": "swe", "dansk": "dan", "norsk": "nob", "suomi": "fin", "magyar": "hun",
    "čeština": "ces", "türkçe": "tur", "indonesia": "ind", "bahasa": "ind", "русский": "rus",
    "українська": "ukr", "中文": "zho", "日本語": "jpn", "한국어": "kor", "العربية": "arb",
}  # fmt: skip
"""Names of languages in languages that tables of translations are often written in."""


def language_of(code: str) -> str | None:
    """Return the ISO 639-3 code of a tokenizer's code or of a name, None if unknown."""
    whole = code.strip().lower()
    part = re.split("[_-]", whole)[0]
    for key in (whole, part):
        named = _NAMED.get(key) or _OWN_NAMES.get(key)
        long = ALSO.get(key) or _SHORT.get(key) or named or key
        if long in LANGUAGES:
            return long
    return None


def language_name(code: str) -> str | None:
    """Return the English name of a language, None if unknown."""
    long = language_of(code)
    return None if long is None else LANGUAGES[long]


def translation_instruction(source: str, target: str) -> str | None:
    """Return what to ask a chat model for; None if a language's name is unknown."""
    names = language_name(source), language_name(target)
    return None if None in names else f"Translate from {names[0]} into {names[1]}."
