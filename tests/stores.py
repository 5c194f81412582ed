"""Object stores on this machine: servers that speak a store's protocol, each with the bucket ``gangue``."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import fsspec
import pytest


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def listening(command, port, environment):
    """A server, once it answers; what its clients need to know is in the environment until it ends."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                with socket.socket() as asked:
                    if not asked.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            yield
        finally:
            server.kill()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def s3():
    """moto."""
    port = free_port()
    own = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    own |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    with listening([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, own):
        fsspec.filesystem("s3", use_listings_cache=False).mkdir("gangue")
        yield "s3://gangue"


@contextlib.contextmanager
def gs():
    """fake-gcs-server: ``go install github.com/fsouza/fake-gcs-server@latest``."""
    program, port = found("fake-gcs-server", "GANGUE_FAKE_GCS", "gcsfs"), free_port()
    own = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    own |= {"GOOGLE_CLOUD_PROJECT": "any"}
    command = [program, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-public-host", f"127.0.0.1:{port}", "-external-url", own["STORAGE_EMULATOR_HOST"]]
    with listening(command, port, own):
        fsspec.filesystem("gs", use_listings_cache=False).mkdir("gangue")
        yield "gs://gangue"


@contextlib.contextmanager
def azure():
    """azurite: ``npm install azurite``."""
    program, port = found("azurite-blob", "GANGUE_AZURITE", "adlfs"), free_port()
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # of all azurites
    known = {"DefaultEndpointsProtocol": "http", "AccountName": "devstoreaccount1", "AccountKey": key}
    known["BlobEndpoint"] = f"http://127.0.0.1:{port}/devstoreaccount1"
    own = {"AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{name}={value}" for name, value in known.items())}
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        with listening([*command, "--location", folder], port, own):
            fsspec.filesystem("az", use_listings_cache=False).mkdir("gangue")
            yield "az://gangue"


def found(program, variable, client):
    """Path of a server's program; skips without it, or without its client."""
    path = os.environ.get(variable) or shutil.which(program)
    if path is None:
        pytest.skip(f"no {program}: put it on the PATH, or set {variable}")
    if importlib.util.find_spec(client) is None:
        pytest.skip(f"no {client}: pip install {client}")
    return path
