# Dataflow workers for steps that run a model, and for all others: Beam's harness, torch's CUDA build, the pinned rest.
# docker build -f containers/gpu.Dockerfile -t REGION-docker.pkg.dev/PROJECT/REPOSITORY/gangue:1 .
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

# torch brings CUDA in its wheels; the driver is the host's (install-nvidia-driver).
FROM python:3.11-slim-bookworm
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir --constraint /tmp/requirements.lock \
      --requirement /tmp/requirements.lock "apache-beam[gcp]" gcsfs "setuptools>=77" \
 && pip check
# Models of the job that are no package go here too, so that no worker fetches them:
# COPY models /models
ENTRYPOINT ["/opt/apache/beam/boot"]
