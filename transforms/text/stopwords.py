"""Stop words: the lists that bm25s brings, and which of them suits a corpus."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

# The commonest words of each language that set it apart from its neighbours: Catalan, Galician, Bulgarian, Ukrainian,
# Afrikaans and the like share half of their words with a language that has a list, and must not get that list.
_COMMON: dict[str, str] = {
    "da": "og er på til af efter fra eller hvis bliver",
    "de": "der die und in den von zu das mit nicht",
    "en": "the of and to in is for that with on",
    "es": "que el en los del por las con para una",
    "fr": "le les et des du une est pour dans pas",
    "it": "di che il un per non del della con sono",
    "nl": "de het een van zijn niet naar wordt met deze",
    "no": "og er på til av etter fra eller hvis blir",
    "pt": "que do da em um para com uma não os",
    "ru": "не на что как для это от или по из",
    "sv": "och att det som är på för av inte en",
    "tr": "ve bir bu için ile olarak olan da de daha",
    "zh": "的 是 在 和 有 不 这 以 为 到",
}
_NAMES = {
    "da": "danish", "de": "german", "english": "en", "english_plus": "en_plus", "es": "spanish", "fr": "french",
    "it": "italian", "ko": "korean", "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ru": "russian",
    "sv": "swedish", "tr": "turkish", "zh": "chinese",
}  # fmt: skip
_MOST_FREQUENT = 100
_LEAST = 7  # of the ten; the neighbours show five, and so do fifty sentences of the language itself


def of(language: str | None) -> frozenset[str]:
    """The stop words of a language, as ``words.terms`` writes them; none for None.

    >>> sorted(of("en"))[:3], len(of(None))
    (['a', 'an', 'and'], 0)
    """
    if language is None:
        return frozenset()
    from bm25s import stopwords  # every stage reads what may be named, and few need the lists

    known: Sequence[str] = getattr(stopwords, f"STOPWORDS_{_NAMES.get(language, language).upper()}")
    return frozenset(unicodedata.normalize("NFKC", word).lower() for word in known)


def detect(occurrences: Mapping[str, int]) -> str | None:
    """The language of a corpus, if bm25s has stop words of it: the one whose commonest words are common there.

    At least seven of ten must be among the hundred most frequent terms, and of no other language as many.

    Args:
      occurrences: how often each term of ``words.terms`` occurs.

    Returns:
      Its code, or None for another language, a mixture, or texts without sentences.

    >>> detect(dict.fromkeys("der die und in den von zu hotel information".split(), 1))
    'de'
    >>> detect({"hotel": 7}) is None
    True
    """
    ordered = sorted(occurrences, key=lambda term: (-occurrences[term], term))
    frequent = set(ordered[:_MOST_FREQUENT])
    found = {language: len(frequent.intersection(common.split())) for language, common in _COMMON.items()}
    most = max(found.values())
    best = [language for language, count in found.items() if count == most]
    return best[0] if most >= _LEAST and len(best) == 1 else None
