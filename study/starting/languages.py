"""The language of texts by their frequent words or their script, where no name says it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

FREQUENT: Mapping[str, str] = {
    "eng": "the of and to in is was for that with are on this be it",
    "fra": "le la les des est une du et un dans pour que qui sur au a été",
    "deu": "der die das und ist nicht ein eine mit den von zu im auf wurde",
    "spa": "el los las del y una es por con para que se un en fue",
    "ita": "il di che è una della e per con del un gli nel sono i",
    "por": "o os as uma não e do da dos que para com em um foi",
    "nld": "de het een en van niet is dat op voor met zijn in werd te",
    "swe": "och att det som en på är för med inte av till den ett har",
    "pol": "i w nie na się z że do jest to od po jak przez za",
    "ces": "a se na je že v s do pro jsou byl jako o ve by",
    "ron": "și de la în nu o că este cu pe un din care pentru a",
    "tur": "ve bir bu için ile da de çok olarak olan var daha ne gibi en",
    "ind": "yang dan di dengan untuk dari pada ini itu tidak adalah ke akan telah dalam",
}
"""Language -> words of which running text is full."""
SCRIPTS: Mapping[str, str] = {
    "jpn": "\u3040-\u30ff",
    "kor": "\uac00-\ud7af",
    "zho": "\u4e00-\u9fff",
    "ell": "\u0370-\u03ff",
    "heb": "\u0590-\u05ff",
    "tha": "\u0e00-\u0e7f",
    "kat": "\u10a0-\u10ff",
    "hye": "\u0530-\u058f",
}
"""Languages that are nearly alone in their script, the more special first."""
WORD = re.compile(r"[^\W\d_]+")
LEAST_SHARE = 0.08  # of the words
LEAD = 1.4  # over the second language


def spoken(texts: Iterable[str]) -> str | None:
    """Return the ISO 639-3 code of a language, or None if it is not clear."""
    words = Counter(word for text in texts for word in WORD.findall(text.lower()))
    total, letters = words.total(), "".join(words)
    for language, signs in SCRIPTS.items():
        if len(re.findall(f"[{signs}]", letters)) > len(letters) / (4 if language == "jpn" else 2):
            return language
    shares = {
        language: sum(words[word] for word in frequent.split()) / max(total, 1)
        for language, frequent in FREQUENT.items()
    }
    best, second = sorted(shares, key=lambda language: -shares[language])[:2]
    is_clear = shares[best] >= LEAST_SHARE and shares[best] >= LEAD * shares[second]
    return best if is_clear else None
