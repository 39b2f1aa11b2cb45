"""English and French words and their inflection: plurals, agreement, three tenses.

Only what the grammar of the embedded corpus needs.  The rules cover the words of the lexicon, not
morphology in general: exceptions are written out in a table below or in the lexicon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

VOWELS = "aeiouyàâäéèêëîïôöùûüœ"
# Words with an aspirated h: no elision, no "cet".
ASPIRATED = ("haut", "huit", "hache", "hangar", "hibou", "héros", "homard", "haricot")
# English words that are spelt with a vowel and spoken with a consonant, or the reverse.
A_BEFORE_VOWEL = ("uni", "use", "eu", "one")
AN_BEFORE_CONSONANT = ("hour", "honest")


class Person(IntEnum):
    """A grammatical person: the position of its form in a conjugation."""

    I = 0  # noqa: E741 - the pronoun's own name
    HE = 1
    WE = 2
    YOU = 3
    THEY = 4


@dataclass(frozen=True)
class Noun:
    """A noun in both languages; `mass` nouns have no plural and take no indefinite article."""

    en: str
    en_plural: str
    fr: str
    fr_plural: str
    feminine: bool
    kind: str
    mass: bool = False


@dataclass(frozen=True)
class Adjective:
    """An adjective in both languages; `before` puts it in front of the French noun (BANGS)."""

    en: str
    masculine: str
    feminine: str
    before_vowel: str
    before: bool

    def agree(self, feminine: bool, plural: bool, next_word: str | None = None) -> str:
        """Return the French form; `next_word` decides between `beau` and `bel`."""
        if plural:
            return french_plural(self.feminine if feminine else self.masculine)
        if feminine:
            return self.feminine
        return self.before_vowel if next_word and elides(next_word) else self.masculine


@dataclass(frozen=True)
class Verb:
    """A verb in both languages, with the kinds of subject and object it goes with.

    `objects` is empty for an intransitive verb; `with_etre` marks the auxiliary of its past tense.
    """

    en: str
    fr: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...] = ()
    with_etre: bool = False


# --- English -----------------------------------------------------------------------------------

# base: past, participle (third person and -s forms are regular but for be and have).
IRREGULAR_ENGLISH = {
    "be": ("was", "been"),
    "break": ("broke", "broken"),
    "bleed": ("bled", "bled"),
    "buy": ("bought", "bought"),
    "cut": ("cut", "cut"),
    "draw": ("drew", "drawn"),
    "drink": ("drank", "drunk"),
    "eat": ("ate", "eaten"),
    "fall": ("fell", "fallen"),
    "find": ("found", "found"),
    "forget": ("forgot", "forgotten"),
    "hear": ("heard", "heard"),
    "hide": ("hid", "hidden"),
    "know": ("knew", "known"),
    "leave": ("left", "left"),
    "lose": ("lost", "lost"),
    "plan": ("planned", "planned"),
    "plug": ("plugged", "plugged"),
    "read": ("read", "read"),
    "rise": ("rose", "risen"),
    "run": ("ran", "run"),
    "say": ("said", "said"),
    "see": ("saw", "seen"),
    "sell": ("sold", "sold"),
    "set": ("set", "set"),
    "sing": ("sang", "sung"),
    "sleep": ("slept", "slept"),
    "steal": ("stole", "stolen"),
    "stop": ("stopped", "stopped"),
    "take": ("took", "taken"),
    "think": ("thought", "thought"),
    "map": ("mapped", "mapped"),
    "wear": ("wore", "worn"),
    "write": ("wrote", "written"),
    "swim": ("swam", "swum"),
    "control": ("controlled", "controlled"),
}


def english_plural(noun: str) -> str:
    """Return the regular plural of an English noun (of its last word)."""
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    return noun[:-1] + "ies" if re.search(r"[^aeiou]y$", noun) else noun + "s"


def english_third(verb: str) -> str:
    """Return the third person singular of an English verb: the rule is that of the plural."""
    return verb + "es" if verb.endswith("o") else english_plural(verb)


def english_past(verb: str) -> str:
    """Return the simple past of an English verb."""
    return IRREGULAR_ENGLISH[verb][0] if verb in IRREGULAR_ENGLISH else _regular_past(verb)


def english_participle(verb: str) -> str:
    """Return the past participle of an English verb."""
    return IRREGULAR_ENGLISH[verb][1] if verb in IRREGULAR_ENGLISH else _regular_past(verb)


def _regular_past(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if re.search(r"[^aeiou]y$", verb) else verb + "ed"


def english_article(next_word: str) -> str:
    """Return `a` or `an`, by the sound that follows."""
    word = next_word.lower()
    if word.startswith(AN_BEFORE_CONSONANT):
        return "an"
    return "an" if word[0] in "aeiou" and not word.startswith(A_BEFORE_VOWEL) else "a"


# --- French ------------------------------------------------------------------------------------

REGULAR_S_PLURALS = ("bleu", "pneu", "étal", "naval", "festival")


def elides(word: str) -> bool:
    """Return whether `le`, `de`, `que`… lose their vowel before a French word."""
    word = word.lower()
    if word[0] == "h":
        return not word.startswith(ASPIRATED)
    return word[0] in VOWELS


def french_plural(word: str) -> str:
    """Return the plural of one French noun or adjective."""
    if word[-1] in "sxz":
        return word
    if word in REGULAR_S_PLURALS:
        return word + "s"
    if word.endswith("al"):
        return word[:-2] + "aux"
    return word + "x" if word.endswith(("au", "eu")) else word + "s"


# Present of je, il, nous, vous, ils; past participle; stem of the future.
IRREGULAR_FRENCH = {
    "être": "suis est sommes êtes sont été ser",
    "avoir": "ai a avons avez ont eu aur",
    "pouvoir": "peux peut pouvons pouvez peuvent pu pourr",
    "devoir": "dois doit devons devez doivent dû devr",
    "vouloir": "veux veut voulons voulez veulent voulu voudr",
    "voir": "vois voit voyons voyez voient vu verr",
    "savoir": "sais sait savons savez savent su saur",
    "dire": "dis dit disons dites disent dit dir",
    "lire": "lis lit lisons lisez lisent lu lir",
    "rire": "ris rit rions riez rient ri rir",
    "boire": "bois boit buvons buvez boivent bu boir",
    "croire": "crois croit croyons croyez croient cru croir",
    "suivre": "suis suit suivons suivez suivent suivi suivr",
    "courir": "cours court courons courez courent couru courr",
    "dormir": "dors dort dormons dormez dorment dormi dormir",
    "partir": "pars part partons partez partent parti partir",
    "fuir": "fuis fuit fuyons fuyez fuient fui fuir",
    "recevoir": "reçois reçoit recevons recevez reçoivent reçu recevr",
    "connaître": "connais connaît connaissons connaissez connaissent connu connaîtr",
}
# Families: ending of the infinitive -> endings of the same seven forms.
FRENCH_FAMILIES = (
    ("prendre", "prends prend prenons prenez prennent pris prendr"),
    ("mettre", "mets met mettons mettez mettent mis mettr"),
    ("crire", "cris crit crivons crivez crivent crit crir"),
    ("enir", "iens ient enons enez iennent enu iendr"),
    ("uire", "uis uit uisons uisez uisent uit uir"),
    ("indre", "ins int ignons ignez ignent int indr"),
    ("vrir", "vre vre vrons vrez vrent vert vrir"),
    ("ir", "is it issons issez issent i ir"),
    ("re", "s  ons ez ent u r"),
)
FUTURE_ENDINGS = ("ai", "a", "ons", "ez", "ont")


@cache
def _forms(infinitive: str) -> tuple[str, ...]:
    """Return the five forms of the present, the past participle and the stem of the future."""
    if infinitive in IRREGULAR_FRENCH:
        return tuple(IRREGULAR_FRENCH[infinitive].split())
    for ending, endings in FRENCH_FAMILIES:
        if infinitive.endswith(ending):
            stem = infinitive.removesuffix(ending)
            return tuple(stem + form for form in endings.split(" "))
    return _first_group(infinitive)


def _first_group(infinitive: str) -> tuple[str, ...]:
    """Conjugate an -er verb with its changes of spelling: achète, récupère, nettoie, mangeons."""
    stem = infinitive.removesuffix("er")
    strong = re.sub(r"[eé]([bcdfghjklmnprstv])$", r"è\1", stem)
    strong = re.sub(r"([ou])y$", r"\1i", strong)
    before_o = re.sub(r"g$", "ge", re.sub(r"c$", "ç", stem))
    # An é keeps its accent in the future (récupérera); e and y change there too.
    future = stem if re.search(r"é[^aeiouy]$", stem) else strong
    present = (strong + "e", strong + "e", before_o + "ons", stem + "ez", strong + "ent")
    return (*present, stem + "é", future + "er")


def present(infinitive: str, person: Person) -> str:
    """Return the French present."""
    return _forms(infinitive)[person]


def future(infinitive: str, person: Person) -> str:
    """Return the French future."""
    return _forms(infinitive)[6] + FUTURE_ENDINGS[person]


def participle(infinitive: str, feminine: bool = False, plural: bool = False) -> str:
    """Return the French past participle in agreement."""
    form = _forms(infinitive)[5] + ("e" if feminine else "")
    return french_plural(form) if plural else form


def join_french(words: list[str]) -> str:
    """Join French words: first elision (l', d', qu', s'il), then contraction (du, au, des, aux)."""
    text = " ".join(words)
    tokens = text.split(" ")
    elided: list[str] = []
    for token, following in zip(tokens, [*tokens[1:], "."], strict=True):
        elided.append(_elide(token, following))
    joined = " ".join(elided).replace("' ", "'")
    for full, short in (("de le", "du"), ("de les", "des"), ("à le", "au"), ("à les", "aux")):
        joined = re.sub(rf"\b{full}\b(?!')", short, joined)
    return joined


def _elide(token: str, following: str) -> str:
    if token.lower() == "si" and following in ("il", "ils"):
        return token[0] + "'"
    if token.lower() == "lorsque" and following in ("il", "ils", "elle"):
        return token[:-1] + "'"
    if token.lower() in ("le", "la", "de", "que", "ne", "je") and elides(following):
        return token[:-1] + "'"
    return token
