"""BM25 by language: nDCG@10 of the product's terms and stop words beside other ways to cut a text.

Usage: python -m benchmarks.languages [--data FOLDER] [--splits train test] [--output NAME]

With a BEIR folder, its texts and the queries of all these splits; without, made-up Chinese, Japanese, Thai, German and
Arabic texts: what is known of places whose names share their characters. The ways, all under the same BM25:

  before      bm25s's words and English stop words, as the product did at first
  words       bm25s's words, stop words of the language that is recognised
  characters  NFKC, single characters of scripts without blanks, those stop words: as mteb's BM25 for Japanese or Thai
              (for Chinese it cuts by jieba if that is installed, and it stems words, as only the last of these does)
  product     ``gangue.transforms.text.words.terms``, those stop words
  stemmed     the same, and its terms' stems (``retrievers.*.stem: auto``); null without a stemmer of the language

Also the share of queries that find anything.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import pathlib
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import get_args

import bm25s
import numpy as np

from benchmarks import beir
from benchmarks.frontier import RESULTS
from gangue.transforms.retrieval import bm25, lexical
from gangue.transforms.text import stopwords
from gangue.transforms.text import words as product_words

Tokens = list[list[str]]
_DEPTH = 10
_CHARACTER = re.compile(r"[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ가-힣฀-๿ក-៿က-႟]|[^一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ가-힣฀-๿ក-៿က-႟\W]+")

# places; (what a document says, what a query asks) of each
MADE_UP = {
    "Chinese": (
        "河南 河北 湖南 湖北 海南 云南 南海 山东 山西 广东 广西 江西 江苏 东山 北海 北河 西山 南山 东海 西江",
        (
            ("{}的人口超过五千万", "有多少人住在{}"),
            ("{}的省会有着悠久的历史", "{}的省会是哪里"),
            ("在{}最高的山上终年积雪", "{}有哪些高山"),
            ("{}的特产是茶叶和水果", "去{}可以买什么特产"),
            ("坐火车到{}需要三个小时", "怎么坐火车去{}"),
            ("{}夏天炎热多雨，冬天寒冷", "{}的冬天冷不冷"),
        ),
    ),
    "Japanese": (
        "山口 山形 山梨 岡山 富山 福岡 福島 福井 広島 島根 徳島 長野 長崎 宮崎 宮城 青森 大分 大阪 三重 川崎",
        (
            ("{}の人口は二百万人を超える", "{}には何人が住んでいますか"),
            ("{}の名物は魚とりんごである", "{}でおいしい名物は何ですか"),
            ("{}には高い山と深い森がある", "{}で一番高い山を教えて"),
            ("{}まで新幹線で三時間かかる", "新幹線で{}へ行くには"),
            ("{}の冬は雪が多く寒い", "{}の冬はどのくらい寒いですか"),
            ("{}のコンピューター産業は盛んだ", "コンピューターを作る会社は{}にありますか"),
        ),
    ),
    "Thai": (
        "เชียงใหม่ เชียงราย นครราชสีมา นครสวรรค์ นครพนม นครปฐม สุโขทัย สุพรรณบุรี สุรินทร์ สระบุรี สระแก้ว ลพบุรี เพชรบุรี"
        " เพชรบูรณ์ กาญจนบุรี ชลบุรี ชัยภูมิ ชัยนาท อุทัยธานี ปทุมธานี",
        (
            ("{}มีประชากรกว่าล้านคน", "มีคนอาศัยอยู่ในจังหวัด{}กี่คน"),
            ("อาหารขึ้นชื่อของ{}คือแกงและผลไม้", "ไป{}กินอาหารอะไรดี"),
            ("ภูเขาที่สูงที่สุดใน{}ปกคลุมด้วยป่า", "{}มีภูเขาสูงไหม"),
            ("นั่งรถไฟไป{}ใช้เวลาสามชั่วโมง", "เดินทางไป{}ด้วยรถไฟอย่างไร"),
            ("ฤดูหนาวที่{}อากาศเย็นสบาย", "{}หนาวไหมในฤดูหนาว"),
            ("ตลาดน้ำใน{}เปิดทุกวันเสาร์", "ตลาดน้ำ{}เปิดวันไหน"),
        ),
    ),
    "German": (
        "Bamberg Bayreuth Bremen Bremerhaven Freiburg Freising Hamburg Homburg Hannover Heidelberg Heilbronn Lüneburg"
        " Lübeck Magdeburg Marburg Merseburg Nürnberg Oldenburg Regensburg Würzburg",
        (
            ("In {} wohnen mehr als hunderttausend Menschen", "Wie viele Einwohner hat {}?"),
            ("{} ist für sein Bier und für Lebkuchen bekannt", "Was isst und trinkt man in {}?"),
            ("Von der Brücke über den Fluss sieht man die Türme von {}", "Wo sind die Türme von {} zu sehen?"),
            ("Mit der Eisenbahn ist man in drei Stunden in {}", "Wie fährt man mit der Eisenbahn nach {}?"),
            ("In {} liegt im Winter viel Schnee, und es ist kalt", "Wie kalt wird der Winter in {}?"),
            ("Der Markt von {} ist jeden Samstag geöffnet", "An welchem Tag hat der Markt in {} geöffnet?"),
        ),
    ),
    "Arabic": (
        "القاهرة الإسكندرية الجيزة أسوان الأقصر بغداد البصرة الموصل دمشق حلب حمص بيروت طرابلس صيدا الرياض جدة تونس"
        " صفاقس فاس مراكش",
        (
            ("يسكن في {} أكثر من مليون نسمة", "كم عدد سكان {}؟"),
            ("تشتهر {} بالتمور والقهوة والخبز", "ما هي أشهر المأكولات في {}؟"),
            ("تغطي الغابات أعلى جبل قرب {}", "هل توجد جبال عالية قرب {}؟"),
            ("تستغرق الرحلة بالقطار إلى {} ثلاث ساعات", "كيف أسافر بالقطار إلى {}؟"),
            ("الشتاء في {} بارد والصيف حار جدا", "هل الشتاء بارد في {}؟"),
            ("يفتح السوق في {} أبوابه كل يوم سبت", "متى يفتح السوق في {}؟"),
        ),
    ),
}


def made_up(language: str) -> beir.Corpus:
    """A document and a query of every place and every thing that is known of it."""
    places, known = MADE_UP[language]
    facts = list(enumerate(itertools.product(places.split(), known)))
    return beir.Corpus(
        {f"d{number}": said.format(place) for number, (place, (said, _)) in facts},
        {f"q{number}": asked.format(place) for number, (place, (_, asked)) in facts},
        [(f"q{number}", f"d{number}") for number, _ in facts],
    )


def words(texts: Sequence[str]) -> Tokens:
    """As bm25s cuts texts."""
    found: Tokens = bm25s.tokenize(list(texts), stopwords=None, return_ids=False, show_progress=False)
    return found


def characters(texts: Sequence[str]) -> Tokens:
    """Words, and single characters of scripts without blanks, after mteb's ``_unicode_tokenize``."""
    return [_CHARACTER.findall(unicodedata.normalize("NFKC", text).lower()) for text in texts]


def product(texts: Sequence[str]) -> Tokens:
    """The product's terms."""
    return lexical.terms(texts).lists()


def ndcg(
    corpus: beir.Corpus, cut: Callable[[Sequence[str]], Tokens], language: str | None, stem: str | None = None
) -> dict[str, float]:
    """Mean nDCG@10 over the queries, and the share of queries that find anything at all; every positive counts 1."""
    left_out = stopwords.of(language)
    documents, queries = (
        [[term for term in terms if term not in left_out] for terms in cut(list(texts.values()))]
        if stem is None
        else product_words.stems(lexical.terms(list(texts.values())), stem, left_out).lists()
        for texts in (corpus.documents, corpus.queries)
    )
    model = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    model.index(documents, show_progress=False)
    place = {key: number for number, key in enumerate(corpus.documents)}
    positives = collections.defaultdict(set)
    for query, document in corpus.pairs:
        positives[query].add(place[document])
    gains, found = [], 0
    for key, terms in zip(corpus.queries, queries, strict=True):
        known = model.get_tokens_ids(terms)
        scores = model.get_scores_from_ids(known) if known else np.zeros(len(place))
        best = [int(row) for row in np.argsort(-scores, kind="stable")[:_DEPTH] if scores[row] > 0]
        found += bool(best)
        gain = sum(1 / np.log2(rank + 2) for rank, row in enumerate(best) if row in positives[key])
        gains.append(gain / sum(1 / np.log2(rank + 2) for rank in range(min(_DEPTH, len(positives[key])))))
    return {"ndcg@10": round(float(np.mean(gains)), 4), "found": round(found / len(queries), 4)}


def compare(corpus: beir.Corpus) -> dict[str, object]:
    """nDCG@10 of every way."""
    terms = product(list(corpus.documents.values()))
    language = stopwords.detect(collections.Counter(itertools.chain.from_iterable(terms)))
    stem = language if language in get_args(bm25.Stem) else None
    return {
        "documents": len(corpus.documents),
        "queries": len(corpus.queries),
        "stopwords": language,
        "before": ndcg(corpus, words, "en"),
        "words": ndcg(corpus, words, language),
        "characters": ndcg(corpus, characters, language),
        "product": ndcg(corpus, product, language),
        "stemmed": stem and ndcg(corpus, product, language, stem),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--splits", nargs="+", default=["train"])
    parser.add_argument("--output")
    asked = parser.parse_args(argv)
    if asked.data:
        parts = [beir.read(asked.data, split) for split in asked.splits]
        queries = {key: text for part in parts for key, text in part.queries.items()}
        pairs = [pair for part in parts for pair in part.pairs]
        report = {asked.data.name: compare(beir.Corpus(parts[0].documents, queries, pairs))}
    else:
        report = {language: compare(made_up(language)) for language in MADE_UP}
    print(json.dumps(report, indent=1))
    if asked.output:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"languages_{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
