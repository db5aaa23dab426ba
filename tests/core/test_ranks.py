from __future__ import annotations

from functools import partial
from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_r as loops
import reference_ranks as reference
from mimetric.core import ranks as engine
from mimetric.core import relevance
from mimetric.core import search as searching
from mimetric.core.errors import InputError
from mimetric.core.ranks import rank_blocks

TIES = ("mean", "optimistic", "pessimistic")


def listed(x, y, *references, **options):
    """For each query in order, the ranks of its positives."""
    found = {}
    for ranks in rank_blocks(x, y, *references, **options):
        for query, row, relevant in zip(ranks.query.tolist(), ranks.rank.tolist(), ranks.relevant.tolist()):
            depth = min(relevant, len(row))
            assert query not in found
            assert row[depth:] == [inf] * (len(row) - depth)
            found[query] = row[:depth]
    return [found[query] for query in range(len(x))]


@st.composite
def searches(draw, max_size=40):
    """Rows out of a small pool, so that many are copies of one another; the pool has the zero row.

    Copies tie exactly; other similarities are far apart, so that loops and products agree on the order.
    """
    pool = torch.randn(
        draw(st.integers(1, 8)), 3, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))
    )
    pool = torch.cat((pool, torch.zeros(1, 3))).double()

    def some(count):
        row = draw(st.lists(st.integers(0, len(pool) - 1), min_size=count, max_size=count))
        label = draw(st.lists(st.integers(-1, classes), min_size=count, max_size=count))
        return pool[torch.tensor(row, dtype=torch.int64)], torch.tensor(label, dtype=torch.int64)

    classes = draw(st.sampled_from([0, 1, 4, 1000]))
    x, y = some(draw(st.integers(1, max_size)))
    rx, ry = some(draw(st.integers(0, max_size))) if draw(st.booleans()) else (None, None)
    return x, y, rx, ry


def plain(search, **options):
    return reference.ranks(*(None if t is None else t.tolist() for t in search), **options)


# Those whose lifts are exact on the strategy's binary fractions: in others rounding breaks ties.
EXACT = ("cosine", "dot", "negative_squared_euclidean", "negative_euclidean")


@given(searches(), st.sampled_from(EXACT), st.sampled_from(TIES), st.sampled_from(["self", "first"]))
def test_equals_plain_loops(search, similarity, ties, drop):
    options = {"similarity": similarity, "ties": ties, "drop": drop}
    assert listed(*search, **options) == plain(search, **options)


@given(searches(), st.sampled_from(TIES))
def test_sorting_gives_what_counting_gives(search, ties):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_SORT_FROM", 1)
        assert listed(*search, ties=ties) == plain(search, ties=ties)


@given(searches(), st.integers(1, 50))
def test_blocks_change_nothing(search, block):
    assert listed(*search, block=block) == listed(*search)


@pytest.mark.parametrize("sort_from", [1, 1000])
@pytest.mark.parametrize("drop", ["self", "first"])
@pytest.mark.parametrize("ties", TIES)
def test_panels_change_nothing(monkeypatch, ties, drop, sort_from):
    # 258 rows of which many are copies: whole, and in panels of 96 columns with 66 left over.
    torch.manual_seed(0)
    x, y = torch.randn(120, 6)[torch.randint(120, (258,))], torch.randint(35, (258,))
    whole = listed(x, y, ties=ties, drop=drop)
    monkeypatch.setattr(searching, "_PANEL_ELEMENTS", 1)
    monkeypatch.setattr(engine, "_COLUMNS_PER_POSITIVE", 1)
    monkeypatch.setattr(searching, "_SORT_FROM", sort_from)
    assert listed(x, y, ties=ties, drop=drop) == whole == plain((x.double(), y), ties=ties, drop=drop)


@given(searches(), st.integers(1, 5))
def test_depth_gives_the_first_ranks(search, depth):
    assert listed(*search, depth=depth) == [ranks[:depth] for ranks in listed(*search)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "width"), [(5, 16), (33, 3), (100, 130), (500, 2048), (1003, 64)])
def test_equal_rows_tie_wherever_they_stand(n, width, dtype):
    # Copies of one row, two of a class and the others negatives: half of those come before the positive.
    torch.manual_seed(n)
    x, y = torch.randn(n, width, dtype=dtype), torch.arange(n)
    copies = torch.randperm(n)[: 2 + n // 2]
    x[copies], y[copies[:2]] = torch.randn(width, dtype=dtype), n
    ranks = listed(x, y)
    assert [ranks[i] for i in copies[:2]] == [[1 + (n // 2) / 2]] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_change_no_bit_of_a_close_call(dtype):
    # Similarities so close that another rounding would change their order.
    torch.manual_seed(0)
    x = torch.randn(1, 64, dtype=dtype) + 1e-4 * torch.randn(150, 64, dtype=dtype)
    y = torch.randint(20, (150,))
    whole = listed(x, y)
    assert all(listed(x, y, block=block) == whole for block in (1, 7, 32, 33, 64, 149))


def test_ties_golden():
    # One query; similarities 2 (negative), 1 (positive), 1 (negative), 1 (positive), 0 (positive).
    # The positives have places 1, 2, 3; in front of them one negative, and the tied one or half of it.
    references = torch.tensor([[2.0], [1.0], [1.0], [1.0], [0.0]])
    search = torch.ones(1, 1), [7], references, [0, 7, 0, 7, 7]
    rank = partial(listed, *search, similarity="dot")
    assert rank(ties="optimistic") == [[2.0, 3.0, 5.0]]
    assert rank(ties="pessimistic") == [[3.0, 4.0, 5.0]]
    assert rank(ties="mean") == [[2.5, 3.5, 5.0]]


def test_the_two_rules_of_drop_differ_on_copies():
    # Rows 0 and 1 are copies in different classes; row 2 is the positive of row 1 and far away.
    # Left out by index: row 1 has the copy, a negative, in front of row 2.  Left out by rank: the lowest
    # index of the nearest, row 0, is dropped, and row 1 finds itself first.
    x, y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), [0, 1, 1]
    assert listed(x, y, drop="self") == [[], [2.0], [1.5]]
    assert listed(x, y, drop="first") == [[], [1.0, 2.0], [1.5]]


def test_references_leave_nothing_out():
    x = torch.eye(2)
    assert listed(x, [0, 1], x, [0, 1]) == [[1.0], [1.0]]


def test_unlabelled_rows_are_nobodys_positives_and_everybodys_negatives():
    x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.0, 1.0]])
    assert listed(x, [0, -1, -1, 0]) == [[3.0], [], [], [3.0]]


def test_classes_of_very_different_size():
    x, y = torch.randn(300, 4, dtype=torch.float64), torch.cat((torch.zeros(200), torch.arange(1, 101)))
    y = y[torch.randperm(300)].long()
    assert listed(x, y) == plain((x, y))


def test_no_references_and_no_queries():
    assert listed(torch.ones(2, 3), [0, 0], torch.ones(0, 3), []) == [[], []]
    assert listed(torch.ones(0, 3), torch.ones(0, dtype=torch.int64)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_searched_in_float32(dtype):
    x, y = torch.randn(60, 8).to(dtype), torch.randint(9, (60,))
    assert listed(x, y) == listed(x.float(), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert listed(x, y) == listed(x.float(), y)


def test_takes_lists_arrays_and_what_trains():
    x, y = torch.randn(9, 4, requires_grad=True), torch.randint(3, (9,))
    want = listed(x, y)
    assert listed(x.tolist(), y.tolist()) == want
    for kind in (np.int8, np.uint16, np.int64):
        assert listed(x.detach().numpy(), y.numpy().astype(kind)) == want


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_refuses_rows_that_are_not_finite(bad):
    x = torch.ones(5, 3)
    x[2, 1] = bad
    with pytest.raises(InputError, match=r"^rank_blocks: embeddings must be finite, 1 of 5 .* row 2\)"):
        rank_blocks(x, [0, 0, 1, 1, 1])
    with pytest.raises(InputError, match=r"^rank_blocks: references must be finite"):
        rank_blocks(torch.ones(1, 3), [0], x, [0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "cosin"}, "similarity must be one of cosine"),
        ({"ties": "min"}, "ties must be one of mean"),
        ({"drop": "none"}, "drop must be one of self, first"),
        ({"depth": 0}, "depth must be > 0"),
        ({"block": 0}, "block must be > 0"),
        ({"labels": [0.0, 1.0]}, "labels must be integers"),
        ({"labels": [0]}, r"labels must have shape \(2,\)"),
        ({"references": torch.ones(3, 3)}, "references came without reference_labels"),
        ({"references": torch.ones(1, 2), "reference_labels": [0]}, "must have 3 columns"),
    ],
)
def test_says_what_is_wrong_before_it_starts(options, message):
    with pytest.raises(InputError, match=f"^rank_blocks: .*{message}"):
        rank_blocks(**({"embeddings": torch.ones(2, 3), "labels": [0, 1]} | options))


# Relations, what is left out, gains: against loops that are told who is whose.


def with_gains(*search, **options):
    """For each query in order, (rank, gain) of its positives."""
    found = {}
    for ranks in rank_blocks(*search, **options):
        gains = torch.ones_like(ranks.rank) if ranks.gain is None else ranks.gain
        for query, row, gain, relevant in zip(
            ranks.query.tolist(), ranks.rank.tolist(), gains.tolist(), ranks.relevant.tolist()
        ):
            found[query] = list(zip(row[:relevant], gain[:relevant]))
    return [found[query] for query in range(len(search[0]))]


@st.composite
def related_searches(draw, kinds=("classes", "shared", "related", "gains")):
    """A search, options that say who is whose and what is left out, and the same as functions of (i, j)."""
    x, y, rx, ry = draw(searches(max_size=12))
    own = rx is None
    n, m = len(x), len(x if own else rx)
    torch.manual_seed(draw(st.integers(0, 9999)))
    kind, options, gone = draw(st.sampled_from(kinds)), {}, [lambda i, j: own and i == j]
    if kind == "classes":
        other = y if own else ry
        gain = lambda i, j: float(y[i] == other[j] != -1)  # noqa: E731
        search = (x, y, rx, ry)
    elif kind == "shared":
        tags = torch.rand(n, 3) < 0.4
        others = tags if own else torch.rand(m, 3) < 0.4
        gain = lambda i, j: float((tags[i] & others[j]).any())  # noqa: E731
        search = (x, tags, rx, None if own else others)
    else:
        given = torch.randint(4, (n, m)) if kind == "gains" else torch.rand(n, m) < 0.3
        options["related"] = given.float() if kind == "gains" else given
        gain = lambda i, j: float(given[i, j])  # noqa: E731
        search = (x, None, rx, None)
    for name in ("ids", "groups"):
        if draw(st.booleans()):
            mine = torch.randint(4, (n,))
            other_keys = mine if own else torch.randint(4, (m,))
            options |= {name: mine} if own else {name: mine, f"reference_{name}": other_keys}
            same = lambda i, j, a=mine, b=other_keys: bool(a[i] == b[j])  # noqa: E731
            gone.append(same if name == "ids" else lambda i, j, same=same: gain(i, j) > 0 and same(i, j))
    return search, options, gain, lambda i, j: any(f(i, j) for f in gone)


@given(related_searches(), st.sampled_from(TIES), st.sampled_from([None, 1, 40]))
def test_relations_and_what_is_left_out_equal_plain_loops(case, ties, block):
    search, options, gain, left_out = case
    x, others = search[0], search[0] if search[2] is None else search[2]
    want = loops.ranked(x.tolist(), others.tolist(), gain, left_out, "dot", ties)
    found = with_gains(*search, **options, similarity="dot", ties=ties, block=block)
    assert found == [[(r, pytest.approx(g)) for r, g in row] for row in want]


@given(searches(), st.sampled_from(TIES))
def test_a_class_is_a_relation(search, ties):
    x, y, rx, ry = search
    others = y if ry is None else ry
    want = listed(*search, ties=ties)
    related = (y[:, None] == others) & (y[:, None] != -1)
    assert listed(x, None, rx, related=related, ties=ties) == want
    assert listed(x, None, rx, related=related.double(), ties=ties) == want
    tags, other_tags = ((t[:, None] == torch.arange(1001)) for t in (y, others))
    assert listed(x, tags, rx, None if rx is None else other_tags, ties=ties) == want


def test_ids_leave_out_the_same_item_where_sets_overlap():
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randint(5, (30,))
    ids = torch.randperm(100)[:30]
    assert listed(x, y, x, y, ids=ids, reference_ids=ids) == listed(x, y)


def test_groups_golden():
    # A person seen by camera 0; references nearest first: himself by camera 0 (left out), a stranger by camera 0,
    # himself by camera 1, an unlabelled row of camera 0.  The stranger alone is in front of him: rank 2.
    references = torch.tensor([[4.0], [3.0], [2.0], [5.0]])
    search = torch.ones(1, 1), [7], references, [7, 1, 7, -1]
    cameras = {"groups": [0], "reference_groups": [0, 0, 1, 0]}
    assert listed(*search, similarity="dot", **cameras) == [[3.0]]  # the unlabelled row is a negative
    assert listed(*search, similarity="dot") == [[2.0, 4.0]]


def test_gains_of_tied_positives_golden():
    # Positives at 2 (gain 1) and twice at 1 (gains 3 and 1).
    references, gains = torch.tensor([[2.0], [1.0], [1.0], [0.0]]), torch.tensor([[1.0, 3.0, 1.0, 0.0]])
    search = torch.ones(1, 1), None, references
    for ties, want in (("mean", [1, 2, 2]), ("optimistic", [1, 3, 1]), ("pessimistic", [1, 1, 3])):
        (ranks,) = rank_blocks(*search, related=gains, similarity="dot", ties=ties)
        assert ranks.gain.tolist() == [want]
        assert ranks.ideal.tolist() == [[3, 1, 1]]
        assert ranks.rank.tolist() == [[1, 2, 3]]
        (shallow,) = rank_blocks(*search, related=gains, similarity="dot", ties=ties, depth=2)
        assert (shallow.gain.tolist(), shallow.ideal.tolist()) == ([want[:2]], [[3, 1]])


def test_many_relations_in_bounded_blocks(monkeypatch):
    x, tags = torch.randn(90, 5), torch.rand(90, 6) < 0.2
    whole = listed(x, tags)
    monkeypatch.setattr(relevance, "_SHARED_ELEMENTS", 100)
    monkeypatch.setattr(relevance, "_RELATED_ELEMENTS", 100)
    assert listed(x, tags) == whole == listed(x, None, related=(tags[:, None] & tags).any(2))


def test_float64_checks_float32():
    x, y = torch.randn(60, 8), torch.randint(9, (60,))
    assert listed(x, y, dtype=torch.float64) == listed(x.double(), y)


@pytest.mark.parametrize("options", [{}, {"related": torch.ones(2, 0)}, {"ids": [1, 2], "groups": [0, 0]}])
def test_no_references_have_no_positives(options):
    options = options | {f"reference_{name}": [] for name in options if name != "related"}
    assert listed(torch.ones(2, 3), [0, 0], torch.ones(0, 3), [], **options) == [[], []]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"related": torch.ones(2, 2, dtype=torch.int64)}, r"related must be bool, or .* of shape \(2, 2\)"),
        ({"related": torch.ones(2, 3, dtype=torch.bool)}, r"related must be bool, or .* of shape \(2, 2\)"),
        ({"related": torch.ones(3, 2)}, r"related must be bool, or .* got float32 of shape \(3, 2\)"),
        ({"related": -torch.ones(2, 2)}, "related must be finite and >= 0"),
        ({"related": torch.full((2, 2), torch.nan)}, "related must be finite and >= 0"),
        ({"labels": torch.ones(3, 2, dtype=torch.bool)}, "labels must have 2 rows"),
        ({"ids": [0.5, 1.5]}, "ids must be integers"),
        ({"ids": [0]}, r"ids must have shape \(2,\)"),
        (
            {"groups": [0, 1], "reference_groups": [0, 1]},
            "reference_groups came without references; give groups",
        ),
        (
            {"references": torch.ones(1, 3), "reference_labels": [0], "ids": [0, 1]},
            "give ids and reference_ids both or neither",
        ),
    ],
)
def test_says_what_is_wrong_with_a_relation(options, message):
    with pytest.raises(InputError, match=f"^rank_blocks: .*{message}"):
        rank_blocks(**({"embeddings": torch.ones(2, 3), "labels": [0, 1]} | options))
