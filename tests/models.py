"""Tiny models with fixed weights, made on the spot: no network, milliseconds a text."""

import pathlib

import numpy as np

WORDS = (
    "ab",
    "ba",
    "cab",
    "dab",
    "ebb",
    "fad",
    "gab",
    "had",
    "jab",
    "lab",
    "mad",
    "nab",
    "oak",
    "pad",
    "rag",
    "sad",
)


def static_encoder(folder: pathlib.Path, words: tuple[str, ...] = WORDS, dimensions: int = 16) -> str:
    """Save a static embedding over whole words as a sentence-transformers model; returns its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding

    weights = np.random.default_rng(7).normal(size=(len(words) + 1, dimensions)).astype(np.float32)
    module = StaticEmbedding(_word_tokenizer(("[UNK]", *words)), embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder), create_model_card=False)
    return str(folder)


def cross_encoder(folder: pathlib.Path, words: tuple[str, ...] = WORDS, labels: int = 1) -> str:
    """Save a randomly initialised BERT of one layer that scores pairs of texts; returns its folder."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = _word_tokenizer((*special.values(), *words))
    _add_pair_template(tokenizer)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words) + len(special),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=1,
        num_labels=labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
    return str(folder)


def _word_tokenizer(vocabulary):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _add_pair_template(tokenizer):
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
