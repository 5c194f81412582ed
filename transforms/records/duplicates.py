"""Which texts are nearly the same: MinHash over word trigrams, LSH band by band, connected components.

Words are those of ``words.separated``, so in a script without blanks the trigrams are of characters. Punctuation makes
no difference; symbols do: ``x < y`` is not ``x > y``.

The permutations are ``rensa``'s R-MinHash. 16 bands of 8 rows find a pair of Jaccard similarity 0.85 with
probability 0.99 and one of 0.7 with 0.6 (1 - (1 - s^8)^16; Leskovec et al., Mining of Massive Datasets, 3.4),
so thresholds well below 0.7 find only a part of their pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gangue.transforms import arrays, randomness, text
from gangue.transforms.datasets import sharding
from gangue.transforms.records import portions
from gangue.transforms.text import words

PERMUTATIONS = 128
BANDS = 16
_SEED = 13
_NEIGHBOURS = 3  # one stray row inside a bucket must not hide a pair
_EMPTY = np.uint32(2**32 - 1)  # R-MinHash of no words, in every place
_ROWS_AT_ONCE = 1024  # signatures leave rensa as Python integers: 4 MB each time
_PAIRS_AT_ONCE = 16384  # 2 x 8 MB of signatures
_KEYS_AT_ONCE = 65536


class Sketches(NamedTuple):
    """What tells which of t texts are near to each other; may be memory-mapped.

    Attributes:
      signatures: (t, 128) uint32, as ``signatures``.   bands: (16, t) uint64 hash of each band of these.
    """

    signatures: np.ndarray
    bands: np.ndarray

    @classmethod
    def of(cls, signatures: np.ndarray) -> Sketches:
        """Those of (t, 128) signatures."""
        width = PERMUTATIONS // BANDS
        bands = np.zeros((BANDS, len(signatures)), np.uint64)
        for band, keys in enumerate(bands):
            for column in range(band * width, (band + 1) * width):
                keys[:] = _mixed(keys, signatures[:, column].astype(np.uint64))
        return cls(signatures, bands)


def signatures(texts: pa.ChunkedArray[Any]) -> np.ndarray:
    """(n, 128) uint32 MinHash signatures over the word trigrams of normalised texts.

    A text of one or two words is one token; one without any matches nothing.

    >>> a, b, c = signatures(pa.chunked_array([["to be or not to be", "to be or not to", ""]]))
    >>> bool(0.5 < np.mean(a == b) < 1), bool((c == 2**32 - 1).all())
    (True, True)
    """
    import rensa

    tokens, offsets = _trigrams(texts)
    parts = []
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        cut = offsets[start : start + _ROWS_AT_ONCE + 1]
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            tokens[cut[0] : cut[-1]], (cut - cut[0]).astype(np.uint64), PERMUTATIONS, _SEED
        )
        parts.append(np.array(matrix.to_rows(), np.uint32).reshape(-1, PERMUTATIONS))
    return np.concatenate(parts) if parts else np.empty((0, PERMUTATIONS), np.uint32)


def _trigrams(texts: pa.ChunkedArray[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Token hashes (uint64) and (n + 1,) offsets: text i has ``tokens[offsets[i]:offsets[i + 1]]``."""
    array: Any = words.separated(texts.cast(pa.large_string()), symbols=True).combine_chunks()
    split = pc.split_pattern(array, " ")
    distinct = split.values.dictionary_encode()
    # The first eight bytes of each word's hash; each distinct word is hashed once.
    word_hashes = text.hash_numbers(text.hashes(str(word) for word in distinct.dictionary.to_pylist()))[:, 0]
    hashed = word_hashes[distinct.indices.to_numpy()]
    lengths = pc.list_value_length(split).to_numpy()
    lengths = np.where(pc.equal(array, pa.scalar("", pa.large_string())).to_numpy(zero_copy_only=False), 0, lengths)
    starts = split.offsets.to_numpy()[:-1]

    counts = np.where(lengths >= 3, lengths - 2, np.minimum(lengths, 1))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    first = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
    last = len(hashed) - 1
    length = np.repeat(lengths, counts)
    tokens = _mixed(np.zeros(len(first), np.uint64), hashed[first])
    for position in (1, 2):
        following = hashed[np.minimum(first + position, last)] if len(first) else tokens
        tokens = np.where(length > position, _mixed(tokens, following), tokens)
    return tokens, offsets


def _mixed(state: np.ndarray, value: np.ndarray) -> np.ndarray:
    """One step of an order-sensitive 64-bit hash."""
    return randomness.finalised(state * np.uint64(0x9E3779B97F4A7C15) + value)


def near_pairs(sketches: Sketches, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of near-duplicates by their numbers, band by band; a pair may come more than once.

    Args:
      sketches: of different texts.  In the order of the texts' hashes, which is the order within a bucket: then the
        order of the records cannot matter.
      threshold: least estimated Jaccard similarity.
    """
    signatures, bands = sketches
    for keys in bands:
        parts = sharding.shard_count(len(keys), portions.at_once(_KEYS_AT_ONCE, len(keys)))
        for part in range(parts):
            order = _of_part(keys, part, parts)
            order = order[np.argsort(keys[order], kind="stable")]
            ordered = keys[order]
            for distance in range(1, _NEIGHBOURS + 1):
                at = np.flatnonzero(ordered[distance:] == ordered[:-distance])
                for start in range(0, len(at), _PAIRS_AT_ONCE):
                    chosen = at[start : start + _PAIRS_AT_ONCE]
                    left, right = order[chosen], order[chosen + distance]
                    one, other = signatures[left], signatures[right]
                    near = ((one == other).mean(axis=1) >= threshold) & (one[:, 0] != _EMPTY)
                    yield left[near], right[near]


def _of_part(keys: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Where the keys of one of equal ranges are, in ascending order."""
    found = [np.empty(0, np.int64)]
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        numbers = sharding.shard_numbers(keys[start : start + _KEYS_AT_ONCE, None], parts)
        found.append(start + np.flatnonzero(numbers == part))
    return np.concatenate(found)


def near_texts(sketches: Sketches, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Texts that a chain of near-duplicates joins to another.

    Args:
      sketches, threshold: as ``near_pairs``.

    Returns:
      (m,) their numbers, ascending, and (m,) the smallest number in the group of each.
    """
    pairs = list(near_pairs(sketches, threshold))
    left, right = (np.concatenate([np.empty(0, np.int64), *(pair[side] for pair in pairs)]) for side in (0, 1))
    members, (left, right) = arrays.places(left, right)
    if not len(members):
        return members, members
    edges = (np.ones(len(left), np.bool_), (left, right))
    graph = coo_array(edges, shape=(len(members), len(members)))
    group = connected_components(graph, directed=False)[1]
    return members, members[np.unique(group, return_index=True)[1][group]]


def numbered(hashes: np.ndarray) -> np.ndarray:
    """(n,) number of each row's text among the different ones, in the order of their (n, 2) uint64 hashes.

    >>> numbered(np.array([[7, 7], [5, 9], [7, 7]], np.uint64)).tolist()
    [1, 0, 1]
    """
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(text.first_of_text(hashes[order])) - 1
    return numbers


def near_groups(ranks: np.ndarray, texts: np.ndarray, sketches: Sketches | None, threshold: float | None) -> np.ndarray:
    """For each row, the smallest rank in its group of near-duplicates, its own included.

    Equal texts are always of one group; others where a chain of near-duplicates joins them.

    Args:
      ranks: (n,) place of each row's id in the order of ids, all different.
      texts: (n,) number of each row's text, as ``numbered``.
      sketches: of the different texts.   None: only equal texts form a group.
      threshold: least estimated Jaccard similarity in (0, 1].   None: only equal texts form a group.

    >>> near_groups(np.array([2, 0, 1]), np.array([0, 1, 0]), None, None).tolist()
    [1, 0, 1]
    """
    label = np.arange(texts.max(initial=-1) + 1)
    if sketches is not None and threshold is not None:
        members, first = near_texts(sketches, threshold)
        label[members] = first
    group = label[texts]
    smallest = np.full(len(label), np.iinfo(np.int64).max)
    np.minimum.at(smallest, group, ranks)
    return np.asarray(smallest[group], np.int64)
