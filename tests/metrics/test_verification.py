from __future__ import annotations

from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

import reference_metrics_v as reference
from mimetric.core.errors import InputError
from mimetric.metrics import (
    StreamingRoc,
    all_pairs,
    auc,
    class_rates,
    eer,
    fnmr_at_fmr,
    pair_roc,
    roc_curve,
    tar_at_far,
    threshold_at_fmr,
    verification_metrics,
)
from mimetric.metrics.all_pairs import AllPairs, nearest_different
from strategies import batches, compared

OMNIGLOT = Path(__file__).parents[3] / "shared" / "data" / "omniglot" / "omniglot_28.npz"
RATES = [0, 1e-3, 0.1, 1 / 3, 0.5, 1]


@st.composite
def scored(draw, max_size=12):
    """Scores with ties, and flags, perhaps of one kind or none."""
    n = draw(st.integers(0, max_size))
    scores = draw(st.lists(st.integers(-4, 4).map(lambda k: k / 4), min_size=n, max_size=n))
    return scores, draw(st.lists(st.booleans(), min_size=n, max_size=n))


def apart(scores, same):
    return [s for s, f in zip(scores, same) if f], [s for s, f in zip(scores, same) if not f]


def assert_is_curve_of(roc, same, different):
    assert auc(roc) == pytest.approx(reference.auc(same, different), nan_ok=True, rel=1e-12)
    assert eer(roc) == pytest.approx(reference.eer(same, different), nan_ok=True, rel=1e-12)
    for rate in RATES:
        assert tar_at_far(roc, rate) == pytest.approx(
            reference.tar_at_far(same, different, rate), nan_ok=True
        )
        assert threshold_at_fmr(roc, rate) == pytest.approx(
            reference.threshold_at_fmr(same, different, rate), nan_ok=True
        )


@given(scored())
def test_given_scores_equal_plain_loops(pairs):
    assert_is_curve_of(roc_curve(*pairs), *apart(*pairs))


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.booleans()), max_size=8))
def test_scores_of_any_size_equal_plain_loops(rows):
    scores = torch.tensor([score for score, _ in rows], dtype=torch.float64)
    assert_is_curve_of(
        roc_curve(scores, [flag for _, flag in rows]), *apart(*zip(*rows)) if rows else ([], [])
    )


@given(batches())
def test_all_pairs_equal_plain_loops(batch):
    # Dot products of these coordinates are exact in float64, and so are ties.
    assert_is_curve_of(
        pair_roc(*batch, similarity="dot"), *reference.pair_scores(*(t.tolist() for t in batch))
    )


@given(compared())
def test_with_references_equals_plain_loops(search):
    assert_is_curve_of(
        pair_roc(*search, similarity="dot"), *reference.pair_scores(*(t.tolist() for t in search))
    )


@given(compared(), st.lists(st.integers(-9, 9).map(lambda k: k / 2), max_size=4))
def test_rates_of_classes_equal_plain_loops(search, thresholds):
    for given_rows in (search, search[:2]):
        found = class_rates(*given_rows[:2], thresholds, *given_rows[2:], similarity="dot")
        rows = [t.tolist() for t in given_rows]
        assert found.classes.tolist() == sorted(set(rows[1]) - {-1})
        for k, label in enumerate(found.classes.tolist()):
            same, different = reference.of_class(label, *rows)
            for rate, scores in ((found.true_match_rate, same), (found.false_match_rate, different)):
                want = [reference.share(scores, t) for t in thresholds]
                assert rate[k].tolist() == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize("references", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_panels_equal_the_whole_matrix(monkeypatch, references, dtype):
    monkeypatch.setattr(all_pairs, "_ROWS", 96)
    monkeypatch.setattr(all_pairs, "_COLUMNS", 192)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 8, generator=generator, dtype=dtype)
    y = torch.randint(-1, 60, (500,), generator=generator)
    others = (x[:333] + 0.1, y[:333].flip(0)) if references else ()
    right, right_labels = others or (x, y)
    sim = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(right, dim=1).T
    same = (y[:, None] == right_labels) & (y[:, None] >= 0)
    keep = torch.ones_like(same) if references else torch.ones_like(same).triu(1)
    scores, flags = sim[keep], same[keep]
    roc = pair_roc(x, y, *others)
    assert roc.same[-1] == flags.sum()
    assert roc.different[-1] == len(flags) - flags.sum()
    assert auc(roc) == pytest.approx(roc_auc_score(flags, scores), rel=1e-6)
    plain = roc_curve(scores, flags)
    assert eer(roc) == pytest.approx(eer(plain), abs=1e-4)
    assert threshold_at_fmr(roc, 0.01) == pytest.approx(threshold_at_fmr(plain, 0.01), abs=1e-4)
    pairs = AllPairs("here", x, y, *others)
    places = [1, 2, 17, 5000, pairs.total_different]
    ordered = scores[~flags].sort(descending=True).values
    torch.testing.assert_close(nearest_different(pairs, places), ordered[[p - 1 for p in places]])
    rates = class_rates(x, y, [0.3, -0.2], *others)
    involved = ~same & (y[:, None] >= 0)
    if not references:
        involved.fill_diagonal_(False)
    for k, level in enumerate((0.3, -0.2)):
        found = (rates.false_match_rate[:, k] * pairs.num_different).sum()
        assert found == pytest.approx(((sim >= level) & involved).sum(), abs=2)


@given(batches(), st.data())
def test_places_among_different_pairs_are_exact(batch, data):
    pairs = AllPairs("here", *batch, similarity="dot")
    _, different = reference.pair_scores(*(t.tolist() for t in batch))
    assert pairs.total_different == len(different)
    if different:
        places = data.draw(st.lists(st.integers(1, len(different)), min_size=1, max_size=3))
        ordered = sorted(different, reverse=True)
        assert nearest_different(pairs, places).tolist() == [ordered[p - 1] for p in places]


def test_golden_field_words():
    # Same .9 .8 .4, different .7 .6 .5 .3 .1: .9 and .8 beat all 5, .4 beats 2: 12 of 15.  Accepting .4 takes 3 of 5.
    roc = roc_curve([0.9, 0.8, 0.4, 0.7, 0.6, 0.5, 0.3, 0.1], [True] * 3 + [False] * 5)
    assert auc(roc) == pytest.approx(12 / 15)
    assert tar_at_far(roc, 0.01) == fnmr_at_fmr(roc, 0.6) + 2 / 3 == pytest.approx(2 / 3)
    assert eer(roc) == pytest.approx(1 / 3)  # FNMR is 1/3 from 0 to 3/5 of FMR
    assert threshold_at_fmr(roc, 0.4) == pytest.approx(0.8)
    assert threshold_at_fmr(roc, 0.6) == pytest.approx(0.4)


def test_all_ties_are_chance():
    assert auc(roc_curve([0.5] * 4, [True, False, True, False])) == 0.5
    assert eer(roc_curve([0.5] * 4, [True, False, True, False])) == 0.5
    assert verification_metrics(torch.ones(6, 3), [0, 0, 1, 1, 2, 2])["auc"] == 0.5


def test_copies_tie_wherever_they_stand():
    rows = torch.randn(7, 64, generator=torch.Generator().manual_seed(1))
    x, y = rows.repeat(120, 1), torch.arange(840) // 7  # every class holds each of the rows once
    roc = pair_roc(x, y)
    assert len(roc.thresholds) == 2 + 2 * 21  # 21 similarities of two rows, and just above each
    assert roc.different[1] == 7 * 120 * 119 / 2  # copies in other classes are nearer than any same pair
    tied = roc.different[2:-1:2] - roc.different[1:-1:2]
    assert tied.tolist() == [120 * 119] * 21


def test_scikit_learn_has_the_same_corners():
    generator = np.random.default_rng(0)
    same = generator.random(400) < 0.3
    scores = np.round(generator.normal(size=400) + same, 1)
    false_match, true_match, thresholds = sklearn_roc_curve(same, scores, drop_intermediate=False)
    ours = roc_curve(scores, same)
    corners = dict(
        zip(ours.thresholds.tolist(), zip(ours.false_match_rate.tolist(), ours.true_match_rate.tolist()))
    )
    theirs = dict(zip(thresholds.tolist(), zip(false_match.tolist(), true_match.tolist())))
    for level in set(scores[same].tolist()):
        assert corners[level] == pytest.approx(theirs[level])


@pytest.mark.parametrize(
    ("x", "y"),
    [(torch.ones(0, 2), []), (torch.ones(1, 2), [0]), (torch.eye(3), [0, 0, 0]), (torch.eye(3), [0, -1, -1])],
    ids=["no rows", "one row", "one class", "no same pair"],
)
def test_undefined_is_nan(x, y):
    assert all(isnan(v) for v in verification_metrics(x, y).values())
    assert isnan(threshold_at_fmr(pair_roc(x, y), 0.5))
    assert isnan(fnmr_at_fmr(pair_roc(x, y), 0.5))
    assert class_rates(x, y, [0.5]).classes.tolist() == sorted(set(y) - {-1})


def test_an_empty_gallery_is_undefined():
    assert all(isnan(v) for v in verification_metrics(torch.eye(3), [0, 1, 2], torch.ones(0, 3), []).values())


def test_itself_as_gallery_adds_each_row_with_itself():
    x, y = torch.eye(3), [0, 1, 2]
    assert isnan(verification_metrics(x, y)["auc"])
    assert verification_metrics(x, y, x, y)["auc"] == 1.0


@given(scored(), st.integers(1, 5))
def test_streams_equal_one_call_and_each_other(pairs, batch):
    scores, same = pairs
    whole, parts, others = StreamingRoc(8), StreamingRoc(8), StreamingRoc(8)
    whole.update(scores, same)
    for k, start in enumerate(range(0, len(scores), batch)):
        (parts, others)[k % 2].update(scores[start : start + batch], same[start : start + batch])
    parts.merge(others)
    assert parts.compute() == pytest.approx(whole.compute(), nan_ok=True)
    # The scores lie on edges: nothing is lost.
    exact = roc_curve(scores, same)
    assert auc(whole.roc()) == pytest.approx(auc(exact), nan_ok=True)
    assert tar_at_far(whole.roc(), 0.1) == pytest.approx(tar_at_far(exact, 0.1), nan_ok=True)


@pytest.mark.parametrize("references", [False, True])
def test_a_stream_of_rows_equals_all_pairs_at_its_edges(references):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 6, generator=generator), torch.randint(-1, 9, (200,), generator=generator)
    others = (x[:90] + 0.2, y[:90].flip(0)) if references else ()
    exact, stream = pair_roc(x, y, *others), StreamingRoc(512)
    for rows in torch.arange(200).split(64 if references else 200):
        stream.update_pairs(x[rows], y[rows], *others)
    binned, found = stream.roc(), stream.compute()
    assert (binned.same[-1], binned.different[-1]) == (exact.same[-1], exact.different[-1])
    at = torch.searchsorted(-exact.thresholds, -binned.thresholds[1:-1].float(), right=True) - 1
    assert binned.same[1:-1].equal(exact.same[at])
    assert abs(found["auc"] - auc(exact)) <= found["auc_error"]


def test_bins_are_off_by_no_more_than_they_say():
    generator = torch.Generator().manual_seed(0)
    same = torch.rand(2000, generator=generator) < 0.4
    scores = torch.randn(2000, generator=generator) * 0.5 + same * 0.4  # some beyond 1
    exact = roc_curve(scores, same)
    for bins in (1, 4, 64):
        stream = StreamingRoc(bins)
        stream.update(scores, same)
        found = stream.compute(far=(0.1,))
        assert 0 < abs(found["auc"] - auc(exact)) <= found["auc_error"]
        assert found["tar_at_far_0.1"] <= tar_at_far(exact, 0.1)


def test_other_similarities_have_their_own_units():
    x, y = torch.tensor([[0.0, 0.0], [3.0, 4.0], [20.0, 0.0], [20.0, 12.0]]), [0, 0, 1, 1]
    near = threshold_at_fmr(pair_roc(x, y, similarity="negative_euclidean"), 0)
    assert near == pytest.approx(-12)
    assert threshold_at_fmr(pair_roc(x, y, similarity="negative_squared_euclidean"), 0) == pytest.approx(-144)


def test_takes_half_precision_and_what_trains():
    x, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    assert verification_metrics(x.half(), y) == verification_metrics(x.half().float().requires_grad_(), y)
    assert verification_metrics(x.tolist(), y.tolist()) == verification_metrics(x.numpy(), y.numpy())


@pytest.mark.skipif(not OMNIGLOT.exists(), reason="needs ../shared/data/omniglot")
def test_real_characters_are_nearer_their_own():
    data = np.load(OMNIGLOT)
    name = next(k for k in data.files if data[k].ndim > 1)
    labels = next(k for k in data.files if data[k].ndim == 1 and len(data[k]) == len(data[name]))
    x, y = torch.from_numpy(data[name][:1000]).flatten(1).float(), torch.from_numpy(data[labels][:1000])
    found = verification_metrics(x, y)
    assert 0.6 < found["auc"] < 0.95
    assert found["tar_at_far_0.001"] < found["tar_at_far_0.01"] < 1 - found["eer"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: roc_curve([1.0], [1]), "roc_curve: same must be bool, got int64; write labels"),
        (lambda: roc_curve([1.0], [True, False]), r"roc_curve: same must have shape \(1,\)"),
        (lambda: roc_curve([nan], [True]), "roc_curve: scores must be finite"),
        (lambda: pair_roc(torch.eye(2), [0.0, 1.0]), "pair_roc: labels must be integers"),
        (lambda: pair_roc(torch.eye(2) * inf, [0, 1]), "pair_roc: embeddings must be finite"),
        (
            lambda: pair_roc(torch.eye(2), [0, 1], similarity="negative_snr"),
            "pair_roc: similarity negative_snr",
        ),
        (lambda: pair_roc(torch.eye(2), [0, 1], similarity="cos"), "pair_roc: similarity must be one of"),
        (
            lambda: tar_at_far(roc_curve([1.0], [True]), 1.5),
            r"tar_at_far: a rate must lie in 0\.\.1, got 1.5",
        ),
        (
            lambda: class_rates(torch.eye(2), [0, 1], [nan]),
            "class_rates: thresholds must be a list of finite",
        ),
        (lambda: StreamingRoc(0), "StreamingRoc: bins must be > 0"),
        (lambda: StreamingRoc(2).merge(StreamingRoc(3)), "StreamingRoc: merges with its like"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=f"^{message}"):
        call()
