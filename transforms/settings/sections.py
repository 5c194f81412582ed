"""The sections of ``params.yaml``: what each stage may be told, and what each value must be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from gangue.transforms.settings.section import Count, Name, Place, Positive, Section


class Ingest(Section):
    """How the corpus is cut into shards, and what counts as a near-duplicate."""

    documents_per_shard: Positive = 4096
    queries_per_shard: Positive = 1024
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = 0.85  # Jaccard of word trigrams; null: off


Dtype = Literal["float32", "float16", "bfloat16"]


class Encoder(Section):
    """A sentence-transformers model and how it is run."""

    model: Place  # package:MODULE/path, a folder, or a hub id
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

    model: Place | None = None
    revision: str | None = None
    teach: Teach | None = None
    label: int | str | None = None  # of a model with several: which means relevant, by name or number
    activation: Literal["sigmoid", "identity"] | None = None  # of a model with one label; null: its own
    prompt: str | None = None  # before each query; null: the model's own
    depth: Positive = 20  # pairs to score: those that some retriever ranks this high, random ones, positives
    max_length: Positive = 128
    dtype: Dtype = "float32"
    tokens_per_batch: Positive | None = None  # null: 4,096, on a GPU 65,536
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> Scorer:
        if (self.model is None) == (self.teach is None):
            raise ValueError("must have either model or teach")
        for key in ("revision", "label", "prompt"):
            if self.teach is not None and getattr(self, key) is not None:
                raise ValueError(f"{key} belongs to a model, got {getattr(self, key)} and teach. Remove it")
        return self


class Learn(Section):
    """How it is known which unlabelled candidates are positives too."""

    examples: Positive = 500_000  # about so many pairs serve as examples at most
    candidates: Positive = 30  # per positive
    # Share of all positives that is labelled; chosen: what is labelled is what users clicked or a system ranked first.
    labelled: Annotated[float, Field(gt=0, lt=1)] | Literal["auto", "chosen"] = "auto"
    pretrained: Place | None = None  # file of the pretrained filter; null: the one that comes with Gangue
    seed: int = 13


class Calibrate(Section):
    """How a budget for false negatives is kept."""

    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.5  # share of the positives hidden to see which come back
    rounds: Positive = 2  # how often others are hidden
    queries: Positive = 10_000  # about so many are tested at most: more would hardly change the bound
    pool: Name | None = None  # the retriever whose results were labelled: estimates are corrected for it too
    seed: int = 17


class Audit(Section):
    """How the result is measured."""

    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.5  # share of the positives that the leak test hides
    rounds: Positive = 5  # leak: how often other positives are hidden
    examples: Count = 12  # rows shown in the report
    seed: int = 13


class Beam(Section):
    """Where the pipelines run."""

    runner: Literal["FnApiRunner", "DataflowRunner", "PortableRunner", "PrismRunner", "FlinkRunner", "SparkRunner"] = (
        "FnApiRunner"
    )
    workers: Positive = 1
    cluster: Annotated[str, Field(min_length=1)] | None = None  # a Dask scheduler's address, or its file
    documents_per_range: Positive | None = None  # that a worker searches at once for its queries; null: all
    options: tuple[str, ...] = ()  # further Beam flags
    accelerator: Annotated[str, Field(pattern=r"^type:[^;]+;count:\d+(;.+)?$")] | None = None  # for models
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[KMGTP]i?B$")] | None = None  # for models, at least

    @property
    def elsewhere(self) -> bool:
        """Whether other processes than the command's own, and its workers, do the work."""
        return self.runner != "FnApiRunner"

    @property
    def sharers(self) -> int:
        """Workers that work is cut for: those here; eight of a cluster or another runner, where any number may come.

        >>> Beam(workers=2).sharers, Beam(cluster="tcp://scheduler:8786").sharers, Beam(runner="FlinkRunner").sharers
        (2, 8, 8)
        """
        return self.workers if self.cluster is None and not self.elsewhere else 8

    @property
    def hints(self) -> dict[str, str]:
        """Beam's resource hints for steps that run a model; none on one machine, where each would only add workers."""
        hints = {"accelerator": self.accelerator, "min_ram": self.memory}
        return {name: value for name, value in hints.items() if value and self.elsewhere}

    @property
    def resources(self) -> dict[str, float]:
        """Dask's resources for steps that run a model: what ``accelerator`` names, in its number."""
        if self.accelerator is None or self.cluster is None:
            return {}
        kind, count = (part.partition(":")[2] for part in self.accelerator.split(";")[:2])
        return {kind: float(count)}

    @model_validator(mode="after")
    def _one_engine(self) -> Beam:
        if self.cluster is not None and (self.elsewhere or self.workers > 1):
            raise ValueError("cluster must be alone: it is in the place of workers and of another runner. Remove those")
        return self

    @field_validator("runner", mode="before")
    @classmethod
    def _keeps_counts(cls, value: Any) -> Any:
        if value == "BundleBasedDirectRunner":
            raise ValueError(
                "must not be BundleBasedDirectRunner: Beam's loses the counters of every step that waits for another,"
                " so no stage can tell that it lost no row. Use FnApiRunner"
            )
        return value
