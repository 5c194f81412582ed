"""What a query's other candidates say of each one: as a regression taught anew for each, and what it counts."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.transforms.relevance import consensus, features

QUERIES, DOCUMENTS, PAIRS = 3, 12, 24


def news(logits, query, document, known, unlabelled, judged, queries, vectors):
    def ridge(number, pairs):
        given = vectors[document[pairs]]
        return features.Ridge.among(given @ given.T, given @ queries[number])

    return consensus.news(logits, query, known, unlabelled, judged, len(queries), ridge)


def some(seed):
    """Arguments of ``news``: unlabelled, known and judged pairs, and copies of positives."""
    generator = np.random.default_rng(seed)
    query, document = np.divmod(np.sort(generator.permutation(QUERIES * DOCUMENTS)[:PAIRS]), DOCUMENTS)
    kind = generator.choice(4, PAIRS, p=[0.6, 0.2, 0.1, 0.1])
    vectors = [generator.normal(size=(rows, 4)) for rows in (QUERIES, DOCUMENTS)]
    units = [(v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in vectors]
    judged = kind == 2
    return [generator.normal(-2, 2, PAIRS), query, document, kind == 1, (kind == 0) | judged, judged, *units]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_each_pair_is_predicted_from_all_others_of_its_query(seed):
    given = logits, query, document, known, unlabelled, judged, queries, vectors = some(seed)
    found = news(*given)
    target = np.where(known, 1.0, np.where(judged, 0.0, scipy.special.expit(logits)))
    free = known | unlabelled
    for number in range(QUERIES):
        here = np.flatnonzero((query == number) & free)
        said = []
        for row in here:
            rest = here[here != row]
            points = np.vstack([vectors[document[rest]], queries[number]]).astype(np.float64)
            kernel = np.exp(features._WIDTH * (points @ points.T - 1)) + features._RIDGE * np.eye(len(points))
            near = np.exp(features._WIDTH * (points @ vectors[document[row]] - 1))
            said.append(near @ np.linalg.solve(kernel, np.append(target[rest], 1.0)))
        counted = np.array(said)[unlabelled[here]]
        spread = counted.std() if counted.size and counted.std() > 1e-9 else 1.0
        standard = (np.array(said) - (counted.mean() if counted.size else 0.0)) / spread
        assert found[here] == pytest.approx(consensus._WEIGHT * (standard - consensus.expected(logits[here])), abs=2e-3)
    assert not found[~free].any()


def test_a_candidate_among_likely_positives_is_likelier_and_one_among_judged_negatives_less_so():
    angles = np.array([0.0, 0.1, 0.2, 1.4, 1.5])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    asked = np.array([[np.cos(0.75), np.sin(0.75)]], np.float32)  # as far from one group as from the other
    nobody, everybody = np.zeros(5, bool), np.ones(5, bool)
    place = np.zeros(5, int), np.arange(5)
    logits = np.array([0.0, 3.0, 3.0, -3.0, 0.0])
    alike = news(logits, *place, nobody, everybody, nobody, asked, vectors)
    assert alike[0] > alike[4]
    judged = np.array([False, True, True, False, False])
    told = news(logits, *place, nobody, everybody, judged, asked, vectors)
    assert told[0] - told[4] < alike[0] - alike[4]
