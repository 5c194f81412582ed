"""Stop words are of the language of the corpus, or of none."""

import collections

import pyarrow as pa
import pytest

from gangue.transforms import text
from gangue.transforms.text import stopwords, words

SENTENCES = {
    "en": "The list of the files that is in the folder is for you to read, and it comes with a note on the door.",
    "de": "Die Liste der Dateien, die in dem Ordner liegen, ist nicht mit dem von den anderen zu messen, und das.",
    "fr": "Le nom du fichier est dans la liste des mots et une copie pour les autres, mais pas ici.",
    "es": "El hombre que vive en la casa con los perros va por las calles del pueblo para comprar una manzana.",
    "nl": "De man met deze hond is naar het huis van een vriend gegaan; de deur wordt niet geopend en zijn tas blijft.",
    "ru": "Это не то, что на столе, как мы думали: письмо для сестры или от брата по почте из города.",
    "zh": "这是一本关于中国历史的书，以前我在图书馆看到过，有很多人不知道它和别的书不同。",
    None: "kot pije mleko a pies śpi na kanapie, gdy pada deszcz i wieje wiatr",
}


def detected(*texts):
    terms = words.terms(text.normalise(pa.chunked_array([list(texts)], pa.string()))).lists()
    return stopwords.detect(collections.Counter(term for found in terms for term in found))


@pytest.mark.parametrize("language", SENTENCES)
def test_a_language_is_known_by_its_commonest_words(language):
    assert detected(SENTENCES[language]) == language


@pytest.mark.parametrize(
    "given",
    [
        "el gat és a la casa que té una porta i no surt fins que els nens hi són, del matí en endavant",  # Catalan
        "o gato que vive na casa non sae para a rúa con un can por medo da xente e dos coches",  # Galician
        "котката не е на масата, защото по обяд излиза от къщата за да ловува или да спи",  # Bulgarian
        "die kat is in die huis met die hond en dit is nie vir die kinders van die dorp nie",  # Afrikaans
        "東京は日本の首都であり、人口は世界でも有数の大都市である。的中率が高い。",
        "กรุงเทพเป็นเมืองหลวงของประเทศไทย",
        "서울은 대한민국의 수도이다",
        "مدينة القاهرة هي عاصمة مصر وأكبر مدنها",
        "grep -r foo . | xargs rm -f",
        "",
    ],
)
def test_a_neighbour_and_a_language_without_a_list_get_no_stop_words(given):
    assert detected(given) is None


def test_a_mixture_of_two_languages_gets_none():
    assert detected(SENTENCES["en"], SENTENCES["de"]) is None
    assert detected() is None


def test_stop_words_are_written_as_terms_are():
    assert "für" in stopwords.of("de")
    assert stopwords.of(None) == frozenset()
    found = words.terms(text.normalise(pa.chunked_array([["u\u0308ber den Wolken"]]))).lists()[0]
    assert [term for term in found if term not in stopwords.of("de")] == ["wolken"]
