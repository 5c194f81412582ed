"""Spherical k-means with FAISS."""

from __future__ import annotations

import numpy as np

from gangue.transforms.retrieval.faiss_setup import faiss

_ROWS_AT_ONCE = 4096  # of vectors, and of the centroids beside them


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
    return np.where(absent, -1, cluster[:, 0]), np.where(absent, np.nan, similarity[:, 0])


def nearest(vectors: np.ndarray, centroids: np.ndarray, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroids of finite vectors by inner product: without a copy of them, so they may be memory-mapped.

    FAISS's last bits depend on its threads: one more than asked for is found, and compared again in float64.

    Args:
      vectors: (n, d) float32.   centroids: (c, d).   count: how many to find, at most c.

    Returns:
      (n, count) int64 clusters, nearest first, equal ones by number, and (n, count) float32 inner products.

    >>> nearest(np.float32([[1, 0.5]]), np.float32([[0, 1], [1, 0], [-1, 0]]), 2)[0].tolist()
    [[1, 0]]
    """
    clusters = np.empty((len(vectors), count), np.int64)
    similarities = np.empty((len(vectors), count), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        some = np.asarray(vectors[start : start + _ROWS_AT_ONCE])
        found = faiss.knn(some, centroids, min(count + 1, len(centroids)), metric=faiss.METRIC_INNER_PRODUCT)[1]
        exact = np.einsum("nd,nkd->nk", some, centroids[found], dtype=np.float64)
        order = np.lexsort((found, -exact))[:, :count]
        here = slice(start, start + len(some))
        clusters[here] = np.take_along_axis(found, order, axis=1)
        similarities[here] = np.take_along_axis(exact, order, axis=1)
    return clusters, similarities


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
    return np.where(absent, -1, nearest(np.nan_to_num(vectors), centroids, 2)[0][:, 1])
