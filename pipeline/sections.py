"""The sections of ``params.yaml``: what each stage may be told, and what each value must be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from transforms.settings import mistakes
from transforms.settings.section import Count, Name, Positive, Section


class PythonCode(Section):
    """Functions of a tree of ``.py`` files: docstring paragraph -> source without the docstring."""

    kind: Literal["python_code"]
    path: str
    packages: tuple[str, ...] = ()  # modules or packages under path; none: every file
    min_characters: Count = 60  # shorter functions are rejected


class Beir(Section):
    """A folder with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``."""

    kind: Literal["beir"]
    path: str
    splits: tuple[str, ...] = ("train",)
    min_grade: float = 1.0
    answers: str | None = None  # field of queries.jsonl


class Pairs(Section):
    """A file of (anchor, positive) rows under ``path``, and optionally a file of further documents."""

    kind: Literal["pairs"]
    path: str
    pairs: str
    anchor: str = "anchor"
    positive: str = "positive"
    anchor_id: str | None = None
    positive_id: str | None = None
    answers: str | None = None
    negatives: tuple[str, ...] = ("neg", "negative", "negatives", "negative_passages")  # columns, where there are such
    corpus: str | None = None
    text: str = "text"  # column of the corpus file
    document_id: str | None = None  # column of the corpus file


class Tables(Section):
    """Documents, queries and positives that have ids, one file each under ``path``."""

    kind: Literal["tables"]
    path: str
    documents: str
    queries: str
    positives: str
    document_id: str = "document_id"
    document_text: str = "text"
    document_title: str | None = None
    query_id: str = "query_id"
    query_text: str = "text"
    answers: str | None = None  # column of the queries: a string, or a list of strings
    positive_query_id: str = "query_id"
    positive_document_id: str = "document_id"
    grade: str | None = None


Source = Annotated[PythonCode | Beir | Pairs | Tables, Field(discriminator="kind")]


class Labels(Section):
    """What ``gangue sample-for-labels`` asked and somebody answered."""

    path: str | None = None  # a file, or a folder of files; null: none
    wrong: Annotated[float, Field(ge=0, lt=0.5)] = 0.0  # share of the labels that are; 0: they are believed


class Ingest(Section):
    """How the corpus is cut into shards, and what counts as a near-duplicate."""

    documents_per_shard: Positive = 4096
    queries_per_shard: Positive = 1024
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = 0.85  # Jaccard of word trigrams; null: off


Dtype = Literal["float32", "float16", "bfloat16"]


class Encoder(Section):
    """A sentence-transformers model and how it is run."""

    model: str  # package:MODULE/path, a folder, or a hub id
    revision: str | None = None
    max_length: Positive | None = None  # tokens; null: the model's own
    query_prompt: str | None = None  # before each query; null: the model's own; "": none
    document_prompt: str | None = None
    normalise: bool = True
    dtype: Dtype = "float32"
    backend: Literal["torch", "onnx", "openvino"] = "torch"
    model_file: str | None = None  # onnx, openvino: which file of the model; null: its own choice, or a conversion
    tokens_per_batch: Positive | None = None  # padding included; null: 2,048, on a GPU 65,536
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _of_backend(self) -> Encoder:
        if self.backend != "torch" and self.dtype != "float32":
            raise ValueError(f"dtype belongs to backend torch, got {self.dtype}; for {self.backend} name a model_file")
        if self.backend == "torch" and self.model_file is not None:
            raise ValueError(f"model_file belongs to backend onnx or openvino, got {self.model_file} and torch")
        return self


class Cluster(Section):
    """Spherical k-means over the document vectors of each encoder."""

    clusters: Positive = 32
    iterations: Positive = 20
    sample: Positive = 262144  # vectors to train on
    seed: int = 13


class NextCluster(Section):
    """The documents nearest to a query in the cluster next to its own (ClusterNS)."""

    encoder: Name
    documents: Positive = 2


class Pool(Section):
    """What joins the retrieved candidates."""

    next_cluster: NextCluster | None = None
    random: Count = 0  # documents per query drawn uniformly from the whole corpus
    seed: int = 13


class Teach(Section):
    """Fine-tune a small cross-encoder on the given pairs, each fold of queries by the other fold."""

    encoder: Name  # whose weights it starts from
    layers: Positive = 2
    negatives: Positive = 1  # per positive, drawn from its query's pool
    random: Count = 3  # per positive, drawn from the whole corpus
    epochs: Positive = 1
    batch_size: Positive = 8
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    seed: int = 13


class Scorer(Section):
    """A cross-encoder: a model, or one taught here."""

    model: str | None = None
    revision: str | None = None
    teach: Teach | None = None
    label: int | str | None = None  # of a model with several: which means relevant, by name or number
    depth: Positive = 20  # pairs to score: those that some retriever ranks this high, random ones, positives
    max_length: Positive = 128
    dtype: Dtype = "float32"
    tokens_per_batch: Positive | None = None  # null: 4,096, on a GPU 65,536
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> Scorer:
        if (self.model is None) == (self.teach is None):
            raise ValueError("must have either model or teach")
        return self


_RULE_KEYS = {
    "naive": (),
    "shifted": ("shift", "score"),
    "abs": ("abs", "score"),
    "margin": ("margin", "score", "positive"),
    "perc": ("perc", "score", "positive"),
    "rank_window": ("first", "last", "score"),
    "denoise": ("max", "score"),
    "same_cluster": ("encoder",),
    "answer": (),
    "learned": ("p_false",),
}
CUT = {"shifted": "shift", "abs": "abs", "margin": "margin", "perc": "perc", "denoise": "max", "learned": "p_false"}
"""The key of each kind of rule that a budget can choose."""
_FILTER_KEYS = ("kind", "also", "fallback", "max_false_negatives", "confidence")


class Rule(Section):
    """One false-negative rule; which keys it takes depends on its kind, any other key is an error."""

    kind: Literal[
        "naive", "shifted", "abs", "margin", "perc", "rank_window", "denoise", "same_cluster", "answer", "learned"
    ]
    score: Name | None = None  # a retriever or a scorer
    positive: Literal["own", "min", "mean", "max"] | None = None  # which positive's score sets the ceiling
    shift: Count | None = None  # shifted: first ranks to drop
    abs: float | None = None  # abs: ceiling
    margin: Annotated[float, Field(ge=0)] | None = None  # margin: distance below the positive
    perc: Annotated[float, Field(gt=0)] | None = None  # perc: share of the positive's score
    first: Positive | None = None  # rank_window: raw ranks of the retriever ``score``
    last: Positive | None = None
    encoder: Name | None = None  # same_cluster: whose clusters
    max: float | None = None  # denoise: a cross-encoder score above this is a likely positive
    p_false: Annotated[float, Field(gt=0, le=1)] | None = None  # learned: likelier false ones are dropped

    @model_validator(mode="before")
    @classmethod
    def _keys_of_kind(cls, values: Any) -> Any:
        if not isinstance(values, dict) or str(values.get("kind")) not in _RULE_KEYS:
            return values
        takes = _RULE_KEYS[values["kind"]]
        idle = [key for key in values if key not in (*takes, *_FILTER_KEYS) and values[key] is not None]
        if idle:
            near = mistakes.meant(idle[0], (*takes, *_FILTER_KEYS))
            raise ValueError(
                f"kind {values['kind']} does not read {', '.join(map(str, idle))}; it takes"
                f" {', '.join(takes) or 'nothing'}.{near or ' Remove it'}"
            )
        if "positive" in takes and values.get("positive") is None:
            values = {**values, "positive": "min"}
        budget = values.get("max_false_negatives") is not None
        absent = [key for key in takes if values.get(key) is None and not (budget and key == CUT.get(values["kind"]))]
        if absent:
            raise ValueError(f"kind {values['kind']} needs {', '.join(absent)}")
        return values

    @model_validator(mode="after")
    def _window(self) -> Rule:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"first must be <= last, got {self.first} > {self.last}")
        return self


class Filter(Rule):
    """The main rule, and further ones that stack on it."""

    also: tuple[Rule, ...] = ()
    fallback: Rule | None = (
        None  # learned: what judges where the budget cannot be kept; null: the cut that comes nearest
    )
    max_false_negatives: Annotated[float, Field(gt=0, lt=1)] | None = None  # choose the main rule's cut by this budget
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None  # that the budget holds; null: it holds on average

    @model_validator(mode="after")
    def _whole(self) -> Filter:
        if self.fallback is not None and not self.learns:
            raise ValueError("fallback belongs to kind learned: it judges where that cannot keep its budget")
        if any(rule.kind == "learned" for rule in (*self.also, *([self.fallback] if self.fallback else []))):
            raise ValueError("kind learned must be the main rule, not one under also or fallback")
        if self.confidence is not None and self.max_false_negatives is None:
            raise ValueError("confidence belongs to max_false_negatives, and there is none")
        if self.max_false_negatives is not None:
            if self.kind not in CUT:
                raise ValueError(f"max_false_negatives chooses cuts of {', '.join(CUT)} only, got kind {self.kind}")
            if (own := getattr(self, CUT[self.kind])) is not None:
                raise ValueError(f"{CUT[self.kind]} is chosen by max_false_negatives, got {own}. Remove one of them")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules in the order in which they fire."""
        return (self, *self.also)

    @property
    def learns(self) -> bool:
        """Whether a rule is learned."""
        return self.kind == "learned"

    @property
    def asks_to_learn(self) -> bool:
        """Whether pairs must be known by how likely they are false: by a learned rule, or to keep a budget."""
        return self.learns or self.fallback is not None or self.max_false_negatives is not None

    @property
    def cut(self) -> float | None:
        """The main rule's cut, none where a budget has not chosen it yet."""
        value: float | None = getattr(self, CUT[self.kind]) if self.kind in CUT else None
        return value

    def with_cut(self, cut: float) -> Filter:
        """The same with another cut."""
        key = CUT[self.kind]
        return self.model_copy(update={key: int(cut) if key == "shift" else cut})

    def with_rule(self, rule: Rule) -> Filter:
        """The same with another main rule."""
        return self.model_copy(update={key: getattr(rule, key) for key in Rule.model_fields})


class Learn(Section):
    """How it is known which unlabelled candidates are positives too."""

    examples: Positive = 500_000  # about so many pairs serve as examples at most
    candidates: Positive = 30  # per positive
    labelled: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = "auto"  # share of all positives that is labelled
    pretrained: str | None = None  # file of the pretrained filter; null: the one that comes with Gangue
    seed: int = 13


class Calibrate(Section):
    """How a budget for false negatives is kept."""

    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.5  # share of the positives hidden to see which come back
    rounds: Positive = 2  # how often others are hidden
    queries: Positive = 10_000  # about so many are tested at most: more would hardly change the bound
    pool: Name | None = None  # the retriever whose results were labelled: estimates are corrected for it too
    seed: int = 17


class Export(Section):
    """Which ready-made views are written beside the triplets."""

    views: tuple[Literal["triplet", "ntuple", "labeled_pair", "labeled_list", "scored_pair", "scored_list"], ...] = ()


class Audit(Section):
    """How the result is measured."""

    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.5  # share of the positives that the leak test hides
    rounds: Positive = 5  # leak: how often other positives are hidden
    examples: Count = 12  # rows shown in the report
    seed: int = 13


class Beam(Section):
    """Where the pipelines run."""

    runner: Literal["FnApiRunner", "DataflowRunner"] = "FnApiRunner"
    workers: Positive = 1
    options: tuple[str, ...] = ()  # further Beam flags
    accelerator: Annotated[str, Field(pattern=r"^type:[^;]+;count:\d+(;.+)?$")] | None = None  # for models
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[KMGTP]i?B$")] | None = None  # for models, at least

    @property
    def hints(self) -> dict[str, str]:
        """Beam's resource hints for steps that run a model; none on one machine, where each would only add workers."""
        hints = {"accelerator": self.accelerator, "min_ram": self.memory}
        return {name: value for name, value in hints.items() if value and self.runner == "DataflowRunner"}

    @field_validator("runner", mode="before")
    @classmethod
    def _keeps_counts(cls, value: Any) -> Any:
        if value == "BundleBasedDirectRunner":
            raise ValueError(
                "must not be BundleBasedDirectRunner: Beam's loses the counters of every step that waits for another,"
                " so no stage can tell that it lost no row. Use FnApiRunner"
            )
        return value
