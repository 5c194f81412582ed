"""A student: a static embedding that learns from a training set in seconds, and how well it retrieves."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from benchmarks.training_sets import Pair, TrainingSet
from gangue.transforms.models import folders

DEPTH = 100
METRICS = ("ndcg@10", "mrr@10", "recall@100")


@dataclasses.dataclass(frozen=True)
class Schooling:
    """How every student is taught."""

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 3e-2


class DistinctBatches(Sampler[list[int]]):
    """Batches in which no query and no positive comes twice, where that can be; of the pairs and the seed alone.

    So students of one seed meet the same pairs in the same order, whatever their negatives are.
    """

    def __init__(self, pairs: Sequence[Pair], batch_size: int, seed: int) -> None:
        self.pairs, self.batch_size, self.seed, self.epoch = pairs, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Which order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.pairs) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        waiting = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.pairs)).tolist()
        while waiting:
            batch: list[int] = []
            later: list[int] = []
            seen: set[tuple[str, str]] = set()
            for place, i in enumerate(waiting):
                names = {("query", self.pairs[i][0]), ("document", self.pairs[i][1])}
                if len(batch) == self.batch_size:
                    later += waiting[place:]
                    break
                if names & seen:
                    later.append(i)
                else:
                    batch.append(i)
                    seen |= names
            short = self.batch_size - len(batch)  # the rest repeats itself: better than a batch of two
            yield batch + later[:short]
            waiting = later[short:]


def static_embedding() -> tuple[Any, np.ndarray]:
    """Tokenizer and (v, 256) float32 vectors of the package wordllama: the embedding that students start from."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    package = pathlib.Path(folders.locate("package:wordllama/"))
    tokenizer = Tokenizer.from_file(str(package / "tokenizers/l2_supercat_tokenizer_config.json"))
    weights = load_file(package / "weights/l2_supercat_256.safetensors")["embedding.weight"]
    return tokenizer, weights.astype(np.float32)


class Primer:
    """What every student starts from: the static embedding as it comes, and the tokens of all texts it will meet.

    Only the rows of these tokens are kept, because others never learn and cost the optimiser time.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.tokenizer, weights = static_embedding()
        unique = list(dict.fromkeys(texts))
        encodings = self.tokenizer.encode_batch(unique, add_special_tokens=False)
        lengths = [len(encoding.ids) for encoding in encodings]
        used, rows = np.unique(np.concatenate([encoding.ids for encoding in encodings]), return_inverse=True)
        self.weights = weights[used]
        self.rows = dict(zip(unique, np.split(rows, np.cumsum(lengths)[:-1]), strict=True))

    def student(self) -> Any:
        """A student before it learns."""
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        class Known(StaticEmbedding):
            """A static embedding of texts whose tokens are known."""

            def preprocess(self, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Any]:
                """Rows of the tokens, one text after the other."""
                rows = [known[text] for text in inputs]
                offsets = np.cumsum([0, *(len(row) for row in rows[:-1])])
                return {"input_ids": torch.from_numpy(np.concatenate(rows)), "offsets": torch.from_numpy(offsets)}

        known = self.rows
        module = Known(self.tokenizer, embedding_weights=self.weights.copy())
        return SentenceTransformer(modules=[module], device="cpu")


def teach(
    model: Any, data: TrainingSet, queries: dict[str, str], documents: dict[str, str], how: Schooling, seed: int
) -> None:
    """Train a model on one set with ``MultipleNegativesRankingLoss``."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import PrinterCallback

    pairs = list(data.negatives)
    columns = {"anchor": [queries[q] for q, _ in pairs], "positive": [documents[d] for _, d in pairs]}
    for place, names in enumerate(zip(*data.negatives.values(), strict=True)):
        columns[f"negative_{place + 1}"] = [documents[name] for name in names]
    batches = DistinctBatches(pairs, how.batch_size, seed)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            num_train_epochs=how.epochs,
            per_device_train_batch_size=how.batch_size,
            learning_rate=how.learning_rate,
            warmup_steps=0.1,
            batch_sampler=lambda dataset, **_: batches,
            seed=seed,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        loss, dataset = MultipleNegativesRankingLoss(model), Dataset.from_dict(columns)
        trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=dataset, loss=loss)
        trainer.remove_callback(PrinterCallback)  # standard output is the caller's
        trainer.train()


def evaluate(
    model: Any, queries: dict[str, str], documents: dict[str, str], relevant: dict[str, set[str]]
) -> dict[str, np.ndarray]:
    """Metric -> (q,) values, one per query of ``relevant``, in its order; exact search over all documents."""
    names = list(documents)
    encode = functools.partial(model.encode, normalize_embeddings=True, show_progress_bar=False, batch_size=256)
    corpus, asked = encode(list(documents.values())), encode([queries[query] for query in relevant])
    rows = []
    for start in range(0, len(asked), 256):
        scores = asked[start : start + 256] @ corpus.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        for ranking, query in zip(best, list(relevant)[start : start + 256], strict=True):
            hits = np.array([names[i] in relevant[query] for i in ranking])
            rows.append(metrics(hits, len(relevant[query])))
    return dict(zip(METRICS, np.array(rows).T, strict=True))


def metrics(hits: np.ndarray, relevant: int) -> tuple[float, float, float]:
    """NDCG@10, MRR@10 and recall@100 of one ranking; relevance is yes or no.

    >>> [round(value, 4) for value in metrics(np.array([False, True, False, True]), 2)]
    [0.6509, 0.5, 1.0]
    """
    discount = 1 / np.log2(np.arange(2, 12))
    top = hits[:10]
    gained = float(discount[: len(top)][top].sum() / discount[: min(relevant, 10)].sum())
    first = np.flatnonzero(top)
    return gained, (1.0 / (1 + int(first[0])) if len(first) else 0.0), float(hits[:DEPTH].sum() / relevant)


def difference(left: np.ndarray, right: np.ndarray, seed: int = 0, replicates: int = 10_000) -> dict[str, float]:
    """Mean of ``right - left`` with a 95 % interval: a paired bootstrap over queries.

    Args:
      left, right: (q,) a metric of the same queries under two systems.
    """
    gap = right - left
    generator = np.random.default_rng(seed)
    means = [gap[generator.integers(0, len(gap), (200, len(gap)))].mean(axis=1) for _ in range(replicates // 200)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return json.loads(json.dumps({"difference": gap.mean(), "low": low, "high": high}, default=float))


def verdict(gap: dict[str, float]) -> str:
    """Whether a gap that is claimed to be positive is: held, reversed, or not resolved where the interval holds 0.

    >>> verdict({"low": 0.01, "high": 0.02}), verdict({"low": -0.01, "high": 0.02})
    ('held', 'not resolved')
    """
    return "held" if gap["low"] > 0 else "reversed" if gap["high"] < 0 else "not resolved"
