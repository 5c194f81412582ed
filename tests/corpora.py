"""Small corpora with all that makes mining go wrong: copies, near-copies, queries that ask the same, ties."""

import dataclasses
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
from models import WORDS

# Words of other languages, and what stands between them; German ones are known by their commonest words.
LANGUAGES = {
    "Chinese": ("北京 上海 首都 长江 是 的 中国 城市 人口 最 长 大 河 第一 iPhone 2024年 。 ，", ""),
    "Japanese": ("東京 は 日本 の 首都 で ある タワー が が\u3099 高い ｶﾀｶﾅ コンピューター を 使う 。 ・", ""),
    "Thai": ("กรุงเทพ เป็น เมือง หลวง ของ ไทย แม่น้ำ ที่ ใหญ่ น้ำ ๒๕๖๓ และ คน กิน ข้าว ฯ", ""),
    "Korean": ("서울은 한국의 수도 이다 부산에서 강이 길다 사람이 많은 도시 ㅋㅋ 산 바다", " "),
    "German": ("der die und in den von zu das mit nicht Straße über u\u0308ber Fluß Brücke Haus-Tür Zug.", " "),
    "Arabic": ("القاهرة عاصمة مصر مدينة كبيرة في العالم نهر النيل طويل عَرَبِيّ ١٩٦٨ من الماء ،", " "),
}
INVISIBLE = ("\u200b", "\ufeff", "\u00ad", "\u200e", "\x00", "\ufe0f")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Rows as they stand in the source's files: (id, title, text), (id, text), (query id, document id)."""

    documents: list[tuple[str, str, str]]
    queries: list[tuple[str, str]]
    positives: list[tuple[str, str]]

    def answers(self, query):
        """Answers to a query: none, or words that stand in some document, or almost."""
        rng = random.Random(query)
        words = rng.choice(sorted(f"{title} {text}" for _, title, text in self.documents)).split()
        start = rng.randrange(len(words))
        some = " ".join(words[start : start + 2])
        long = some if " " in some or len(some) < 9 else some[start % 5 :][:4]  # of a text without blanks
        return [[], [some, long], ["?", f"{long.title()}!", rng.choice(WORDS)[:2]]][rng.randrange(3)]

    def shuffled(self, seed):
        rng = random.Random(seed)
        return Corpus(*(rng.sample(rows, len(rows)) for rows in dataclasses.astuple(self)))

    def write(self, folder, *, suffix=".jsonl", files=1):
        """One folder for each table, in some number of files."""
        tables = {
            "documents": [dict(zip(("document_id", "title", "text"), row, strict=True)) for row in self.documents],
            "queries": [{"query_id": name, "text": text, "answers": self.answers(name)} for name, text in self.queries],
            "positives": [dict(zip(("query_id", "document_id"), row, strict=True)) for row in self.positives],
        }
        for name, rows in tables.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            for old in (folder / name).iterdir():
                old.unlink()
            for number in range(files):
                path, part = folder / name / f"{number}{suffix}", rows[number::files]
                if suffix == ".parquet":
                    pq.write_table(pa.Table.from_pylist(part), path)
                else:
                    path.write_text("".join(json.dumps(row) + "\n" for row in part))


def source(folder):
    """The ``source`` section for a corpus written there."""
    names = {name: name for name in ("documents", "queries", "positives")}
    return {"kind": "tables", "path": str(folder), "document_title": "title", "answers": "answers", **names}


def corpus(seed, documents=36, queries=9, language=None):
    """A corpus of a seed; some ids are not ASCII and none sort as they were made."""
    rng = random.Random(seed)
    words, blank = LANGUAGES[language] if language else (" ".join(WORDS), " ")
    words = words.split()
    ids = rng.sample([f"{letter}{number}" for letter in "aZé9" for number in range(25)], documents)
    chosen = [rng.choices(words, k=rng.choice((1, 2, 3, 4, 6, 9, 30))) for _ in ids]
    texts = [blank.join(some) for some in chosen]
    for number in range(1, documents):
        place = rng.randrange(number)
        earlier = texts[place]
        copy = rng.random()
        if copy < 0.1:
            texts[number] = earlier
        elif copy < 0.2:
            texts[number] = f" {earlier.upper()}  "
        elif copy < 0.3:
            parts = earlier.split() if blank else chosen[place]
            texts[number] = blank.join(rng.sample(parts, len(parts)))  # a tie
        elif copy < 0.4:
            long = blank.join(rng.choices(words, k=40))
            texts[number - 1], texts[number] = (f"{long}{blank}{rng.choice(words)}" for _ in "ab")
        elif copy < 0.5 and language:
            hidden = rng.choice(INVISIBLE)
            texts[number] = f"{earlier[:1]}{hidden}{earlier[1:]}{rng.choice(['', '.', '。'])}"
    rows = [
        (i, *(text.split(" ", 1) if rng.random() < 0.2 and " " in text else ("", text)))
        for i, text in zip(ids, texts, strict=True)
    ]
    asked = [blank.join(rng.choices(words, k=rng.randint(1, 5))) for _ in range(queries)]
    asked[1] = asked[0]
    asked[2] = f"{asked[0].title()} "
    asked[3] = texts[rng.randrange(documents)]
    names = [f"q{number}" for number in rng.sample(range(100), queries)]
    positives = [(name, document) for name in names for document in rng.sample(ids, rng.randint(1, 4))]
    return Corpus(rows, list(zip(names, asked, strict=True)), positives)


def mixed(seed, documents=8, queries=4):
    """A corpus in English and in all those languages."""
    parts = {language or "English": corpus(seed, documents, queries, language) for language in (None, *LANGUAGES)}
    rows = [[], [], []]
    for language, part in parts.items():
        rows[0] += [(f"{language} {name}", *texts) for name, *texts in part.documents]
        rows[1] += [(f"{language} {name}", text) for name, text in part.queries]
        rows[2] += [tuple(f"{language} {name}" for name in pair) for pair in part.positives]
    return Corpus(*rows)
