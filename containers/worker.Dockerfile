# A worker of a Dask cluster, or its scheduler: docker build -f containers/worker.Dockerfile -t gangue .
FROM python:3.11-slim
WORKDIR /gangue
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir "$(grep '^torch==' requirements.lock)" && pip install --no-cache-dir -r requirements.lock
COPY gangue gangue
COPY pipeline pipeline
COPY transforms transforms
RUN pip install --no-cache-dir --no-deps .
