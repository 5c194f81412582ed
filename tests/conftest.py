"""Fixtures: the real data sets, where they are at hand."""

from __future__ import annotations

import gc
import os
import pathlib
from collections.abc import Callable, Iterator

import elsewhere
import pytest
import stores
from hypothesis import settings

from gangue.transforms.models import libraries

settings.register_profile("gangue", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("gangue")

gc.disable()  # to look for garbage in what loads takes a fifth of the time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long forms, of what shorter tests hold already, are for ``make soak``."""
    if "GANGUE_WHOLE" not in os.environ:
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="minutes; make soak runs it"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """As the command does: what is loaded stays, and no collection goes through it again; a stage ends with one."""
    if hasattr(session.config, "workerinput"):  # one of several processes that run all tests: some need these
        libraries.load()
    gc.freeze()
    gc.enable()


@pytest.fixture
def shared_data() -> Callable[[str], pathlib.Path]:
    """Folder of a real data set, below $GANGUE_SHARED_DATA or beside the repository; skips without it."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    root = pathlib.Path(os.environ.get("GANGUE_SHARED_DATA", beside))

    def folder(name: str) -> pathlib.Path:
        if not (root / name).is_dir():
            pytest.skip(f"no data set {name}: set GANGUE_SHARED_DATA to the folder that has it")
        return root / name

    return folder


@pytest.fixture(scope="session")
def whole_job(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a job with everything in it, mined in this process alone."""
    return elsewhere.whole_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An S3 server on this machine, and a bucket on it: ``s3://gangue``."""
    with stores.s3() as root:
        yield root


@pytest.fixture(scope="session")
def gs() -> Iterator[str]:
    """The same of Google's; skips without its program."""
    with stores.gs() as root:
        yield root


@pytest.fixture(scope="session")
def azure() -> Iterator[str]:
    """The same of Azure's; skips without its program."""
    with stores.azure() as root:
        yield root
