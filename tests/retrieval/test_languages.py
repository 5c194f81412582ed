"""Jobs in languages without blanks, in other languages, and with characters that nobody sees."""

import json

import pytest
import whole_path

from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import Bm25

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
