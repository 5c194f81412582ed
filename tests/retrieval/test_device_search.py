"""Exact search by torch finds what FAISS finds; on a GPU where there is one, else on the processor as its device."""

import collections
import contextlib
import os
import sys
import tempfile
import weakref

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_retrieve import make, searched, write_clusters
from test_retrieve import settings as params_of

from gangue.pipeline import params
from gangue.transforms import at_hand, text
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import block_search, device_search, devices, index_parts, protocol
from gangue.transforms.retrieval.dense import DenseRetriever
from gangue.transforms.retrieval.searching import search
from gangue.transforms.running import workers

CPU = torch.device("cpu")
DEVICE = torch.device("cuda:0") if torch.cuda.is_available() else CPU


def write(data, dataset, vectors, missing, shards=1):
    """Vectors in shards of like size; the memory of those that are missing holds what is no number."""
    vectors = np.where(missing[:, None], np.resize(np.float32([np.nan, np.inf, -np.inf]), vectors.shape), vectors)
    for name, rows in zip(shard_names(shards), np.array_split(np.arange(len(vectors)), shards), strict=True):
        flat, d = pa.array(vectors[rows].reshape(-1)), vectors.shape[1]
        column = pa.FixedSizeListArray.from_arrays(flat, d, mask=pa.array(missing[rows]))
        hashes = text.hashes([str(row) for row in rows])
        data.write(dataset, name, pa.table([hashes, column], schema=schema.vectors(d)), suffix=".arrow")
    data.commit(dataset)


@st.composite
def searches(draw):
    """Documents and queries with ties, copies, and rows that have no vector; what is allowed, and the depth."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    documents, queries, d = (
        draw(st.sampled_from([300, 80, 300, 9, 1])),
        draw(st.integers(1, 8)),
        draw(st.sampled_from([1, 3, 17])),
    )
    spread = draw(st.sampled_from([None, 2, 1, None, 0]))  # of whole numbers: few, so that scores tie; None: real ones
    shapes = (documents, d), (queries, d)
    given = [rng.normal(size=s) if spread is None else rng.integers(-spread, spread + 1, s) for s in shapes]
    missing = [rng.random(n) < draw(st.sampled_from([0.3, 0, 0.3, 0, 1])) for n in (documents, queries)]
    allowed = rng.random(documents) < draw(st.sampled_from([1, 0.5, 1, 0.5, 0]))
    return *(np.float32(vectors) for vectors in given), *missing, allowed, draw(st.sampled_from([5, 1, 5, 80]))


def cuts():
    """Shards, documents of a block, scores at once, devices."""
    return st.tuples(
        st.integers(1, 4), st.sampled_from([1000, 50, 7]), st.sampled_from([1, 40, 1 << 20]), st.integers(1, 3)
    )


@settings(max_examples=1000 if "GANGUE_WHOLE" in os.environ else 30)
@given(searches(), cuts())
def test_hits_are_those_of_faiss(drawn, cut):
    documents, queries, gone, gone_queries, allowed, depth = drawn
    shards, rows, product, count = cut
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        data = Data(folder)
        ids = [f"d{hash((row, 7)) % 10**9}-{row}" for row in range(len(documents))]
        same = ["" if row % 5 == 4 else f"text {row}" for row in range(len(documents))]
        columns = [ids, [""] * len(ids), same, text.hashes(same), ids]
        data.write("documents", shard_names(1)[0], pa.table(columns, schema=schema.DOCUMENTS))
        data.commit("documents")
        write(data, "vectors/e/documents", documents, gone, min(shards, len(documents)))
        write(data, "vectors/e/queries", queries, gone_queries)
        at_hand.forget()
        retriever, asked = DenseRetriever(data, "e"), np.arange(len(queries))
        expected = search(data, retriever, asked, asked, depth, allowed)
        patch.setattr(devices, "PAIRS", 0)
        patch.setattr(devices, "found", lambda: (DEVICE,) * count)
        patch.setattr(device_search, "_BLOCK_BYTES", 4 * documents.shape[1] * rows)
        patch.setattr(device_search, "_PRODUCT", product)
        patch.setattr(block_search, "search", None)
        for _ in range(3):  # the second keeps what the third uses
            found = search(data, retriever, asked, asked, depth, allowed)
            for name in ("query", "document", "score"):
                one, other = getattr(expected, name), getattr(found, name)
                assert one.dtype == other.dtype
                assert one.tobytes() == other.tobytes(), name
            patch.setattr(device_search, "_half_free", lambda device: True)
        at_hand.forget()


def test_a_stage_writes_the_same_files(tmp_path, monkeypatch):
    data, *_ = make(tmp_path, documents=300, copies=40)
    p, files = params_of(depth=20, max_depth=80, negatives=40), []
    for there, most in ((), None), ((DEVICE, DEVICE), None), ((DEVICE,), 90):
        monkeypatch.setattr(devices, "PAIRS", 0)
        monkeypatch.setattr(devices, "found", lambda there=there: there)
        monkeypatch.setattr(device_search, "_BLOCK_BYTES", 4 * 16 * 64)
        searched(data, p.model_copy(update={"beam": params.Beam(documents_per_range=most)}), "dense")
        files.append({path.name: path.read_bytes() for path in (tmp_path / "candidates" / "dense").glob("part-*")})
    assert files[0] == files[1] == files[2] != {}


def test_memory_is_that_of_two_blocks_and_some_scores_however_many_documents_there_are(tmp_path, monkeypatch):
    data, *_ = make(tmp_path, documents=230, shards=3)
    monkeypatch.setattr(device_search, "_PRODUCT", 500)
    made, alive, products = [], [], []
    multiply, blocks = torch.addmm, device_search._Part._blocks

    def followed(part, searched):
        for start, block in blocks(part, searched):
            made.append(weakref.ref(block))
            alive.append(sum(each() is not None for each in made))
            yield start, block

    monkeypatch.setattr(device_search._Part, "_blocks", followed)
    monkeypatch.setattr(torch, "addmm", lambda *given: (products.append(multiply(*given)), products[-1])[1])
    part = device_search._Part(lookup.vectors(data, "vectors/e/documents"), CPU, 20, range(0, 230, 20))
    part.search(np.ones((50, 16), np.float32), 9, np.ones(230, bool))
    assert len(alive) == 12
    assert max(alive) <= 2
    assert {tuple(product.shape) for product in products} == {(25, 20), (25, 10)}


def test_blocks_are_shared_out_and_stay_only_where_there_is_room(tmp_path, monkeypatch):
    data, *_ = make(tmp_path, documents=100)
    monkeypatch.setattr(device_search, "_BLOCK_BYTES", 4 * 16 * 30)
    room = iter([True, False, True, True])
    monkeypatch.setattr(device_search, "_half_free", lambda device: next(room))
    whole, copied = lookup.vectors(data, "vectors/e/documents"), []
    copy = whole.copy
    monkeypatch.setattr(whole, "copy", lambda rows, into: (copied.append(int(rows[0])), copy(rows, into))[1])
    (one, other) = device_search._Documents(whole, [CPU, CPU])._parts
    assert list(one._starts), list(other._starts) == ([0, 60], [30, 90])
    searched = np.ones(100, bool)
    searched[30:60] = False
    for part in (one, one, other):
        part.search(np.ones((2, 16), np.float32), 5, searched)
    assert copied == [0, 60, 60, 90], "what stayed is not copied again, what nobody asks for not at all"


@pytest.mark.parametrize("before", ["highest", "high"])
def test_tf32_is_off_while_it_multiplies_and_as_it_was_afterwards(before):
    torch.set_float32_matmul_precision(before)
    try:
        with device_search._full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="a torch with one setting only")
def test_tf32_that_was_set_by_torch_s_newer_setting_is_off_as_well():
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    try:
        with device_search._full_precision():
            assert matmul.fp32_precision == "ieee"
            assert not matmul.allow_tf32
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_torch_is_loaded_only_where_there_is_a_driver(monkeypatch):
    monkeypatch.setattr(devices, "_DRIVERS", ("/dev/null",))
    assert devices.found() == tuple(torch.device("cuda", i) for i in range(torch.cuda.device_count()))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError):
        devices.found()
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert devices.found() == ()
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    monkeypatch.setattr(devices, "_DRIVERS", ("/dev/no such driver",))
    assert devices.found() == ()


def test_a_device_without_memory_is_an_error_with_a_cure(tmp_path, monkeypatch):
    data, *_ = make(tmp_path)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")

    monkeypatch.setattr(device_search._Part, "search", full)
    whole = lookup.vectors(data, "vectors/e/documents")
    with pytest.raises(ValueError, match=r"some 640 MiB.*allocate 2.00 GiB. End what .*CUDA_VISIBLE_DEVICES= gangue"):
        device_search.search(whole, (CPU,), np.ones((3, 16), np.float32), 5, np.ones(200, bool))


@pytest.mark.parametrize(
    ("index", "accelerator", "pairs", "asks"),
    [("Flat", "type:gpu;count:1", 0, True), ("Flat", None, 0, False), ("Flat", "type:gpu;count:1", 1 << 25, False),
     ("IVF4,Flat", "type:gpu;count:1", 0, False)],
)  # fmt: skip
def test_a_search_asks_for_a_device_where_that_helps(tmp_path, monkeypatch, index, accelerator, pairs, asks):
    data, *_ = make(tmp_path)
    write_clusters(data, 4)
    monkeypatch.setattr(devices, "PAIRS", pairs)
    p = params_of(index=index)
    p = p.model_copy(update={"beam": params.Beam(cluster="tcp://nowhere:1", accelerator=accelerator)})
    asked = collections.defaultdict(list)

    def submit(work, element, resources):
        asked[element].append(resources)

    monkeypatch.setattr(workers, "started", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(workers, "submit", submit)
    searched(data, p, "dense")
    assert asked.pop("recall") == [{}]
    for built in ("IVF4,Flat", *index_parts.parts("IVF4,Flat", 200)):
        assert asked.pop(built, [{}]) == [{}]
    assert list(asked.values()) == [[{"gpu": 1.0} if asks else {}]]
    assert not protocol.accelerated(p.retrievers["bm25"], data, 1 << 30)
