"""Fixtures: the real data sets, where they are at hand."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import elsewhere
import fsspec
import pytest
from hypothesis import settings

settings.register_profile("gangue", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("gangue")


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    own |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                with socket.socket() as asked:
                    if not asked.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            fsspec.filesystem("s3", use_listings_cache=False).mkdir("gangue")
            yield "s3://gangue"
        finally:
            server.kill()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
