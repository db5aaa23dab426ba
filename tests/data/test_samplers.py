"""Batches: what a batch holds, how evenly classes and rows come, and that draws are uniform."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from mimetric.core.errors import InputError
from mimetric.data.samplers import ClassBalancedSampler, class_balanced_batches, random_batches


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def cases(draw):
    """Labels with any ids and class sizes, singletons among them, and batches that can be made."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    ids = draw(st.lists(st.integers(-5, 10**12), min_size=len(sizes), max_size=len(sizes), unique=True))
    labels = draw(st.permutations([i for i, size in zip(ids, sizes) for _ in range(size)]))
    return torch.tensor(labels), draw(st.integers(1, 5)), draw(st.integers(1, len(sizes)))


@given(cases(), st.integers(1, 30), st.integers(0, 9))
def test_each_batch_holds_per_class_rows_of_different_classes(case, num_batches, seed):
    labels, per_class, classes_a_batch = case
    size = per_class * classes_a_batch
    rows = class_balanced_batches(
        labels, batch_size=size, per_class=per_class, num_batches=num_batches, generator=generator(seed)
    ).rows
    assert rows.shape == (num_batches, size)
    assert rows.dtype == torch.int64
    class_size, drawn = Counter(labels.tolist()), Counter()
    for batch in rows.view(num_batches, classes_a_batch, per_class).tolist():
        of_batch = [{int(labels[row]) for row in group} for group in batch]
        assert all(len(of_group) == 1 for of_group in of_batch)
        assert len(set.union(*of_batch)) == classes_a_batch
        for group, (label,) in zip(batch, of_batch):
            times = Counter(group).values()
            assert len(times) == min(per_class, class_size[label])  # every row before any again
            assert max(times) - min(times) <= 1
            drawn[label] += 1
    counts = [drawn[label] for label in class_size]
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 40), st.data(), st.integers(1, 30))
def test_random_batches_go_through_all_rows(n, data, num_batches):
    size = data.draw(st.integers(1, n))
    rows = random_batches(n, batch_size=size, num_batches=num_batches, generator=generator()).rows
    assert rows.shape == (num_batches, size)
    assert all(len(set(batch)) == size for batch in rows.tolist())
    counts = torch.bincount(rows.flatten(), minlength=n)
    assert counts.max() - counts.min() <= 1
    epochs = rows.flatten()[: rows.numel() // n * n].view(-1, n)
    assert (epochs.sort(dim=1).values == torch.arange(n)).all()


def test_random_batches_count_the_rows_of_labels():
    labels = torch.tensor([5, 5, 7, 7, 7])
    kwargs = {"batch_size": 2, "num_batches": 5}
    assert torch.equal(
        random_batches(labels, generator=generator(), **kwargs).rows,
        random_batches(5, generator=generator(), **kwargs).rows,
    )


def test_subsets_are_uniform():
    # Class 0 has 6 rows: all 20 subsets of 3 are equally likely.  Of 20,000 draws each gets 1,000,
    # with a standard deviation of 31; 5 of these are never seen by chance.
    labels = torch.tensor([0] * 6 + [1])
    rows = class_balanced_batches(
        labels, batch_size=6, per_class=3, num_batches=20_000, generator=generator()
    ).rows
    rows = rows.view(-1, 3)
    subsets = Counter(tuple(row) for row in rows[rows[:, 0] < 6].sort(dim=1).values.tolist())
    assert len(subsets) == 20
    assert max(abs(count - 1000) for count in subsets.values()) < 155


def test_classes_meet_evenly():
    # 7 classes, 3 a batch: each of the 21 pairs meets in a seventh of 14,000 batches, though rounds
    # end inside batches.  Standard deviation 41.
    labels = torch.arange(7)
    rows = class_balanced_batches(
        labels, batch_size=3, per_class=1, num_batches=14_000, generator=generator()
    ).rows
    meet = torch.zeros(7, 7)
    meet.index_put_((rows[:, [0, 0, 1]], rows[:, [1, 2, 2]]), torch.tensor(1.0), accumulate=True)
    meet = (meet + meet.T)[~torch.eye(7, dtype=torch.bool)]
    assert (meet - 2000).abs().max() < 200


DRAWN = {
    "balanced": lambda random: class_balanced_batches(
        torch.arange(40) % 8, batch_size=8, per_class=2, num_batches=9, generator=random
    ),
    "random": lambda random: random_batches(40, batch_size=8, num_batches=9, generator=random),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("given", [0, 1, 5, 9])
def test_drawn_batches_go_on_where_they_were(draw, given):
    random = generator()
    draw(random)
    batches = draw(random)  # of the second epoch of one generator
    assert len(batches) == 9
    for _ in range(given):
        next(batches)
    state = json.loads(json.dumps(batches.state_dict()))
    other = generator(7)
    again = draw(other)
    again.load_state_dict(state)
    assert again.state_dict() == state
    expected = batches.rows[given:].tolist()
    assert [rows.tolist() for rows in again] == expected
    assert [rows.tolist() for rows in batches.to("cpu")] == expected
    assert torch.equal(draw(random).rows, draw(other).rows)  # the third


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 10}, r"batch must be a number in 0\.\.9, .* got 10"),
        ({"batch": None}, "batch must be .* got None"),
        ({"generator": [1, 2]}, "generator must be 632 numbers"),
        ({"generator": ["x"] * 632}, "generator must be 632 numbers"),
        ({"generator": [1 << 70] * 632}, "generator must be 632 numbers"),
        ({"generator": [0] * 632}, "generator must be 632 numbers"),
    ],
)
def test_drawn_batches_refuse_other_states(change, message):
    batches = DRAWN["random"](generator())
    with pytest.raises(InputError, match=message):
        batches.load_state_dict(batches.state_dict() | change)


def test_sampler_feeds_a_loader():
    labels = torch.arange(12).repeat_interleave(5)
    sampler = ClassBalancedSampler(labels, batch_size=8, per_class=2, num_batches=300)
    loader = DataLoader(TensorDataset(labels), batch_sampler=sampler)
    assert len(loader) == 300
    drawn = torch.stack([batch for (batch,) in loader])
    assert drawn.shape == (300, 8)
    assert (drawn.flatten().bincount() == 200).all()  # 2,400 rows over 12 classes, across its chunks


def test_passes_differ_and_repeat():
    def passes(seed: int, labels: object, count: int = 2) -> list[list[list[int]]]:
        sampler = ClassBalancedSampler(labels, batch_size=4, per_class=2, seed=seed)
        return [list(sampler) for _ in range(count)]

    labels = np.arange(10).repeat(3)
    first, second = passes(0, labels)
    assert len(first) == 30 // 4
    assert first != second
    assert [first, second] == passes(0, labels.tolist())
    assert first != passes(1, labels)[0]
    resumed = ClassBalancedSampler(labels, batch_size=4, per_class=2, seed=0)
    resumed.set_epoch(1)
    assert list(resumed) == second


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ClassBalancedSampler([0.0, 1.0], batch_size=2, per_class=1),
            "labels must be .*, got torch.float",
        ),
        (
            lambda: ClassBalancedSampler([[0, 1]], batch_size=2, per_class=1),
            r"bool, got torch.int64 \(1, 2\)",
        ),
        (
            lambda: ClassBalancedSampler([0, 1], batch_size=3, per_class=2),
            "multiple of per_class, got 3 and 2",
        ),
        (lambda: ClassBalancedSampler([0, 1], batch_size=12), "takes 3 classes, got 2; lower batch_size"),
        (lambda: ClassBalancedSampler([], batch_size=4), "labels must be .*, got torch.float32"),
        (lambda: random_batches(3, batch_size=4, num_batches=1, generator=generator()), "1..3"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()


@given(st.integers(1, 12), st.integers(1, 5), st.data(), st.integers(0, 9))
def test_rows_with_several_labels_come_once_in_a_batch(n, num_labels, data, seed):
    flat = data.draw(st.lists(st.booleans(), min_size=n * num_labels, max_size=n * num_labels))
    labels = torch.tensor(flat).reshape(n, num_labels)
    there = int(labels.any(0).sum())
    per_class = data.draw(st.integers(1, 3))
    classes = data.draw(st.integers(1, 5))
    size = classes * per_class
    options = {"batch_size": size, "per_class": per_class, "num_batches": 5, "generator": generator(seed)}
    if classes > there or size > n:
        with pytest.raises(InputError, match="class_balanced_batches: batch_size"):
            class_balanced_batches(labels, **options)
        return
    rows = class_balanced_batches(labels, **options).rows
    assert rows.shape == (5, size)
    assert all(len(set(batch)) == size for batch in rows.tolist())
    assert rows.min() >= 0
    assert rows.max() < n


def test_one_label_each_is_a_class_id():
    labels = torch.arange(40) % 8
    options = {"batch_size": 8, "per_class": 4, "num_batches": 20}
    expected = class_balanced_batches(labels, generator=generator(), **options).rows
    one_hot = labels[:, None] == torch.arange(9)  # and a label that nobody has
    rows = class_balanced_batches(one_hot, generator=generator(), **options).rows
    assert rows.tolist() == expected.tolist()


def test_a_relation_gives_batches_of_related_rows():
    # A chain: each row belongs to its neighbors and itself.
    at = torch.arange(30)
    related = (at[:, None] - at).abs() <= 1
    rows = class_balanced_batches(
        related, batch_size=6, per_class=3, num_batches=50, generator=generator()
    ).rows
    ends, whole = 0, 0
    for group in rows.view(-1, 3).sort(1).values.tolist():
        whole += group[2] - group[0] == 2
        ends += 0 in group or 29 in group
    assert whole >= 100 - ends - 20  # all but classes of two, at the ends, and rows met twice
