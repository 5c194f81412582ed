"""Which share of the positives is labelled: intervals hold for random labels, chosen ones are seen, few stand out."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gangue.pipeline import learn, params
from gangue.transforms import arrays
from gangue.transforms.evidence import budget
from gangue.transforms.relevance import caution, conclusions, labelled_share, labelling


def sample(share, chosen_by="random", *, seed=0, queries=200, positives=10, negatives=60, known=None, apart=0.0):
    """Queries with positives whose scores are higher than others'; a share of these labelled, or ``known`` of each.

    ``apart``: by how much the scores of positives lie above those of the best others, in deviations.
    """
    generator = np.random.default_rng(seed)
    size = positives + negatives
    true = np.tile(np.arange(size) < positives, (queries, 1))
    scores = {
        name: np.where(true, 1.5 + apart, 0.0) + generator.normal(size=(queries, size)) for name in ("dense", "bm25")
    }
    likely = np.where(true, 4.0, -4.0) + generator.normal(size=(queries, size))
    key = {
        "random": generator.random((queries, size)),
        "fused": scores["dense"] + scores["bm25"],
        "worst": -scores["bm25"],
    }.get(chosen_by)
    key = np.where(true, scores[chosen_by] if key is None else key, -np.inf)
    count = known or round(share * positives)
    labelled = np.argsort(np.argsort(-key, axis=1), axis=1) < count
    query = np.repeat(np.arange(queries), size)
    full = likely + generator.normal(size=(queries, size))
    flat = {name: values.ravel() for name, values in scores.items()}
    nobody = np.zeros(len(query), bool)
    return labelling.Sample(
        query, queries, (labelled & true).ravel(), nobody, likely.ravel(), likely.ravel(), full.ravel(), flat
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_labels_drawn_at_random_have_their_share_within_the_interval(share, seed):
    found = labelled_share.estimate(sample(share, seed=seed))
    assert found.low <= share <= found.high
    assert found.low > share / 4, "and it says something"
    assert found.chosen < 0.2


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_what_the_others_say_brings_the_lower_end_nearer_to_the_share_and_not_above_it(share):
    pure = sample(share)
    noise = np.random.default_rng(4).normal(size=len(pure.query))
    alone = dataclasses.replace(pure, agreed=pure.blind / 4 + 2 * noise)
    assert labelled_share.estimate(alone).low < 0.9 * labelled_share.estimate(pure).low
    assert labelled_share.estimate(pure).low <= share


def of_two_kinds(many, seed, queries):
    """Half of the queries have one positive, which is clear, the others many; each has one label. And the truth."""
    one = sample(1.0, positives=1, apart=2.0, seed=seed, queries=queries)
    other = sample(0.1, known=1, positives=many, seed=seed + 9, queries=queries)
    clear = one.agreed + 3 * one.known
    parts = dataclasses.replace(one, blind=clear, agreed=clear), other

    def both(name):
        return np.concatenate([getattr(part, name) for part in parts])

    joined = {name: both(name) for name in ("known", "judged", "blind", "agreed", "full")}
    scores = {name: np.concatenate([part.scores[name] for part in parts]) for name in one.scores}
    query = np.concatenate([one.query, other.query + one.queries])
    return labelling.Sample(query, one.queries + other.queries, **joined, scores=scores), 2 / (1 + many)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("many", "queries"), [(20, 200), (60, 200), (60, 30)])
def test_where_half_of_the_queries_have_one_positive_the_top_of_all_would_be_theirs(many, queries, seed):
    found, true = of_two_kinds(many, seed, queries)
    assert labelled_share.best_depth(found.agreed, found.known)[1] > 4 * true
    share = labelled_share.estimate(found)
    assert labelling.LOWEST < share.low < true
    assert share.kinds > 4
    assert any("queries are of several kinds" in line for line in said_of(found)["findings"])
    assert not any("kinds" in line for line in said_of(sample(0.1, known=1, seed=seed))["findings"])


def test_queries_with_more_labels_than_a_stratum_do_not_lose_the_others():
    found = sample(0.5, positives=200, negatives=50, queries=12)
    few = dataclasses.replace(
        found, known=found.known & ((found.query == 3) | (np.arange(len(found.query)) % 250 == 0))
    )
    share, low = labelled_share.of_kinds(few, *labelled_share.best_depth(few.agreed, few.known))
    assert 0 < low <= share < 1


def test_of_two_gaps_the_wider_one_counts_thrice_whichever_score_it_is_of():
    """What the others say of a positive narrowed its gap on scifact and nl2bash, whose labels are nearly complete."""
    wide = sample(1.0, positives=1)
    first = np.flatnonzero(wide.known)
    narrow = wide.blind.copy()
    narrow[first] -= 0.5 * (narrow[first] - narrow[~wide.known].max())  # still the best of their queries
    gaps = [labelling.gap_below(dataclasses.replace(wide, blind=one, agreed=one)) for one in (narrow, wide.blind)]
    assert gaps[0] < gaps[1] - 0.2
    for blind, agreed in ((narrow, wide.blind), (wide.blind, narrow)):
        found = labelling.gap_below(dataclasses.replace(wide, blind=blind, agreed=agreed))
        assert found == pytest.approx(0.25 * gaps[0] + 0.75 * gaps[1])


def test_a_gap_below_few_of_the_labelled_says_nothing():
    alone = sample(1.0, positives=1, apart=3.0)
    assert labelling.gap_below(alone) is not None
    seen = dataclasses.replace(alone, known=alone.known & (alone.query < 100))
    below = np.where(seen.known & (seen.query >= 15), -9.0, seen.agreed)
    assert labelling.gap_below(dataclasses.replace(seen, blind=below, agreed=below)) is None


@pytest.mark.parametrize("system", ["bm25", "dense", "fused"])
def test_labels_that_a_system_chose_are_seen_and_more_are_reckoned_with(system):
    at_random = labelled_share.estimate(sample(0.1, known=1))
    chosen = labelled_share.estimate(sample(0.1, system, known=1))
    assert at_random.chosen < 0.2 < 0.8 < chosen.chosen
    assert chosen.low <= 0.1 <= chosen.high


def clicked(positives=60, negatives=60):
    """One positive of each query, with a chance inverse to its rank by BM25, which the blind score sees; the truth."""
    found = sample(0.1, known=1, positives=positives, negatives=negatives)
    true = np.arange(len(found.query)) % (positives + negatives) < positives
    place = arrays.rank_within(found.query, [np.where(true, -found.scores["bm25"], np.inf)])
    chance = np.random.default_rng(3).random(len(place))
    key = np.where(true, -np.log(chance) * (place + 1), np.inf)  # the least of exponential variables of these rates
    known = arrays.rank_within(found.query, [key]) < 1
    blind = found.blind + 2 * found.scores["bm25"]
    return dataclasses.replace(found, known=known, blind=blind, agreed=blind), 1 / positives


def test_where_clicks_chose_what_is_labelled_and_it_does_not_show_one_can_say_so():
    found, true = clicked()
    alone = labelled_share.estimate(found)
    assert alone.low > true
    assert alone.chosen < 0.5, "the data alone do not tell"
    assert labelled_share.estimate(found, chosen=True).low <= true
    said = said_of(found, labelled="chosen")
    assert "chosen by clicks or a search system, as learn.labelled says" in said["findings"][0]
    assert said["share"]["chosen"] == 1.0
    assert said["share"]["low"] <= true
    assert not said["share"]["told"]
    assert any("assumed: chance decided" in line for line in learn.said({"usable": True, **said_of(found)}))
    assert not any("assumed" in line for line in learn.said({"usable": True, **said}))


def said_of(found, missed=None, documents=100_000, told=None, **section):
    """What the learn stage says of a job with these documents, of which it learned nothing.

    ``missed``: (n,) bool, labelled positives that no retriever found.  ``told``: (n,) what labels say, -1: nothing.
    """
    missed = np.zeros(len(found.query), bool) if missed is None else missed
    table = pa.table(
        {
            "query": found.query.astype(np.uint64),
            "counted": ~missed,
            "missed": missed,
            "known": found.known,
            "told": np.full(len(found.query), -1, np.int8) if told is None else told.astype(np.int8),
            "judged": np.zeros(len(found.query), bool),
            "blind": found.blind,
            "agreed": found.agreed,
            "full": found.full,
            "taught": np.zeros(len(found.query)),
            **{conclusions.score_column(name): scores for name, scores in found.scores.items()},
        }
    )
    note = {"usable": False, "several": 0, "distrusted": False, "findings": []}
    return conclusions.concluded(parsed(**section), note, table, documents)


def parsed(**section):
    return params.parse(
        {
            "source": {"kind": "python_code", "path": "."},
            "encoders": {"static": {"model": "static"}},
            "retrievers": {"dense": {"kind": "dense", "encoder": "static"}, "bm25": {"kind": "bm25"}},
            "filter": {"kind": "learned", "max_false_negatives": 0.02},
            "sample": {"kind": "top", "score": "dense"},
            "learn": section,
        }
    )


def looking_like_any(some):
    """The sample with log odds of a third of its documents that tell nothing, as in few, large topics."""
    generator = np.random.default_rng(2)
    any_of_them = generator.permutation(some.full)
    return dataclasses.replace(some, full=np.where(generator.random(len(some.full)) < 0.33, any_of_them, some.full))


def test_no_candidate_is_surer_than_the_documents_that_no_retriever_found():
    found = looking_like_any(sample(0.3))
    missed = found.known & (np.random.default_rng(1).random(len(found.query)) < 0.5)
    few, many, all_found = said_of(found, missed, 600), said_of(found, missed), said_of(found, documents=600)
    spread = missed.sum() / few["share"]["low"] / (200 * 600 - (~missed).sum())
    promised = [caution.unfavourable(scipy.special.expit([-30.0, 3.0]), said["caution"]) for said in (few, all_found)]
    assert promised[0][0] == pytest.approx(spread, rel=0.05)
    assert promised[1][0] < 1e-6
    assert promised[0][1] > 0.9, "what looks relevant is as before"
    assert few["least"].pop("share") == pytest.approx(promised[0][0])
    assert few["least"] == {"missed": missed.sum(), "known": (found.known & ~missed).sum()}
    assert all(said["least"]["share"] < 0.02 for said in (many, all_found))


def test_a_refusal_says_that_labelled_positives_were_not_retrieved_where_that_is_why():
    found = looking_like_any(sample(0.3))
    missed = found.known & (np.random.default_rng(1).random(len(found.query)) < 0.5)
    points, p = [{"per_query": 1.0, "bound": 0.3}], parsed()
    few, many = (budget.refusal(points, p, said_of(found, missed, documents)) for documents in (600, 100_000))
    assert f"{missed.sum()} of {found.known.sum()} labelled positives were not retrieved: of what looks" in few
    assert "not retrieved" not in many


def test_a_floor_raises_what_is_promised_and_never_lowers_it():
    """Where labels contradict the filter the curve is flat below what they reach, and was lowered there."""
    thought = np.linspace(-8.0, 0.0, 200)
    labels = np.random.default_rng(0).random(200) < np.maximum(0.1, scipy.special.expit(thought))
    curve, contradicted = caution.of_labels(thought, labels, wrong=0.0, unseen=0.0)
    assert contradicted is not None
    at = scipy.special.expit(np.linspace(-30.0, 5.0, 50))
    before = caution.unfavourable(at, curve)
    for share in (1e-6, 0.01, 0.3):
        floored = caution.unfavourable(at, caution.no_less(curve, share))
        np.testing.assert_allclose(floored, np.maximum(before, share), rtol=1e-4)


def test_labels_of_every_labelled_positive_leave_a_share_and_a_promise_that_are_numbers():
    found = sample(0.3)
    told = np.where(found.known, 1, np.where(np.random.default_rng(3).random(len(found.query)) < 0.1, 0, -1))
    said = said_of(dataclasses.replace(found, known=np.zeros_like(found.known)), told=told)
    assert 0.0 < said["share"]["low"] <= said["share"]["middle"] <= said["share"]["high"] < 1.0
    assert np.isfinite(said["caution"]).all()
    assert "inf" not in said["share"]["words"]


def test_a_candidate_may_be_surer_than_those_where_labelled_positives_are_rare_among_what_looks_least_relevant():
    found = sample(0.3)
    missed = found.known & (np.random.default_rng(1).random(len(found.query)) < 0.5)
    said = said_of(found, missed, 150)
    spread = missed.sum() / said["share"]["low"] / (200 * 150 - (~missed).sum())
    free, known = (found.full[some] for some in (~found.known, found.known & ~missed))
    low = np.quantile(free, 0.25)
    count, of_all = (known <= low).sum(), (free <= low).sum()
    tail = scipy.stats.beta.ppf(0.95, count + 1, of_all) / said["share"]["low"]
    assert tail < spread / 5
    least = caution.unfavourable(scipy.special.expit([-30.0]), said["caution"])[0]
    assert least == pytest.approx(tail, rel=0.05)
    assert said["least"]["share"] == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize("system", ["bm25", "dense"])
def test_of_labels_that_depend_on_a_rank_nothing_is_promised_but_on_the_users_word(system):
    chosen = sample(0.3, system)
    assert said_of(chosen)["distrusted"]
    assert "look chosen by a search system" in said_of(chosen)["findings"][0]
    assert not said_of(chosen, labelled=0.3)["distrusted"]
    for seed in range(5):
        assert not said_of(sample(0.3, seed=seed))["distrusted"]


@pytest.mark.parametrize("system", ["bm25", "dense"])
def test_where_queries_have_several_labels_the_system_that_chose_them_shows_too(system):
    at_random = labelled_share.estimate(sample(0.3))
    chosen = labelled_share.estimate(sample(0.3, system))
    assert at_random.depends < 1.0 < 2.0 < chosen.depends
    assert chosen.low < 0.3


def purer(some, seed=9):
    """The sample with a blind score that tells little, and log odds that know a query's other labels and tell much."""
    noise = np.random.default_rng(seed).normal(size=(2, len(some.query)))
    blind = some.blind / 4 + 2 * noise[0]
    return dataclasses.replace(some, blind=blind, agreed=blind), some.full + 0.1 * noise[1]


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_random_labels_of_queries_with_several_are_read_off_the_score_that_knows_the_others(share):
    some, joined = purer(sample(share))
    found = labelled_share.estimate(some)
    sharper = labelled_share.sharpened(found, some, joined)
    assert found.low < sharper.low <= share <= sharper.high
    assert sharper.low > 0.7 * share


@pytest.mark.parametrize("system", ["bm25", "dense", "worst"])
def test_chosen_labels_are_not_and_whoever_took_the_worst_shows_too(system):
    some, joined = purer(sample(0.3, system))
    found = labelled_share.estimate(some)
    assert found.depends > 2.0
    assert labelled_share.sharpened(found, some, joined) == found
    assert found.low < 0.3


def test_few_labels_of_queries_with_several_sharpen_nothing():
    some, joined = purer(sample(0.3, queries=5))
    found = labelled_share.estimate(some)
    assert labelled_share.sharpened(found, some, joined) == found


def test_a_positive_that_is_alone_stands_out_and_its_labels_pass_for_complete():
    alone = labelled_share.estimate(sample(1.0, positives=1, apart=3.0))
    assert alone.gap > 0.75
    assert alone.chosen == 0
    assert alone.low > 0.5
    assert alone.high == 1.0


@pytest.mark.parametrize("judged", [(), (2,), (2, 3, 4), (1, 3, 6), (1, 2, 4), tuple(range(2, 31))])
def test_the_gap_below_the_best_of_many_alike_is_that_of_exponential_spacings_whichever_are_judged(judged):
    generator = np.random.default_rng(1)
    scores = generator.exponential(size=(2000, 60))
    rank = 1 + np.argsort(np.argsort(-scores, axis=1), axis=1)
    first = min({1, 2, 3} - set(judged))
    flat, query = scores.ravel(), np.repeat(np.arange(2000), 60)
    known = (rank == first).ravel()
    many = labelling.Sample(query, 2000, known, np.isin(rank, judged).ravel(), flat, flat, flat, {"dense": flat})
    gap = labelling.gap_below(many)
    assert gap is not None
    assert abs(gap) < 0.2


def test_without_a_labelled_positive_found_almost_none_may_be_labelled():
    some = sample(0.3)
    nothing = labelling.Sample(
        some.query, some.queries, some.judged, some.judged, some.blind, some.agreed, some.full, some.scores
    )
    found = labelled_share.estimate(nothing)
    assert (found.known, found.low) == (0, 1e-3)


def test_nothing_at_all_is_no_error():
    empty = np.empty(0)
    nothing = labelling.Sample(empty.astype(int), 0, *[empty.astype(bool)] * 2, *[empty] * 3, {"dense": empty})
    assert labelled_share.estimate(nothing).known == 0
    assert labelling.with_mass(empty, 3.0) == 0.0


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=50), st.floats(0.01, 0.9))
def test_the_shift_makes_probabilities_add_up_to_a_mass_and_keeps_their_order(logits, share):
    logits = np.array(logits)
    shift = labelling.with_mass(logits, share * len(logits))
    assert scipy.special.expit(logits + shift).sum() == pytest.approx(share * len(logits), rel=1e-4)


def test_in_words_it_says_how_many_are_missing_for_each():
    words = str(labelled_share.Share(0.1, 0.2, 0.5, 30, 0.0, None, 0.0))
    assert words.startswith("for each labelled positive about 4 are not labelled (1 to 9; labelled share 20.0%")


@pytest.mark.parametrize("section", [{}, {"labelled": 0.5}, {"labelled": "chosen"}])
def test_where_no_labelled_positive_was_retrieved_nothing_is_promised(section):
    """Wrong ids of documents, or a retriever that finds nothing: of none found there was none among the others."""
    found = sample(0.3)
    said = said_of(found, missed=found.known, documents=100_000, **section)
    assert said["distrusted"]
    assert "no labelled positive was retrieved" in said["findings"][0]
    points = [{"per_query": 5.0, "bound": 0.001, "loss": 0.0, "setting": 1.0, "queries": 200}]
    refused = budget.chosen_cut(points, parsed(**section), said)["refused"]
    assert "cannot be promised: no labelled positive was retrieved" in refused
    one = said_of(found, missed=found.known & (np.cumsum(found.known) > 1), documents=100_000, **section)
    assert not any("no labelled positive" in line for line in one["findings"])


def test_log_odds_beyond_any_that_are_usual_can_be_shifted_to_a_mass():
    for logits in (np.full(10, -60.0), np.full(10, 60.0), np.array([-80.0, 80.0])):
        assert scipy.special.expit(logits + labelling.with_mass(logits, 1.0)).sum() == pytest.approx(1.0, abs=1e-4)


def test_what_is_no_number_is_promised_to_be_nothing():
    assert np.isnan(caution.unfavourable(np.array([np.nan]), caution.constant(1.0)))[0]
    assert caution.unfavourable(np.array([0.0]), caution.constant(1.0))[0] == 0.0
