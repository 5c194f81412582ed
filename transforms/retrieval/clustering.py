"""Spherical k-means with FAISS."""

from __future__ import annotations

import numpy as np

from gangue.transforms.retrieval.faiss_setup import faiss


def train(vectors: np.ndarray, clusters: int, iterations: int, seed: int) -> np.ndarray:
    """Centroids of unit length.

    Args:
      vectors: (n, d) float32.   clusters: c; no more than n are made.   iterations: of Lloyd's algorithm.

    Returns:
      (min(c, n), d) float32.

    >>> train(np.eye(2, dtype=np.float32).repeat(40, axis=0), 2, 5, 1).round(3).sum(axis=1).tolist()
    [1.0, 1.0]
    """
    clusters = min(clusters, len(vectors))
    means = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=iterations,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, len(vectors)),
    )
    means.train(np.ascontiguousarray(vectors))
    return np.asarray(means.centroids)


def assign(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of each vector by inner product.

    Returns:
      (n,) int64 cluster, and (n,) float32 inner product with its centroid; -1 and NaN where a vector is not finite.
    """
    absent = ~np.isfinite(vectors).all(axis=1)
    cluster, similarity = nearest(np.nan_to_num(vectors), centroids)
    return np.where(absent, -1, cluster), np.where(absent, np.nan, similarity)


def nearest(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``assign`` where all vectors are finite: without a copy of them, so they may be memory-mapped."""
    similarity, cluster = faiss.knn(vectors, centroids, 1, metric=faiss.METRIC_INNER_PRODUCT)
    return cluster[:, 0], similarity[:, 0]


def second_nearest(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """(n,) the cluster next to each vector's own: ClusterNS's (arXiv 2305.09892) source of hard negatives.

    Args:
      vectors: (n, d) float32.   centroids: (c, d).

    Returns:
      -1 where a vector is not finite.

    Raises:
      ValueError: there is no second cluster.

    >>> second_nearest(np.float32([[1, 0.5]]), np.float32([[0, 1], [1, 0], [-1, 0]])).tolist()
    [0]
    """
    if len(centroids) < 2:
        raise ValueError(f"cluster.clusters must be >= 2 for a second nearest cluster, got {len(centroids)}")
    absent = ~np.isfinite(vectors).all(axis=1)
    _, cluster = faiss.knn(np.nan_to_num(vectors), centroids, 2, metric=faiss.METRIC_INNER_PRODUCT)
    return np.where(absent, -1, cluster[:, 1])
