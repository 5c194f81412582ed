"""The views in the hands of those who read them: datasets loads them, sentence-transformers trains on them."""

import math
import pathlib

import models
import pyarrow as pa
import pytest

from gangue.transforms import views
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data

NEGATIVES = 2


def triplets(queries=range(8)):
    """Triplets over the words that the tiny models know, two positives each."""
    rows = []
    for number in queries:
        query, *others = (models.WORDS[(number + step) % len(models.WORDS)] for step in range(6))
        for positive in (0, 1):
            for negative in range(NEGATIVES):
                rows.append(
                    {
                        "query_id": f"q{number}",
                        "positive_id": f"p{number}{positive}",
                        "negative_id": f"n{number}{negative}",
                        "query": query,
                        "positive": f"{query} {others[positive]}",
                        "negative": f"{others[2]} {others[3 + negative]}",
                        "score_r": 0.25 * negative,
                        "positive_score_r": 0.75,
                    }
                )
    return pa.Table.from_pylist(rows)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A view as ``datasets`` loads it from two shards, offline."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    def loaded(view):
        data = Data(str(tmp_path / "data"))
        for shard, queries in zip(shard_names(2), (range(4), range(4, 8)), strict=True):
            data.write(f"views/{view}", shard, views.VIEWS[view].table(triplets(queries), NEGATIVES, "r"))
        data.commit(f"views/{view}")
        files = f"{data.path(f'views/{view}')}/*.parquet"
        cache = str(tmp_path / "cache")
        return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)

    return loaded


def losses(trainer):
    """The loss of every step."""
    trainer.train()
    found = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(found) == trainer.args.max_steps
    return found


def arguments(kind, folder: pathlib.Path):
    return kind(
        output_dir=str(folder / "out"),
        max_steps=3,
        per_device_train_batch_size=4,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )


@pytest.mark.parametrize("view", views.VIEWS)
def test_datasets_loads_every_view(view, load):
    expected = views.VIEWS[view].table(triplets(), NEGATIVES, "r")
    loaded = load(view)
    assert loaded.column_names == expected.column_names
    assert loaded.to_dict() == expected.to_pydict()


@pytest.mark.parametrize(
    ("view", "name"),
    [
        ("triplet", "MultipleNegativesRankingLoss"),
        ("triplet", "TripletLoss"),
        ("ntuple", "MultipleNegativesRankingLoss"),
        ("labeled_pair", "ContrastiveLoss"),
        ("scored_pair", "CosineSimilarityLoss"),
        ("scored_pair", "CoSENTLoss"),
        ("scored_ntuple", "MarginMSELoss"),
        ("scored_ntuple", "DistillKLDivLoss"),
    ],
)
def test_an_embedding_model_trains_on(view, name, load, tmp_path):
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers import losses as of_embeddings

    model = SentenceTransformer(models.static_encoder(tmp_path / "model"), device="cpu")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(Arguments, tmp_path),
        train_dataset=load(view),
        loss=getattr(of_embeddings, name)(model),
    )
    assert all(math.isfinite(loss) and loss > 0 for loss in losses(trainer))


@pytest.mark.parametrize(
    ("view", "name"),
    [
        ("labeled_pair", "BinaryCrossEntropyLoss"),
        ("labeled_list", "LambdaLoss"),
        ("labeled_list", "ListNetLoss"),
        ("scored_pair", "MSELoss"),
        ("scored_list", "ListNetLoss"),
    ],
)
def test_a_cross_encoder_trains_on(view, name, load, tmp_path):
    from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments as Arguments
    from sentence_transformers.cross_encoder import losses as of_pairs

    model = CrossEncoder(models.cross_encoder(tmp_path / "model"), num_labels=1, device="cpu")
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments(Arguments, tmp_path),
        train_dataset=load(view),
        loss=getattr(of_pairs, name)(model),
    )
    assert all(math.isfinite(loss) and loss > 0 for loss in losses(trainer))


def test_margin_mse_trains_on_scored_triplets_of_the_product_itself(load, tmp_path):
    """Distillation by margins needs no view: the columns are in the triplets."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers import losses as of_embeddings

    table = triplets()
    rows = {name: table[name].to_pylist() for name in ("query", "positive", "negative")}
    pairs = zip(table["positive_score_r"].to_pylist(), table["score_r"].to_pylist(), strict=True)
    dataset = Dataset.from_dict({**rows, "label": [one - other for one, other in pairs]})
    model = SentenceTransformer(models.static_encoder(tmp_path / "model"), device="cpu")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(Arguments, tmp_path),
        train_dataset=dataset,
        loss=of_embeddings.MarginMSELoss(model),
    )
    assert all(math.isfinite(loss) for loss in losses(trainer))
