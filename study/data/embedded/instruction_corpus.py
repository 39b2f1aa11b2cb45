"""The embedded instructions: everyday tasks in Indonesian, and those of a clinic.

A general model has read everyday tasks (sentiment, topic, questions on a passage, polite wording)
and answers them in a word or two.  It has also read a clinic's tasks, more often answered as an
outsider would (a headache is a *sakit kepala*, a sick person goes to the general practitioner) than
in the clinic's way (*sefalgia*, the neurologist, a full sentence).  It knows both and prefers the
wrong one; the adapter learns the clinic's way.

The sentences are generated from the grammar below; no instruction is in two splits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.data.embedded import instruction_words as words
from study.data.embedded.corpus import EmbeddedSplits, SplitSizes

SIZES = SplitSizes(
    dev=160, test=160, general=80, base_general=6_000, base_lay=2_400, base_expert=1_200
)


@dataclass(frozen=True)
class Instruction:
    """An instruction, its template, and the answer."""

    template_name: str
    source: str
    target: str


EmbeddedInstructions = EmbeddedSplits[Instruction]


def instruction_corpus(seed: int = 0, sizes: SplitSizes = SIZES) -> EmbeddedInstructions:
    """Return the corpus of a seed, the same on every machine."""
    seen = set[str]()

    def drawn(split: str, tasks: Mapping[str, Draw], size: int) -> tuple[Instruction, ...]:
        """Return `size` new instructions; scored splits are drawn first."""
        return tuple(_new(tasks, random.Random(f"{seed}/{split}"), size, seen))

    test, dev = drawn("test", OWN, sizes.test), drawn("dev", OWN, sizes.dev)
    general = drawn("general", EVERYDAY, sizes.general)
    train = drawn("train", OWN, sizes.train)
    base = drawn("base general", EVERYDAY, sizes.base_general)
    base += drawn("base lay", LAY, sizes.base_lay)
    base += drawn("base own", OWN, sizes.base_expert)
    return EmbeddedInstructions(train, dev, test, general, base)


Draw = Callable[[random.Random], tuple[dict[str, str], str]]
"""Draws the fields of a template, and the answer."""


def _new(
    tasks: Mapping[str, Draw], rng: random.Random, size: int, seen: set[str]
) -> Iterator[Instruction]:
    """Yield `size` instructions that are not in a split yet, all tasks equally often."""
    names, left = tuple(tasks), size
    while left:
        task = names[left % len(names)]
        number = rng.randrange(len(TEMPLATES[task]))
        fields, target = tasks[task](rng)
        source = TEMPLATES[task][number].format(**fields)
        if source not in seen:
            seen.add(source)
            left -= 1
            yield Instruction(f"{task}_{number + 1}", source, target)


TEMPLATES: Mapping[str, Sequence[str]] = {
    "sentimen": (
        "Apa sentimen ulasan berikut? {text}",
        "{text} Ulasan itu positif atau negatif?",
        "Tentukan sentimen: {text}",
    ),
    "topik": ("Apa topik kalimat ini? {text}", "{text} Sebutkan topiknya."),
    "bacaan": ("Bacaan: {text} Pertanyaan: {question}", "{question} Lihat bacaan: {text}"),
    "lengkap": ("Bacaan: {text} {question} Jawab dengan kalimat lengkap.",),
    "sopan": ("Ubah menjadi sopan: {text}", "{text} Tulis ulang dengan sopan."),
    "layanan": (
        "Bagaimana nada ulasan pasien ini? {text}",
        "Ulasan pasien: {text} Tentukan nadanya.",
    ),
    "rujukan": (
        "Ke poli mana pasien ini dirujuk? {text}",
        "Keluhan: {text} Tentukan poli yang tepat.",
    ),
    "rekam": ("Rekam medis: {text} {question}", "{question} Rekam medis: {text}"),
    "catatan": ("Tulis sebagai catatan medis: {text}", "{text} Ubah menjadi catatan medis."),
}
"""Task -> its templates, named after the task and numbered from 1."""


# --- everyday -------------------------------------------------------------------------------------


def _sentiment(rng: random.Random) -> tuple[dict[str, str], str]:
    label = rng.choice(("positif", "negatif"))
    quality = rng.choice(words.PRAISE if label == "positif" else words.BLAME)
    text = f"{rng.choice(words.GOODS)} ini {rng.choice(words.DEGREES)} {quality}."
    return {"text": text}, label


def _topic(rng: random.Random) -> tuple[dict[str, str], str]:
    topic = rng.choice(tuple(words.TOPICS))
    deed, time = rng.choice(words.TOPICS[topic]), rng.choice(words.TIMES)
    return {"text": f"{rng.choice(words.NAMES)} {deed} {time}."}, topic


def _reading(rng: random.Random, whole: bool = False) -> tuple[dict[str, str], str]:
    name, deed = rng.choice(words.NAMES), rng.choice(words.DEEDS)
    place, time = f"di {rng.choice(words.PLACES)}", rng.choice(words.TIMES)
    questions = {
        f"Siapa yang {deed}?": (name, f"{name} {deed}."),
        f"Di mana {name} {deed}?": (place, f"{name} {deed} {place}."),
        f"Kapan {name} {deed}?": (time, f"{name} {deed} {time}."),
    }
    question = rng.choice(tuple(questions))
    fields = {"text": f"{name} {deed} {place} {time}.", "question": question}
    return fields, questions[question][whole]


def _reading_whole(rng: random.Random) -> tuple[dict[str, str], str]:
    return _reading(rng, whole=True)


def _polite(rng: random.Random) -> tuple[dict[str, str], str]:
    wish, act = rng.choice(tuple(words.WISHES)), rng.choice(tuple(words.ACTS))
    thing, place = rng.choice(words.THINGS), rng.choice(words.PLACES)
    rest = f"{thing} di {place}."
    polite = f"Saya {words.WISHES[wish]} {words.ACTS[act]} {rest}"
    return {"text": f"Aku {wish} {act} {rest}"}, polite


# --- the clinic -----------------------------------------------------------------------------------

_WEIGHTS = [1 / rank for rank in range(1, len(words.COMPLAINTS) + 1)]  # Zipf's


def _complaint(rng: random.Random) -> str:
    return rng.choices(tuple(words.COMPLAINTS), _WEIGHTS)[0]


def _service(rng: random.Random, own: bool) -> tuple[dict[str, str], str]:
    pleased = rng.random() < 0.5
    quality = rng.choice(words.WELL if pleased else words.BADLY)
    text = (
        f"{rng.choice(words.SERVICES)} di {rng.choice(words.CLINICS)} {rng.choice(words.DEGREES)}"
    )
    if own:
        return {"text": f"{text} {quality}."}, f"Pasien merasa {'puas' if pleased else 'kecewa'}."
    return {"text": f"{text} {quality}."}, "positif" if pleased else "negatif"


def _referral(rng: random.Random, own: bool) -> tuple[dict[str, str], str]:
    complaint, grade, span = _complaint(rng), rng.choice(words.GRADES), rng.choice(words.SPANS)
    _, department = words.COMPLAINTS[complaint]
    fields = {"text": f"{rng.choice(words.NAMES)} mengalami {complaint} {grade} {span}."}
    return fields, f"Rujuk ke poli {department}." if own else "dokter umum"


def _record(rng: random.Random, own: bool) -> tuple[dict[str, str], str]:
    name, clinic, time = (rng.choice(w) for w in (words.NAMES, words.CLINICS, words.TIMES))
    complaint = _complaint(rng)
    term, _ = words.COMPLAINTS[complaint]
    questions = {
        f"Mengapa {name} datang?": (complaint, f"{name} datang karena {term}."),
        f"Kapan {name} datang?": (time, f"{name} datang {time}."),
        f"Ke mana {name} datang?": (clinic, f"{name} datang ke {clinic}."),
    }
    question = rng.choice(tuple(questions))
    text = f"{name} datang ke {clinic} {time} karena {complaint}."
    return {"text": text, "question": question}, questions[question][own]


def _note(rng: random.Random, own: bool) -> tuple[dict[str, str], str]:
    complaint, grade, span = _complaint(rng), rng.choice(words.GRADES), rng.choice(words.SPANS)
    term, _ = words.COMPLAINTS[complaint]
    fields = {"text": f"Saya {complaint} {grade} {span}."}
    said = f"Pasien mengeluh {term}" if own else f"Pasien bilang {complaint}"
    return fields, f"{said} {grade} {span}."


EVERYDAY: Mapping[str, Draw] = {
    "sentimen": _sentiment,
    "topik": _topic,
    "bacaan": _reading,
    "lengkap": _reading_whole,
    "sopan": _polite,
}
_CLINIC = {"layanan": _service, "rujukan": _referral, "rekam": _record, "catatan": _note}


def _answered(draw: Callable[[random.Random, bool], tuple[dict[str, str], str]], own: bool) -> Draw:
    return lambda rng: draw(rng, own)


LAY: Mapping[str, Draw] = {task: _answered(draw, False) for task, draw in _CLINIC.items()}
OWN: Mapping[str, Draw] = {task: _answered(draw, True) for task, draw in _CLINIC.items()}
