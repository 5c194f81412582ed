"""What tells an unlabelled positive from a negative: features of (query, document) pairs.

A known positive is described as if nobody knew it: it is *left out* of whatever a feature says of the query's
positives, and is one more of its unlabelled candidates. When examples are made, a candidate's description leaves out a
positive of its query in the same way. So no feature of an example tells its label, and a model meets what it will
judge: positives that nobody labelled.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg  # here, not where it is used: a limit on the threads of a BLAS holds for what is loaded
import scipy.sparse

from gangue.transforms import arrays

_CROWD = 20  # best candidates of a query that a document is compared with
_RIDGE = 0.3  # of the ridge regression within a query
_WIDTH = 2.0  # of its kernel exp(width (cosine - 1))
_KEPT = 1 << 24  # numbers of the ridges of a shard that are kept to be used again
_EXPANDED = 1 << 18  # (pair, other query) rows at a time
_ANSWERED = 1 << 15  # (pair, positive) rows at a time, with all their words


@dataclasses.dataclass(frozen=True)
class Labels:
    """All known positives: (l,) query rows and (l,) document rows, sorted by document.

    ``of_query``: (queries, documents) the same, 1 where a document is a positive of a query.
    """

    query: np.ndarray
    document: np.ndarray
    of_query: scipy.sparse.csr_matrix

    @staticmethod
    def of(query: np.ndarray, document: np.ndarray, queries: int, documents: int) -> Labels:
        """The labels in their order; ``queries``, ``documents``: how many rows there are."""
        order = np.lexsort((query, document))
        return Labels(query[order], document[order], _ones(query, document, queries, documents))


def _ones(row: np.ndarray, column: np.ndarray, rows: int, columns: int) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), (rows, columns))


def standardised(
    query: np.ndarray, values: np.ndarray, unlabelled: np.ndarray, partner: np.ndarray, queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) distance of each value from the mean of its query's unlabelled pairs, in their deviations; (n,) these.

    Args:
      query: (n,).   values: (n,), NaN where there is none.   unlabelled: (n,) bool.   queries: how many.
      partner: (n,) which labelled pair, itself or another, is one of the unlabelled for this one, -1 for none.

    >>> values, unlabelled = np.array([1.0, 3.0, 5.0]), np.array([True, True, False])
    >>> standardised(np.zeros(3, int), values, unlabelled, np.array([-1, -1, -1]), 1)[0].tolist()
    [-1.0, 1.0, 3.0]
    >>> standardised(np.zeros(3, int), values, unlabelled, np.array([2, -1, 2]), 1)[0].round(2).tolist()
    [-1.22, 1.0, 1.22]
    """
    counted = unlabelled & np.isfinite(values)
    group, value = query[counted], values[counted]
    count = np.bincount(group, minlength=queries)
    mean = np.bincount(group, value, minlength=queries) / np.maximum(count, 1)
    squares = np.bincount(group, (value - mean[group]) ** 2, minlength=queries).astype(np.float64)  # of nothing: int
    count, mean, squares = count[query], mean[query], squares[query]
    some = np.flatnonzero(partner >= 0)
    some = some[np.isfinite(values[partner[some]])]
    distance = values[partner[some]] - mean[some]
    squares[some] += distance**2 * count[some] / (count[some] + 1)
    mean[some] += distance / (count[some] + 1)
    count[some] += 1
    deviation = np.sqrt(squares / np.maximum(count, 1))
    deviation[deviation < 1e-9] = 1.0
    return (values - mean) / deviation, deviation


def gap(
    query: np.ndarray,
    scores: np.ndarray,
    left_out: np.ndarray,
    positive_query: np.ndarray,
    positive_scores: np.ndarray,
    queries: int,
) -> np.ndarray:
    """(n,) score minus the mean score of the query's positives but the one left out; NaN where none is left.

    >>> gap(np.array([0, 0]), np.array([0.5, 0.25]), np.array([0, -1]), np.array([0]), np.array([0.75]), 1).tolist()
    [nan, -0.5]
    """
    scored = np.isfinite(positive_scores)
    value = np.where(scored, positive_scores, 0.0)
    total = np.bincount(positive_query, value, minlength=queries).astype(np.float64)[query]  # of nothing: int
    count = np.bincount(positive_query, scored, minlength=queries).astype(np.float64)[query]
    some = np.flatnonzero(left_out >= 0)
    total[some] -= value[left_out[some]]
    count[some] -= scored[left_out[some]]
    return scores - np.where(count > 0, total / np.maximum(count, 1), np.nan)


def neighbourhood(
    query: np.ndarray,
    document: np.ndarray,
    left_out: np.ndarray,
    itself: np.ndarray,
    strength: np.ndarray,
    positive_query: np.ndarray,
    positive: np.ndarray,
    query_vectors: np.ndarray,
    vectors: np.ndarray,
    ridges: dict[int, Ridge] | None = None,
) -> dict[str, np.ndarray]:
    """How the documents of a query lie to each other and to its positives, under one encoder.

    Args:
      query: (n,) query number, ascending.   document: (n,) place of each pair's document in ``vectors``.
      left_out: (n,) which positive nobody knows, -1 for none.   itself: (n,) which positive the pair is, -1 if none.
      strength: (n,) orders a query's candidates, higher first.
      positive_query: (p,) ascending.   positive: (p,) place in ``vectors``.
      query_vectors: (q, d), vectors: (v, d) float32, of length one; zeros where there is none.
      ridges: keeps the ridge of each query, by its number, as far as there is room for them.

    Returns:
      ``nearest``, ``mean``: (n,) highest and mean cosine to the positives but the one left out, NaN without any.
      ``mutual``: (n,) share of the query's candidates that the document is more alike to than to its nearest positive,
      NaN without any.
      ``crowd``: (n,) mean cosine to the best candidates of the query, the positive left out among them.
      ``neighbours``: (n,) what the labels of the query's other pairs, and the query itself as one more positive,
      say of this one: kernel ridge regression, each pair predicted without itself, and the positive left out
      taken for an unlabelled one, so that a positive and a candidate are described alike.
    """
    n = len(query)
    result = {name: np.full(n, np.nan) for name in ("nearest", "mean", "mutual", "crowd", "neighbours")}
    pairs = arrays.offsets_of(query, len(query_vectors))
    positives = arrays.offsets_of(positive_query, len(query_vectors))
    room = _KEPT
    for number in np.flatnonzero(np.diff(pairs)):  # one call of BLAS for each query
        here, own = slice(*pairs[number : number + 2]), slice(*positives[number : number + 2])
        given, free = vectors[document[here]], itself[here] < 0
        if own.stop > own.start:
            cosines = given @ vectors[positive[own]].T
            known = np.ones(cosines.shape, bool)
            some = np.flatnonzero(left_out[here] >= 0)
            known[some, left_out[here][some] - own.start] = False
            count = known.sum(axis=1)
            highest = np.where(known, cosines, -np.inf).max(axis=1)
            result["nearest"][here] = np.where(count > 0, highest, np.nan)
            total = np.where(known, cosines, 0.0).sum(axis=1)
            result["mean"][here] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        alike = given @ given.T
        if own.stop > own.start:
            above = alike > highest[:, None]
            nearer = (
                np.count_nonzero(above, axis=1) - np.count_nonzero(above[:, ~free], axis=1) - (free & np.diag(above))
            )
            result["mutual"][here] = np.where(count > 0, nearer / np.maximum(free.sum() - free, 1), np.nan)
        best = np.flatnonzero(free)[np.argsort(-strength[here][free], kind="stable")[:_CROWD]]
        pair_of = np.full(own.stop - own.start + 1, -1)  # the last one is for nothing left out
        pair_of[itself[here][~free] - own.start] = np.flatnonzero(~free)
        partner = pair_of[np.where(left_out[here] >= 0, left_out[here] - own.start, -1)]
        result["crowd"][here] = _crowd(alike, best, partner)
        ridge = Ridge.among(alike, given @ query_vectors[number])
        result["neighbours"][here] = ridge.left_out(~free, partner)
        room -= ridge.inverse.size
        if ridges is not None and room >= 0:
            ridges[int(number)] = ridge
    return result


def _crowd(alike: np.ndarray, best: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """(n,) mean of each row of (n, n) cosines at the columns ``best`` and its partner's, if any, but not its own."""
    counted = np.zeros(len(alike), bool)
    counted[best] = True
    total = alike[:, best].sum(axis=1) - np.where(counted, np.diag(alike), 0.0)
    count = len(best) - counted.astype(np.int64)
    joined = np.flatnonzero((partner >= 0) & ~counted[partner] & (partner != np.arange(len(alike))))
    total[joined] += alike[joined, partner[joined]]
    count[joined] += 1
    return total / np.maximum(count, 1)


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Kernel ridge regression among the documents of a query, and the query itself as one more, of label 1.

    ``inverse``: (n + 1, n + 1) upper half of the inverse of the kernel and its ridge; the query comes last.
    """

    inverse: np.ndarray

    @staticmethod
    def among(alike: np.ndarray, asked: np.ndarray) -> Ridge:
        """Of (n, n) cosines of the documents, of the float type to compute in, and (n,) cosines to the query."""
        n = len(alike)
        kernel = np.empty((n + 1, n + 1), alike.dtype)
        kernel[:n, :n], kernel[:n, n], kernel[n, :n], kernel[n, n] = alike, asked, asked, 1.0
        np.exp(_WIDTH * (kernel - 1.0), out=kernel)
        kernel[np.diag_indices(n + 1)] += _RIDGE
        return Ridge(_upper_inverse(kernel))

    def left_out(self, labels: np.ndarray, partner: np.ndarray) -> np.ndarray:
        """(n,) predictions of the labels, each without its own, and with its partner's as 0.

        Args:
          labels: (n,) from 0 to 1.   partner: (n,) another document to take for unlabelled, or itself or -1 for none.
        """
        n, inverse = len(labels), self.inverse
        target = np.append(labels, 1.0).astype(inverse.dtype)
        times = scipy.linalg.get_blas_funcs("symv", (inverse,))
        own, error = np.diag(inverse)[:n], times(1.0, inverse, target)[:n]
        two = np.flatnonzero((partner >= 0) & (partner != np.arange(n)))
        other = partner[two]
        error[two] -= inverse[np.minimum(two, other), np.maximum(two, other)] * target[other]
        return np.asarray(target[:n] - error / own)


def _upper_inverse(matrix: np.ndarray) -> np.ndarray:
    """Upper half of the inverse of a symmetric positive definite matrix, by Cholesky: a third of any other's work."""
    factor, invert = scipy.linalg.get_lapack_funcs(("potrf", "potri"), (matrix,))
    upper, _ = factor(matrix)
    inverse, _ = invert(upper)
    return np.asarray(inverse)


def shared_words(
    query: np.ndarray,
    document: np.ndarray,
    left_out: np.ndarray,
    positive_query: np.ndarray,
    positive: np.ndarray,
    query_tokens: scipy.sparse.csr_matrix,
    tokens: scipy.sparse.csr_matrix,
) -> dict[str, np.ndarray]:
    """How many words a document shares with its query and with the query's positives, rare ones counting more.

    Args:
      query, document, left_out, positive_query, positive: as for ``neighbourhood``.
      query_tokens: (q, v), tokens: (documents, v); an inner product of two rows is the weight of what they share.

    Returns:
      ``asked``: (n,) share of the query's words that the document holds.
      ``answered``: (n,) share of the document's words that the query holds.
      ``overlap``: (n,) highest share in common with a positive but the one left out (Jaccard), NaN without any.
    """
    mass, query_mass = (np.asarray(m.multiply(m).sum(axis=1)).ravel() for m in (tokens, query_tokens))
    given, known = tokens[document], tokens[positive]
    shared = np.asarray(given.multiply(query_tokens[query]).sum(axis=1)).ravel()
    pairs, positives = (arrays.offsets_of(of, len(query_mass)) for of in (query, positive_query))
    overlap = np.zeros(len(query))
    for first, stop in _cut(np.diff(pairs) * np.diff(positives), _ANSWERED):
        here, own = slice(pairs[first], pairs[stop]), slice(positives[first], positives[stop])
        row, column, common = _common(given[here], known[own], pairs[first : stop + 1], positives[first : stop + 1])
        counted = column + own.start != left_out[here][row]
        row, column, common = row[counted] + here.start, column[counted] + own.start, common[counted]
        whole = mass[document[row]] + mass[positive[column]] - common
        np.maximum.at(overlap, row, common / np.maximum(whole, 1e-12))
    overlap[np.diff(positives)[query] <= (left_out >= 0)] = np.nan
    return {
        "asked": shared / np.maximum(query_mass[query], 1e-12),
        "answered": shared / np.maximum(mass[document], 1e-12),
        "overlap": overlap,
    }


def _cut(sizes: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges, first and stop, of what together has about so much of (n,) sizes; all but empty ones."""
    edges = np.append(np.flatnonzero(np.diff(np.cumsum(sizes) // most, prepend=-1)), len(sizes))
    for first, stop in itertools.pairwise(edges.tolist()):
        if sizes[first:stop].any():
            yield first, stop


def _common(
    given: scipy.sparse.csr_matrix, known: scipy.sparse.csr_matrix, pairs: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of the inner products of documents and positives of the same query that are not 0.

    A word is a column of its own in every query, so that one product of matrices does not join different queries.

    Args:
      given: (n, v) documents, known: (p, v) positives.   pairs, positives: (q + 1,) where those of each query begin.
    """
    pairs, positives = given.indptr[pairs - pairs[0]], known.indptr[positives - positives[0]]
    of_given, of_known = np.zeros(given.nnz, np.int32), np.zeros(known.nnz, np.int32)  # column 0: of no positive
    column = np.zeros(given.shape[1], np.int32)
    for number in np.flatnonzero((np.diff(pairs) > 0) & (np.diff(positives) > 0)):
        here, own = slice(*pairs[number : number + 2]), slice(*positives[number : number + 2])
        words = known.indices[own]
        column[words] = np.arange(own.start + 1, own.stop + 1)
        of_known[own], of_given[here] = column[words], column[given.indices[here]]
        column[words] = 0
    one, other = (
        scipy.sparse.csr_matrix((of.data, columns, of.indptr), (of.shape[0], known.nnz + 1))
        for of, columns in ((given, of_given), (known, of_known))
    )
    product = (one @ other.T).tocoo()
    return product.row, product.col, product.data


def shared_labels(
    query: np.ndarray,
    document: np.ndarray,
    left_out: np.ndarray,
    own: tuple[np.ndarray, np.ndarray],
    labels: Labels,
    query_vectors: Callable[[np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """Of which other queries is the document a known positive, and how near are they?

    Args:
      query, document: (n,) rows of each pair.
      left_out: (n,) row of the query's positive that nobody knows, -1 for none.
      own: (p,) rows of these queries and (p,) of their positives that are known now.
      labels: known positives of all queries, for the others.
      query_vectors: (m,) rows -> (m, d) vectors of these queries, of length one, of any float type.

    Returns:
      ``asked``: (n,) highest cosine between the query and another of which the document is a positive, NaN without.
      ``answers``: (n,) log(1 + such queries).
      ``shared``: (n,) log(1 + those of them that share another positive with the query than the one left out).
    """
    n = len(query)
    nearest, answers, shared = np.full(n, -np.inf), np.zeros(n), np.zeros(n)
    asking, (place, own_place) = arrays.places(query, own[0])
    mine = _ones(own_place, own[1], len(asking), labels.of_query.shape[1])
    first, stop_at = (np.searchsorted(labels.document, document, side) for side in ("left", "right"))
    sizes = stop_at - first
    for start, stop in _cut(sizes, _EXPANDED):
        member = arrays.runs(first[start:stop], sizes[start:stop])
        position, other = np.repeat(np.arange(start, stop), sizes[start:stop]), labels.query[member]
        foreign = other != query[position]
        position, other = position[foreign], other[foreign]
        np.maximum.at(nearest, position, _cosines(query_vectors, query[position], other))
        answers += np.bincount(position, minlength=n)
        common = np.asarray(mine[place[position]].multiply(labels.of_query[other]).sum(axis=1)).ravel()
        some = np.flatnonzero(left_out[position] >= 0)
        if some.size:
            common[some] -= np.asarray(labels.of_query[other[some], left_out[position[some]]]).ravel()
        shared += np.bincount(position, common > 0, minlength=n)
    return {
        "asked": np.where(np.isfinite(nearest), nearest, np.nan),
        "answers": np.log1p(answers),
        "shared": np.log1p(shared),
    }


def _cosines(vectors: Callable[[np.ndarray], np.ndarray], one: np.ndarray, other: np.ndarray) -> np.ndarray:
    result = np.empty(len(one))
    for start in range(0, len(one), 1 << 13):  # what is gathered fits the processor's cache
        here = slice(start, start + (1 << 13))
        rows, (left, right) = arrays.places(one[here], other[here])
        found = vectors(rows)
        result[here] = np.einsum("nd,nd->n", found[left], found[right])
    return result
