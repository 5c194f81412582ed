"""Jobs in languages without blanks, in other languages, and with characters that nobody sees."""

import json
import re
import sys
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
import whole_path

from gangue.pipeline import mine, params
from gangue.pipeline.command import cli
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import Bm25, bm25
from gangue.transforms.text import stopwords, words

LONG = {
    "Chinese": "长江发源于青藏高原的唐古拉山脉各拉丹冬峰西南侧，干流流经青海、西藏、四川、云南、重庆、湖北、湖南、"
    "江西、安徽、江苏、上海共十一个省级行政区，于崇明岛以东注入东海，全长六千三百余公里，是亚洲第一长河",
    "Japanese": "信濃川は甲武信ヶ岳に源を発し、長野県では千曲川と呼ばれ、新潟県に入って信濃川と名を変え、"
    "越後平野を潤したのち日本海に注ぐ、全長三百六十七キロメートルの日本で最も長い川である",
    "Thai": "แม่น้ำเจ้าพระยาเกิดจากแม่น้ำปิงและแม่น้ำน่านไหลมาบรรจบกันที่ปากน้ำโพ จังหวัดนครสวรรค์ แล้วไหลลงใต้ผ่านที่ราบ"
    "ภาคกลางไปออกทะเลที่อ่าวไทย เป็นแม่น้ำสายสำคัญที่สุดของประเทศ",
    "Korean": "낙동강은 강원도 태백시 함백산에서 발원하여 경상북도와 경상남도를 지나 부산에서 남해로 흘러드는 강으로,"
    " 길이는 오백십 킬로미터이며 대한민국에서 가장 긴 강이다",
}
# query, its positive, an answer, another document that holds the answer, one that does not, what differs in LONG
FACTS = {
    "Chinese": (
        "中国的首都是哪里",
        "北京是中国的首都",
        "北京",
        "中国的首都叫作北京，人口众多",
        "中国的人口众多",
        ("六千", "七千"),
    ),
    "Japanese": (
        "日本の首都はどこ",
        "東京は日本の首都",
        "東京",
        "日本の中心といえば東京だ",
        "日本の山は高い",
        ("三百", "四百"),
    ),
    "Thai": (
        "เมืองหลวงของไทยคือเมืองใด",
        "กรุงเทพเป็นเมืองหลวงของไทย",
        "กรุงเทพ",
        "คนไทยส่วนมากอยู่ในกรุงเทพและปริมณฑล",
        "คนไทยชอบกินข้าว",
        ("สำคัญที่สุด", "สำคัญที่สอง"),
    ),
    "Korean": (
        "한국의 수도는 어디인가",
        "서울은 한국의 수도",
        "서울",
        "한국에서 서울의 인구가 많다",
        "한국의 산은 높다",
        ("오백", "육백"),
    ),
}


def mined(folder, pairs, corpus, **changes):
    """Verdicts of each query's documents by text, triplets by text, and the data."""
    (folder / "source").mkdir()
    for name, rows in (("pairs", pairs), ("corpus", [{"text": body} for body in corpus])):
        (folder / "source" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"kind": "pairs", "path": str(folder / "source"), "pairs": "pairs.jsonl", "corpus": "corpus.jsonl"}
    if any("answers" in row for row in pairs):
        source["answers"] = "answers"
    values = {
        "source": source,
        "retrievers": {"bm25": {"kind": "bm25", "depth": 20}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "bm25", "negatives": 9},
        **changes,
    }
    data = Data(str(folder / "data"))
    whole_path.run(data, params.parse(values))
    documents, queries = (
        dict(zip(table[key].to_pylist(), table["text"].to_pylist(), strict=True))
        for table, key in (
            (data.read_all(f"{key[:-3]}s" if key != "query_id" else "queries"), key)
            for key in ("document_id", "query_id")
        )
    )
    verdicts = {
        (queries[row["query_id"]], documents[row["document_id"]]): row["verdict"]
        for row in data.read_all("verdicts").to_pylist()
    }
    triplets = {(row["query"], row["negative"]) for row in data.read_all("triplets").to_pylist()}
    return verdicts, triplets, data


@pytest.mark.parametrize("language", FACTS)
def test_a_script_without_blanks_is_searched_and_its_copies_and_answers_fall(language, tmp_path):
    query, positive, answer, also, other, (one, two) = FACTS[language]
    long = LONG[language]
    assert one in long
    near, stopped = long.replace(one, two), f"{positive}。"
    pairs = [
        {"anchor": query, "positive": positive, "answers": [answer]},
        {"anchor": long[:12], "positive": long, "answers": ["?"]},
    ]
    corpus = [also, other, near, stopped]
    verdicts, triplets, data = mined(tmp_path, pairs, corpus, filter={"kind": "answer"})
    assert verdicts[query, also] == "answer"
    assert verdicts[query, other] == "kept", "BM25 finds what shares characters, and it holds no answer"
    assert (query, other) in triplets
    assert verdicts[query, stopped] == verdicts[long[:12], near] == "near_duplicate"
    assert Bm25(kind="bm25").language(data, "bm25") is None


COPIES = {
    "a byte order mark": lambda text: text + "\ufeff",
    "a zero-width space": lambda text: text.replace(" ", "\u200b ", 1),
    "a zero-width space in a word": lambda text: text.replace("e", "e\u200b", 1),
    "a mark of direction": lambda text: "\u200e" + text,
    "NUL": lambda text: text + "\x00",
    "soft hyphens": lambda text: text.replace("a", "a\u00ad"),
    "a variation selector": lambda text: text + "\ufe0e",
}
PUNCTUATED = {
    "a full stop": lambda text: text + ".",
    "quotes": lambda text: f"“{text}”!",
    "a comma and dashes": lambda text: text.replace(" ", " — ", 1).replace(" in ", ", in ") + " …",
}
TEXT = "the train waits at an empty station in winter"


@pytest.mark.parametrize("made", [*COPIES, *PUNCTUATED])
def test_a_copy_that_differs_in_nothing_one_can_see_is_never_a_negative(made, tmp_path):
    copy = {**COPIES, **PUNCTUATED}[made](TEXT)
    pairs = [
        {"anchor": "which train waits in winter", "positive": TEXT},
        {"anchor": "two dogs in winter", "positive": "two small dogs run after a ball in winter"},
    ]
    verdicts, triplets, data = mined(tmp_path, pairs, [copy, "an empty street in winter"])
    texts = data.read_all("documents")["text"].to_pylist()
    assert texts.count(TEXT) == 1, "the text that is exported is the one that was given"
    found = {document: verdict for (query, document), verdict in verdicts.items() if "train" in query}
    assert found["an empty street in winter"] == "kept"
    if made in PUNCTUATED:
        assert found[copy] == "near_duplicate"
    else:
        assert copy not in texts, "one text has one id"
    assert not [negative for query, negative in triplets if "train" in query and "station" in negative]


def test_a_copy_with_an_id_of_its_own_falls_as_the_same_text(tmp_path):
    (tmp_path / "source").mkdir()
    documents = [("p", TEXT), ("c", TEXT.replace("n", "n\u200b")), ("o", "an empty street in winter")]
    for name, rows in {
        "documents": [{"document_id": key, "text": body} for key, body in documents],
        "queries": [{"query_id": "q", "text": "which train waits in winter"}],
        "positives": [{"query_id": "q", "document_id": "p"}],
    }.items():
        (tmp_path / "source" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = {name: f"{name}.jsonl" for name in ("documents", "queries", "positives")}
    values = {
        "source": {"kind": "tables", "path": str(tmp_path / "source"), **names},
        "ingest": {"near_duplicate": None},
        "retrievers": {"bm25": {"kind": "bm25", "depth": 20}},
        "pool": {"random": 3},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "bm25", "negatives": 2, "random": 1},
    }
    data = Data(str(tmp_path / "data"))
    whole_path.run(data, params.parse(values))
    verdicts = {row["document_id"]: row["verdict"] for row in data.read_all("verdicts").to_pylist()}
    assert verdicts["o"] == "kept"
    assert verdicts.get("c") in (None, "same_text"), "one of each text is searched"
    assert {row["negative_id"] for row in data.read_all("triplets").to_pylist()} == {"o"}


def test_a_document_of_which_nothing_can_be_seen_is_empty(tmp_path):
    _, _, data = mined(tmp_path, [{"anchor": "a train", "positive": TEXT}], ["\ufeff\u200b \x00", "a train in winter"])
    assert data.read_all("documents")["text"].to_pylist().count("a train in winter") == 1
    (rejected,) = data.read_all("rejected").to_pylist()
    assert "text is empty" in rejected["reason"]


GERMAN = [
    "Die Hauptstadt von Deutschland ist Berlin, und das ist nicht mit den anderen zu vergleichen.",
    "Der Zug nach Hamburg fährt in der Nacht, und die Reisenden schlafen auf den Bänken.",
    "Das Brot von dem Bäcker ist mit Salz und Kümmel gebacken, nicht zu weich.",
    "Die Katze liegt in der Sonne, und der Hund sieht ihr zu.",
]


def test_german_is_searched_without_german_stop_words(tmp_path, capsys):
    pairs = [
        {"anchor": "Wo ist die Hauptstadt?", "positive": GERMAN[0]},
        {"anchor": "und die in der", "positive": GERMAN[1]},
    ]
    verdicts, _, data = mined(tmp_path, pairs, GERMAN[2:])
    assert Bm25(kind="bm25").language(data, "bm25") == "de"
    assert "retrieve@bm25: stop words of de, the language of the documents" in capsys.readouterr().err
    terms = data.read_all("indexes/bm25/vocabulary")["token"].to_pylist()
    assert not {"die", "der", "und", "nicht"} & set(terms)
    assert {"hauptstadt", "fährt", "kümmel"} <= set(terms)
    assert {document for query, document in verdicts if query == "Wo ist die Hauptstadt?"} == {GERMAN[0]}
    footer = data.read("triplets", data.shards("triplets")[0]).schema.metadata
    assert json.loads(footer[b"gangue.recipe"])["stopwords"] == {"bm25": "de"}


@pytest.mark.parametrize(("given", "left"), [("fr", {"der"}), (None, {"der"}), ("german", set())])
def test_stop_words_may_be_named(given, left, tmp_path, capsys):
    retrievers = {"bm25": {"kind": "bm25", "depth": 20, "stopwords": given}}
    _, _, data = mined(tmp_path, [{"anchor": "der Hund", "positive": GERMAN[0]}], GERMAN[1:], retrievers=retrievers)
    assert Bm25(kind="bm25").language(data, "bm25") == given
    assert {"der"} & set(data.read_all("indexes/bm25/vocabulary")["token"].to_pylist()) == left
    assert "as retrievers.bm25.stopwords says" in capsys.readouterr().err


STEMMED = [*GERMAN, "Der Wille von dem Mann will nicht, was die Züge und das Haus in den Bergen zu sagen hat."]


def stemming(tmp_path, corpus=STEMMED, **changes):
    retrievers = {"bm25": {"kind": "bm25", "depth": 20, **changes}}
    pairs = [{"anchor": "Welche Katzen sehen den Hunden zu?", "positive": corpus[0]}]
    verdicts, _, data = mined(tmp_path, pairs, corpus[1:], retrievers=retrievers)
    vocabulary = data.read_all("indexes/bm25/vocabulary").to_pylist()
    return {document for _, document in verdicts}, {row["token"]: row["documents"] for row in vocabulary}, data


@pytest.mark.parametrize("given", [{"stem": "auto"}, {"stem": "de"}, {"stem": "de", "stopwords": "german"}])
def test_german_is_stemmed_queries_as_documents(given, tmp_path, capsys):
    found, vocabulary, data = stemming(tmp_path, **given)
    assert GERMAN[3] in found, "of a cat and a dog, and the query asks of cats and dogs"
    assert {"katz", "hund", "hauptstadt"} <= vocabulary.keys()
    assert not {"katze", "reisenden", "die", "und"} & vocabulary.keys()
    assert vocabulary["zug"] == 2, "a train and trains"
    assert vocabulary["will"] == 1, "the will, whose stem looks like a stop word"
    assert lookup.languages(data, "indexes/bm25/vocabulary")[1] == "de"
    assert "; words are stemmed as de" in capsys.readouterr().err
    recipe = json.loads(data.read("triplets", data.shards("triplets")[0]).schema.metadata[b"gangue.recipe"])
    assert recipe["stems"] == {"bm25": "de"}
    assert "PyStemmer" in recipe["versions"]


def test_words_that_the_learned_filter_compares_are_stemmed_too(tmp_path):
    _, vocabulary, data = stemming(tmp_path, stem="auto")
    retriever = bm25.Bm25Retriever(data, "indexes/bm25/weights", "indexes/bm25/vocabulary")
    asked = retriever.query_tokens(np.arange(1)).toarray()[0]
    assert {token for token, weight in zip(vocabulary, asked, strict=True) if weight} == {"katz", "hund"}


def test_without_a_stemmer_asked_for_or_a_known_language_nothing_is_stemmed(tmp_path, capsys):
    telling = stopwords.of("de")
    unknown = [" ".join(word for word in text.split() if word.lower() not in telling) for text in STEMMED]
    for name, corpus, changes in (("null", STEMMED, {}), ("unknown", unknown, {"stem": "auto"})):
        (tmp_path / name).mkdir()
        _, vocabulary, data = stemming(tmp_path / name, corpus, **changes)
        assert {"hauptstadt", "reisenden"} <= vocabulary.keys()
        assert lookup.languages(data, "indexes/bm25/vocabulary")[1] is None
        assert b"gangue.stem" not in data.metadata("indexes/bm25/vocabulary", "token")
        recipe = json.loads(data.read("triplets", data.shards("triplets")[0]).schema.metadata[b"gangue.recipe"])
        assert "stems" not in recipe
        said = "no stemming, for no language with a stemmer was recognised; retrievers.bm25.stem names one"
        assert (said in capsys.readouterr().err) == ("stem" in changes)


@pytest.mark.parametrize("stem", ["auto", None])
def test_the_report_says_whose_stemmer_it_was(stem, tmp_path):
    pairs = [{"anchor": "Welche Katzen sehen den Hunden zu?", "positive": text} for text in STEMMED]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    values = {
        "source": {"kind": "pairs", "path": str(tmp_path), "pairs": "pairs.jsonl"},
        "retrievers": {"bm25": {"kind": "bm25", "stem": stem}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "bm25", "negatives": 1},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    mine.run(*(str(tmp_path / name) for name in ("params.yaml", "data", "reports")))
    page = (tmp_path / "reports" / "report.html").read_text()
    assert ("<th>stems of</th>" in page) == ("<tr><th>bm25</th><td>de</td><td>de</td></tr>" in page) == (stem == "auto")


@pytest.mark.parametrize("stage", [None, "ingest"])
def test_a_stemmer_that_is_not_installed_is_said_before_ingest(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    values = {
        "source": {"kind": "beir", "path": str(tmp_path / "nothing")},
        "retrievers": {"bm25": {"kind": "bm25", "stem": "de"}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "bm25", "negatives": 1},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    monkeypatch.chdir(tmp_path)
    wanted = r"retrievers\.bm25\.stem: package PyStemmer must be installed .* got de .*pip install 'gangue\[stemming\]'"
    if stage is None:
        with pytest.raises(ValueError, match=wanted):
            mine.run("params.yaml", "data", "reports")
        return
    monkeypatch.setattr(sys, "argv", ["gangue", stage])
    with pytest.raises(SystemExit):
        cli.main()
    assert re.search(wanted, capsys.readouterr().err)


def test_every_language_that_may_be_named_has_a_stemmer_and_stop_words_name_theirs():
    for language in set(get_args(bm25.Stem)) - {"auto"}:
        assert words.stems(words.terms(pa.chunked_array([["ab"]])), language, ()).distinct, language
    assert set(stopwords._COMMON) - set(get_args(bm25.Stem)) == {"zh"}


def test_stop_words_of_an_unknown_language_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="stopwords"):
        params.parse(
            {
                "source": {"kind": "beir", "path": "x"},
                "retrievers": {"bm25": {"kind": "bm25", "stopwords": "klingon"}},
                "filter": {"kind": "naive"},
                "sample": {"kind": "top", "score": "bm25", "negatives": 1},
            }
        )
