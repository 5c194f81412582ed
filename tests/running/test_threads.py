"""Elements side by side in threads of one process, in any order, after any other stage: the same bytes."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import time

import jobs
import numpy as np
import pytest
import threadpoolctl
import torch
from elsewhere import assert_same, mined
from fsspec.implementations.memory import MemoryFileSystem

from gangue.pipeline import params
from gangue.transforms import at_hand
from gangue.transforms.datasets import disk
from gangue.transforms.models import cross_encoder
from gangue.transforms.running import process_wide, workers


class InAnyOrder(concurrent.futures.ThreadPoolExecutor):
    """Four threads that begin what they are given in another order each time."""

    def submit(self, work, *given):
        """Wait for some milliseconds first."""
        wait = random.random() / 50
        return super().submit(lambda: (time.sleep(wait), work(*given))[1])


@contextlib.contextmanager
def threads(*_):
    """In the place of ``workers.started``."""
    with InAnyOrder(4) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_pool", pool)
        yield


def test_a_job_of_four_threads_has_the_bytes_of_one(whole_job, monkeypatch):
    monkeypatch.setattr(workers, "started", threads)
    in_ranges = json.loads((whole_job / "params.yaml").read_text()) | {"beam": {"documents_per_range": 20}}
    (whole_job / "in ranges.yaml").write_text(json.dumps(in_ranges))
    for name, file in (("threads", "params.yaml"), ("threads again", "in ranges.yaml")):  # each stage after any other
        mined(whole_job, name, file)
        assert_same(whole_job, name)


def test_blas_has_one_thread_in_whatever_thread_and_its_own_afterwards():
    def blas(wait):
        with process_wide.one_blas_thread():
            time.sleep(wait)
            return {
                library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"
            }

    np.ones((2, 2)) @ np.ones((2, 2))
    before = threadpoolctl.threadpool_info()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(blas, [0.05, 0.01, 0.03, 0.0])) == [{1}] * 4
    assert blas(0) == {1}
    assert threadpoolctl.threadpool_info() == before


def test_what_is_seeded_draws_alike_and_leaves_the_generators_of_others_alone():
    def draws():
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    expected = draws(), draws()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    first = draws()
    threads_before = torch.get_num_threads()
    with process_wide.seeded(3):
        inside = draws()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads_before
    assert (first, draws()) == expected
    with process_wide.seeded(3):
        assert draws() == inside


def test_what_two_threads_seed_at_once_is_undone():
    def seeded():
        with process_wide.seeded(4):
            random.random()

    before = random.getstate()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with process_wide.seeded(3):
            other = pool.submit(seeded)
            time.sleep(0.1)
        other.result()
    assert random.getstate() == before


def test_what_is_taught_does_not_depend_on_the_number_of_threads(tmp_path):
    jobs.write(tmp_path)
    texts = [f"alpha {i} beta" for i in range(40)]
    before = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        output = tmp_path / f"model-{count}"
        cross_encoder.teach(
            str(tmp_path / "cross_encoder"), texts, texts[::-1], np.arange(40) % 2,
            layers=1, max_length=16, epochs=1, batch_size=8, learning_rate=1e-3, seed=3,
            output=str(output), checkpoint=str(tmp_path / f"checkpoint-{count}"),
        )  # fmt: skip
        found.append((output / "model.safetensors").read_bytes())
    torch.set_num_threads(before)
    assert found[0] == found[1]


def test_what_threads_ask_for_at_once_is_made_once_and_is_the_same():
    made = []

    @at_hand.keep
    def slow(name):
        made.append(name)
        time.sleep(0.05)
        return object()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(slow, "abab" * 4))
    assert sorted(made) == ["a", "b"]
    assert len(set(map(id, found))) == 2
    at_hand.forget()
    assert slow("a") is not found[0]


def test_what_one_command_has_at_hand_is_not_dropped_under_it_by_another():
    made, events = at_hand.keep(lambda name: object()), []

    def other():
        with at_hand.working("other"):
            events.append("other begins")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with at_hand.working("one"):
            before = made("file")
            waiting = pool.submit(other)
            time.sleep(0.1)
            with at_hand.working("one") as another:
                assert not another
            assert made("file") is before
            events.append("one ends")
        waiting.result()
    assert events == ["one ends", "other begins"]
    assert made("file") is not before


def test_what_could_not_be_made_is_made_by_who_asks_next():
    tries = []

    @at_hand.keep
    def fails_once(name):
        tries.append(name)
        if len(tries) == 1:
            raise OSError("not yet")
        return len(tries)

    with pytest.raises(OSError, match="not yet"):
        fails_once("a")
    assert [fails_once("a"), fails_once("a")] == [2, 2]


def test_threads_copy_from_afar_into_a_folder_that_stays(tmp_path):
    """The folder of copies is made by the first of them, and no other one's goes with its last user."""
    filesystem = MemoryFileSystem()
    for number in range(8):
        filesystem.pipe_file(f"{tmp_path}/{number}", b"content")
    for _ in range(20):
        at_hand.forget()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            copies = list(pool.map(lambda number: disk.local_copy(f"memory:/{tmp_path}/{number}"), range(8)))
        assert {pathlib.Path(copy).read_bytes() for copy in copies} == {b"content"}
        assert len({pathlib.Path(copy).parents[1] for copy in copies}) == 1


def counted(_):
    """How many threads the libraries of this process use, by themselves and by what the environment says."""
    np.ones((2, 2)) @ np.ones((2, 2))
    of_libraries = {library["num_threads"] for library in threadpoolctl.threadpool_info()}
    return max(of_libraries), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("said", [None, "3"])
def test_workers_share_the_cores_unless_the_user_says_how_many_threads_each_has(monkeypatch, said):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(workers, "_cores", lambda: 4)
    with workers.started("test", params.Beam(workers=2), None):
        of_libraries, of_torch, environment = workers.submit(counted, None).result()
    assert environment == (said or "2")
    if not said:  # else they were told before they were loaded
        assert (of_libraries, of_torch) == (2, 2)
