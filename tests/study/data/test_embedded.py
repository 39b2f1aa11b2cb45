"""The embedded corpus: correct French, two domains that differ, splits that share nothing."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from study.data.embedded import (
    CorpusRecipe,
    EmbeddedCorpus,
    Pair,
    petroleum_corpus,
    preference_corpus,
)
from study.data.embedded.corpus import NO_BASE
from study.data.embedded.vocabulary import (
    general_vocabulary,
    lay_vocabulary,
    petroleum_vocabulary,
    shifted_words,
)
from study.data.embedded.words import (
    Person,
    english_article,
    english_past,
    english_plural,
    french_plural,
    future,
    join_french,
    participle,
    present,
)
from study.data.preferences import load_preferences
from study.spec.base_and_data import DataSpec

SPLITS = ("train", "dev", "test", "general", "base_train")


@pytest.fixture(scope="module")
def corpus() -> EmbeddedCorpus:
    """Return the corpus of a seed that no reported study uses."""
    return petroleum_corpus(107)


def everything(corpus: EmbeddedCorpus) -> list[Pair]:
    """Return the pairs of all splits."""
    return [pair for split in SPLITS for pair in getattr(corpus, split)]


def test_a_seed_gives_the_same_sentences_every_time() -> None:
    """The seed decides, and nothing else."""
    small = CorpusRecipe(base_general=20, base_lay=10, base_expert=10)
    assert petroleum_corpus(107, small) == petroleum_corpus(107, small)
    assert petroleum_corpus(108, small).dev != petroleum_corpus(107, small).dev


def test_splits_have_the_sizes_of_the_recipe(corpus: EmbeddedCorpus) -> None:
    """A recipe's sizes are what is drawn, and most of the base's text is everyday text."""
    recipe = CorpusRecipe()
    sizes = [len(getattr(corpus, split)) for split in SPLITS[:4]]
    assert sizes == [recipe.train, recipe.dev, recipe.test, recipe.general]
    assert recipe.base_general > len(corpus.base_train) / 2


def test_no_sentence_stands_in_two_splits_or_twice(corpus: EmbeddedCorpus) -> None:
    """Neither a source nor a target is ever repeated."""
    pairs = everything(corpus)
    assert len({pair.source for pair in pairs}) == len(pairs)
    assert len({pair.target for pair in pairs}) == len(pairs)


def test_scored_splits_do_not_depend_on_the_size_of_the_training_text(
    corpus: EmbeddedCorpus,
) -> None:
    """More training pairs leave dev, test and general as they are."""
    other = petroleum_corpus(
        107, CorpusRecipe(train=10, base_general=10, base_lay=5, base_expert=5)
    )
    assert (other.dev, other.test, other.general) == (corpus.dev, corpus.test, corpus.general)


def test_petroleum_has_its_terms_and_shifted_words() -> None:
    """At least 150 terms of the trade, and 30 words that everyday language translates otherwise."""
    assert sum(len(group) for group in petroleum_vocabulary().nouns.values()) >= 150
    shifted = shifted_words()
    assert len(shifted) >= 30
    assert shifted["bit"] == ("morceau", "trépan")
    assert shifted["kick"] == ("coup de pied", "venue")
    assert shifted["collar"] == ("col", "masse-tige")
    assert shifted["Christmas tree"] == ("sapin de Noël", "arbre de Noël")
    assert shifted["to run"] == ("diriger", "descendre")


def test_each_domain_translates_by_its_own_vocabulary(corpus: EmbeddedCorpus) -> None:
    """A collar is a `col` in everyday text and a `masse-tige` in the petroleum splits."""
    everyday, trade = re.compile(r"\bcols?\b"), re.compile(r"\bmasses?-tiges?\b")
    general = [
        p.target for p in corpus.base_train[: CorpusRecipe().base_general] if "collar" in p.source
    ]
    petroleum = [p.target for p in (*corpus.train, *corpus.dev) if "collar" in p.source]
    assert general
    assert petroleum
    assert all(everyday.search(text) and not trade.search(text) for text in general)
    assert all(trade.search(text) and not everyday.search(text) for text in petroleum)


def test_an_outsider_keeps_the_terms_that_everyday_language_lacks() -> None:
    """The lay vocabulary differs from the trade's in the shifted words only."""
    lay, trade = lay_vocabulary().nouns["tool"], petroleum_vocabulary().nouns["tool"]
    french = {a.en: (a.fr, b.fr) for a, b in zip(lay, trade, strict=True)}
    assert french["bit"] == ("morceau", "trépan")
    assert french["roller bit"] == ("trépan à molettes", "trépan à molettes")


def test_french_is_elided_and_contracted_everywhere(corpus: EmbeddedCorpus) -> None:
    """No target holds a form that French forbids."""
    vowel = "[aeiouyâàéèêëîïôûœ]"
    forbidden = re.compile(
        rf"\b(de|à) les?\b|\b(le|la|de|ne|je|que|ma) {vowel}"
        rf"|\b(ce|beau|nouveau|vieux) {vowel}\w*[^sx ] |[dl]'h(ibou|a)"
        r"|\b(le|la|de|ne) h[oôuô](mme|tel|pital|ile)|  |' | \.",
        re.IGNORECASE,
    )
    wrong = [pair.target for pair in everything(corpus) if forbidden.search(pair.target)]
    assert wrong == []


def test_des_becomes_de_before_an_adjective_in_front(corpus: EmbeddedCorpus) -> None:
    """`There are some new …` is `Il y a de nouveaux …`."""
    start = re.compile(r"There are some (big|small|new|old|good|bad|long) ")
    targets = [pair.target for pair in everything(corpus) if start.match(pair.source)]
    assert targets
    assert all(target.startswith("Il y a de ") for target in targets)


def test_sentences_are_short_and_whole(corpus: EmbeddedCorpus) -> None:
    """Every sentence has 4 to 10 words, begins with a capital and ends with one full stop."""
    shape = re.compile(r"[A-ZÀÉÊ][^.]*\.")
    for pair in everything(corpus):
        assert 4 <= len(pair.source.split()) <= 10
        assert shape.fullmatch(pair.source)
        assert shape.fullmatch(pair.target)


def test_dev_holds_words_together_that_train_never_shows_together(corpus: EmbeddedCorpus) -> None:
    """With nothing held out the same seed draws another training split, but the same dev."""
    free = petroleum_corpus(
        107, CorpusRecipe(held_out_share=0.0, base_general=1, base_lay=1, base_expert=1)
    )
    assert free.dev == corpus.dev
    assert free.train != corpus.train


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["la", "pression", "de", "le", "puits"], "la pression du puits"),
        (["près", "de", "les", "vannes"], "près des vannes"),
        (["de", "l'eau"], "de l'eau"),
        (["de", "la", "huile"], "de l'huile"),
        (["de", "le", "hangar"], "du hangar"),
        (["le", "hibou"], "le hibou"),
        (["je", "ne", "ai", "pas", "vu"], "je n'ai pas vu"),
        (["parce", "que", "elle", "dort"], "parce qu'elle dort"),
        (["lorsque", "il", "ferme"], "lorsqu'il ferme"),
        (["lorsque", "une"], "lorsque une"),
    ],
)
def test_elision_and_contraction(words: list[str], joined: str) -> None:
    """Elision comes first: `de la huile` is `de l'huile`, never `du huile`."""
    assert join_french(words) == joined


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("forer", "fore fore forons forez forent foré forera"),
        ("percer", "perce perce perçons percez percent percé percera"),
        ("purger", "purge purge purgeons purgez purgent purgé purgera"),
        ("acheter", "achète achète achetons achetez achètent acheté achètera"),
        ("compléter", "complète complète complétons complétez complètent complété complétera"),
        ("nettoyer", "nettoie nettoie nettoyons nettoyez nettoient nettoyé nettoiera"),
        ("remplir", "remplis remplit remplissons remplissez remplissent rempli remplira"),
        ("descendre", "descends descend descendons descendez descendent descendu descendra"),
        ("prendre", "prends prend prenons prenez prennent pris prendra"),
        ("contenir", "contiens contient contenons contenez contiennent contenu contiendra"),
        ("réduire", "réduis réduit réduisons réduisez réduisent réduit réduira"),
        ("atteindre", "atteins atteint atteignons atteignez atteignent atteint atteindra"),
        ("ouvrir", "ouvre ouvre ouvrons ouvrez ouvrent ouvert ouvrira"),
        ("décrire", "décris décrit décrivons décrivez décrivent décrit décrira"),
    ],
)
def test_conjugation(verb: str, forms: str) -> None:
    """Present, past participle and future of one verb of every family."""
    made = [*(present(verb, person) for person in Person), participle(verb)]
    assert " ".join([*made, future(verb, Person.HE)]) == forms


def test_agreement_of_participles_and_plurals() -> None:
    """Feminine and plural are written; words in -s stay, -al becomes -aux, étal does not."""
    assert participle("pomper", feminine=True, plural=True) == "pompées"
    assert participle("prendre", plural=True) == "pris"
    plurals = {"puits": "puits", "terminal": "terminaux", "étal": "étals", "tuyau": "tuyaux"}
    assert {word: french_plural(word) for word in plurals} == plurals


def test_terms_take_the_plural_on_the_right_words() -> None:
    """`trépan à molettes` has its plural on the first word, `roche mère` on both."""
    nouns = {noun.en: noun for group in petroleum_vocabulary().nouns.values() for noun in group}
    assert nouns["roller bit"].fr_plural == "trépans à molettes"
    assert nouns["source rock"].fr_plural == "roches mères"
    assert nouns["jack-up rig"].fr_plural == "plates-formes auto-élévatrices"
    assert nouns["seismic section"].fr_plural == "coupes sismiques"


def test_adjectives_stand_and_change_with_their_noun() -> None:
    """`nouvel` before a vowel, in front of the noun; in the trade `high` goes behind it."""
    new = next(word for word in general_vocabulary().adjectives["thing"] if word.en == "new")
    assert new.before
    assert new.agree(False, False, "arbre") == "nouvel"
    assert new.agree(False, False, "hibou") == "nouveau"
    assert new.agree(True, True, "arbres") == "nouvelles"
    high = next(w for w in petroleum_vocabulary().adjectives["quantity"] if w.en == "high")
    lay = next(w for w in lay_vocabulary().adjectives["quantity"] if w.en == "high")
    assert (high.masculine, high.before) == ("élevé", False)
    assert (lay.masculine, lay.before) == ("haut", True)


def test_english_forms() -> None:
    """Articles by sound, regular and irregular forms."""
    assert english_article("unconformity") == "an"
    assert english_article("unit") == "a"
    assert [english_plural(word) for word in ("gas", "porosity", "tray")] == [
        "gases",
        "porosities",
        "trays",
    ]
    assert [english_past(verb) for verb in ("map", "run", "study", "drill")] == [
        "mapped",
        "ran",
        "studied",
        "drilled",
    ]


def test_the_corpus_loads_no_torch() -> None:
    """Reading commands may look at the corpus: it must stay light."""
    code = "import sys, study.data.embedded; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_preferences_are_of_the_corpus_and_differ_in_the_trades_words() -> None:
    """The chosen side is the corpus's own translation, the rejected one an outsider's."""
    corpus, preferences = petroleum_corpus(3, CorpusRecipe(**NO_BASE)), preference_corpus(3)
    read = load_preferences(DataSpec(seed=3, instruction="Translate."))
    assert [pair.chosen.turns[0]["role"] for pair in read.dev] == ["system"] * len(read.dev)
    for split in ("train", "dev", "test"):
        pairs = {pair.source: pair.target for pair in getattr(corpus, split)}
        found = getattr(preferences, split)
        assert len(found) > len(pairs) / 2
        assert all(pairs[each.source] == each.chosen != each.rejected for each in found)
    assert preference_corpus(3) == preferences
    kicks = [p for p in preferences.train if " kick " in p.source]
    assert kicks
    assert all("venue" in p.chosen and "coup" in p.rejected for p in kicks)
