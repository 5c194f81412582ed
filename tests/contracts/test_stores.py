"""Every store that datasets may be in does what they need of it."""

import os
import sys

import pytest
import store
from fsspec.implementations.memory import MemoryFileSystem

from gangue.transforms.datasets.storage import Data

CUT = store.Cut()


@pytest.fixture(params=["folder", "memory", "s3", "gs", "azure"])
def data(request, tmp_path):
    if request.param == "folder":
        return Data(str(tmp_path))
    return Data(f"{'memory:/' if request.param == 'memory' else request.getfixturevalue(request.param)}{tmp_path}")


def audit(event, arguments):
    """Of Python itself: whatever changes a local file, however deep."""
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if CUT.left != float("inf") and (writes or event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir")):
        CUT.step()


@pytest.fixture(scope="session")
def audited():
    sys.addaudithook(audit)  # for ever: there is no way to take it back


@pytest.fixture
def cut(data, monkeypatch, request):
    """Counts what the store's client sends, but what only reads."""

    def counted(owner, name, changes):
        original = getattr(owner, name)

        def sent(self, *arguments, **settings):
            if changes(*arguments):
                CUT.step()
            return original(self, *arguments, **settings)

        monkeypatch.setattr(owner, name, sent)

    kind = data.root.partition(":")[0]
    if data.local:
        request.getfixturevalue("audited")
    elif kind == "memory":
        for name in ("cp_file", "pipe_file", "rm_file", "rmdir", "makedirs"):
            counted(MemoryFileSystem, name, lambda *_: True)
    elif kind == "s3":
        import s3fs

        counted(s3fs.S3FileSystem, "_call_s3", lambda method, *_: not method.startswith(("get_", "head_", "list_")))
    elif kind == "gs":
        import gcsfs

        counted(gcsfs.GCSFileSystem, "_call", lambda method, *_: method != "GET")
    else:
        from azure.core.pipeline.transport import AioHttpTransport

        counted(AioHttpTransport, "send", lambda sent: sent.method not in ("GET", "HEAD"))
    return CUT


@pytest.mark.parametrize("check", store.CHECKS, ids=lambda check: check.__name__)
def test_a_store(data, cut, check):
    check(data, cut)
