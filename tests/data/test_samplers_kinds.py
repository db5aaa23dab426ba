"""What is special to each sampler, beside plain loops: who is covered when, who meets whom, how often."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.data.samplers import (
    HardClassSampler,
    HierarchicalSampler,
    MPerClassSampler,
    RandomRowSampler,
)
from mimetric.data.samplers.dealing import Groups, came_again, came_before

SIZES = st.lists(st.integers(1, 9) | st.integers(1, 60), min_size=1, max_size=8)
VALUES = st.lists(st.integers(0, 5), min_size=1, max_size=30)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_sizes(sizes: list[int]) -> torch.Tensor:
    """Labels of classes of these sizes, mixed."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=generator())]


@given(VALUES)
def test_who_came_before_by_loops(values):
    assert came_before(torch.tensor(values)).tolist() == [
        values[:place].count(value) for place, value in enumerate(values)
    ]


@given(st.lists(VALUES.map(lambda values: (values * 4)[:4]), min_size=1, max_size=5))
def test_who_came_again_by_loops(sets):
    expected = [[value in line[:place] for place, value in enumerate(line)] for line in sets]
    assert came_again(torch.tensor(sets)).tolist() == expected


@given(VALUES, st.integers(1, 7), st.data())
def test_visits_by_loops(ids, size, data):
    groups = Groups.by(torch.tensor(ids))
    visits = data.draw(st.lists(st.integers(0, len(groups) - 1), min_size=1, max_size=12))
    found = groups.visited(torch.tensor(visits), size, generator()).tolist()
    order, members = defaultdict(list), groups.shuffled(generator()).tolist()
    for member in members:
        order[ids[member]].append(member)
    assert [ids[member] for member in members] == sorted(ids)
    assert sorted(members) == list(range(len(ids)))
    names, place = sorted(order), Counter()
    for visit, taken in zip(visits, found):
        line = order[names[visit]]
        assert taken == [line[(place[visit] + step) % len(line)] for step in range(size)]
        place[visit] += size


def test_every_order_of_a_group_is_alike():
    # 20,000 groups of 3: each of the 6 orders comes about 3,333 times, with a standard deviation of 53.
    groups = Groups.by(torch.arange(20_000).repeat_interleave(3))
    orders = Counter(tuple(line) for line in (groups.shuffled(generator()).view(-1, 3) % 3).tolist())
    assert len(orders) == 6
    assert max(abs(count - 3333) for count in orders.values()) < 5 * 53


@given(st.integers(1, 40), st.data())
def test_random_passes_hold_every_row(n, data):
    sampler = RandomRowSampler(n, batch_size=data.draw(st.integers(1, n)))
    counts = Counter(row for batch in sampler for row in batch)
    assert len(counts) == n
    assert max(counts.values()) <= 2
    assert len(sampler) == -(-n // sampler.batch_size)


@given(SIZES, st.integers(1, 4), st.data())
def test_m_per_class_covers_every_row_as_stated(sizes, per_class, data):
    labels = of_sizes(sizes)
    classes = data.draw(st.integers(1, len(sizes)))
    sampler = MPerClassSampler(labels, batch_size=classes * per_class, per_class=per_class)
    groups = [-(-size // per_class) for size in sizes]
    assert len(sampler) == -(-sum(groups) // classes)
    assert sampler.epochs_to_cover == max(-(-group // len(sampler)) for group in groups)
    for _ in range(2):
        rows = set()
        for _ in range(sampler.epochs_to_cover):
            passed = Counter(row for batch in sampler for row in batch)
            rows |= passed.keys()
            times = Counter()
            for row, count in passed.items():
                times[int(labels[row])] += count
            drawn = [times[label] // per_class for label in range(len(sizes))]
            assert sorted(drawn) == sorted(_by_loops(groups, len(sampler), classes))
            assert all(min(group, len(sampler)) <= some for some, group in zip(drawn, groups))
        assert rows == set(range(len(labels)))


def _by_loops(groups: list[int], batches: int, classes: int) -> list[int]:
    """How often classes are drawn: their groups, and then the least drawn once more, until batches are full."""
    times = [min(group, batches) for group in groups]
    while sum(times) < batches * classes:
        times[times.index(min(times))] += 1
    return times


@given(SIZES, st.integers(1, 4))
def test_m_per_class_gives_the_rows_of_a_class_evenly(sizes, per_class):
    labels = of_sizes(sizes)
    sampler = MPerClassSampler(labels, batch_size=len(sizes) * per_class, per_class=per_class)
    counts = torch.bincount(torch.cat(list(sampler.tensors())), minlength=len(labels))
    for label, _ in enumerate(sizes):
        of_class = counts[labels == label]
        assert of_class.max() - of_class.min() <= 1


def test_one_large_class_needs_several_passes():
    # 100 groups of one class, 10 singletons, two classes a batch: 55 batches, each with the large class once.
    labels = torch.tensor([0] * 100 + list(range(1, 11)))
    sampler = MPerClassSampler(labels, batch_size=2, per_class=1)
    assert (len(sampler), sampler.epochs_to_cover) == (55, 2)
    for _ in range(3):
        batches = torch.stack([*sampler.tensors(), *sampler.tensors()])
        assert batches.shape == (110, 2)
        assert len(batches.unique()) == 110


def test_m_per_class_mixes_classes():
    # 12 classes of 8 groups fill 32 batches of 3: a pair meets in 16 / 11 batches of a pass on average.  Were classes
    # laid beside one another without shuffling, pairs would meet in 8 or in none.
    labels = torch.arange(12).repeat_interleave(8)
    sampler = MPerClassSampler(labels, batch_size=3, per_class=1)
    passes = torch.stack([labels[torch.stack(list(sampler.tensors()))] for _ in range(300)])
    present = torch.nn.functional.one_hot(passes, 12).sum(2).double()  # (passes, batches, classes)
    meet = (present.transpose(1, 2) @ present)[:, ~torch.eye(12, dtype=torch.bool)]
    assert meet.mean(0).sub(16 / 11).abs().max() < 0.4  # a standard deviation of 0.07
    assert (meet >= 7).double().mean() < 0.001
    # 4 classes share a place in the batch and do not meet in this pass: 3 / 11; others miss in about 1 pass of 11.
    assert (meet == 0).double().mean() < 0.4


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4), st.integers(1, 3), st.data())
def test_hierarchical_batches(classes_of, of_each, per_class, data):
    supers_per_batch = data.draw(st.integers(1, len(classes_of)))
    supers = torch.arange(len(classes_of)).repeat_interleave(torch.tensor(classes_of))
    labels = torch.arange(len(supers)).repeat_interleave(6)  # six rows of each
    supers = supers.repeat_interleave(6)
    sampler = HierarchicalSampler(
        labels,
        supers,
        batch_size=supers_per_batch * of_each * per_class,
        per_class=per_class,
        supers_per_batch=supers_per_batch,
    )
    drawn, came = Counter(), Counter()
    for batch in sampler.tensors():
        seen = supers[batch].view(supers_per_batch, -1)
        assert (seen == seen[:, :1]).all()
        assert len(seen[:, 0].unique()) == supers_per_batch
        came.update(seen[:, 0].tolist())
        groups = labels[batch].view(-1, per_class)
        assert (groups == groups[:, :1]).all()
        drawn.update(groups[:, 0].tolist())
        for over, line in zip(seen[:, 0].tolist(), groups[:, 0].view(supers_per_batch, -1).tolist()):
            assert len(set(line)) == min(of_each, classes_of[over])
    assert set(came) == set(range(len(classes_of)))
    assert max(came.values()) - min(came.values()) <= 1
    for over in range(len(classes_of)):
        times = [drawn[int(label)] for label in labels[supers == over].unique()]
        assert max(times) - min(times) <= 1


def test_a_class_under_two_super_classes_is_two():
    labels, supers = torch.zeros(8, dtype=torch.int64), torch.arange(8) % 2
    sampler = HierarchicalSampler(labels, supers, batch_size=2, per_class=2, supers_per_batch=1)
    assert all(len({row % 2 for row in batch}) == 1 for batch in sampler)


def clustered(together: int, nearest: int, **options: int) -> tuple[torch.Tensor, HardClassSampler]:
    """Classes 0..15 of 5 rows; four and four will be confused."""
    labels = torch.arange(16).repeat_interleave(5)
    return labels, HardClassSampler(
        labels, batch_size=16, per_class=2, together=together, nearest=nearest, **options
    )


@pytest.mark.parametrize("by", ["means", "counts"])
def test_confused_classes_come_together(by):
    labels, sampler = clustered(4, 3)
    cluster = torch.arange(16) // 4
    corners = torch.nn.functional.one_hot(cluster, 4).double()
    if by == "means":
        sampler.confuse_by_means(corners + torch.rand(16, 4, generator=generator()).double() / 10)
    else:
        sampler.confuse_by_counts(corners @ corners.T)
    firsts = Counter()
    for batch in sampler.tensors():
        classes = labels[batch].view(-1, 2)[:, 0].tolist()
        firsts.update(classes[:2])
        for first in classes[:2]:  # with two of one cluster four others come from anywhere
            assert set(torch.arange(16)[cluster == cluster[first]].tolist()) <= set(classes)
    assert set(firsts) == set(range(16))
    assert max(firsts.values()) - min(firsts.values()) <= 1


@given(st.integers(0, 99), st.integers(3, 5))
def test_nearest_classes_by_loops(seed, nearest):
    means = torch.randn(16, 3, generator=generator(seed), dtype=torch.float64)
    counts = torch.randint(0, 3, (16, 16), generator=generator(seed)).double()
    _, sampler = clustered(2, nearest)
    sampler.confuse_by_means(means)
    unit = [[value / sum(v * v for v in mean) ** 0.5 for value in mean] for mean in means.tolist()]
    for one, found in enumerate(sampler.state_dict()["confused"]):
        cosine = {
            other: sum(a * b for a, b in zip(unit[one], unit[other])) for other in range(16) if other != one
        }
        assert found == sorted(cosine, key=lambda other: -cosine[other])[:nearest]
    sampler.confuse_by_counts(counts)
    for one, found in enumerate(sampler.state_dict()["confused"]):
        taken = {
            other: counts[one, other].item() + counts[other, one].item()
            for other in range(16)
            if other != one
        }
        assert one not in found
        assert [taken.get(other, 0) for other in found] == sorted(taken.values(), reverse=True)[:nearest]


def test_what_nobody_confuses_comes_from_all():
    labels, sampler = clustered(8, 8)
    sampler.confuse_by_counts(torch.zeros(16, 16))
    assert sampler.state_dict()["confused"] == [[-1] * 8] * 16
    classes = torch.cat([labels[batch] for batch in sampler.tensors()]).bincount(minlength=16)
    assert (classes > 0).all()


def test_confusion_holds_from_the_next_pass():
    counts = torch.arange(16 * 16).view(16, 16) % 7
    _, plain = clustered(4, 4)
    expected = list(plain)
    _, sampler = clustered(4, 4)
    batches = iter(sampler)
    given = [next(batches)]
    sampler.confuse_by_counts(counts)
    state = json.loads(json.dumps(sampler.state_dict()))
    given += batches
    assert given == expected
    following = list(sampler)
    _, again = clustered(4, 4)
    again.load_state_dict(state)
    assert [expected[0], *again] == expected
    assert list(again) == following
    _, held = clustered(4, 4)
    held.confuse_by_counts(counts)
    held.set_epoch(1)
    assert list(held) == following
    assert list(plain) != following


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MPerClassSampler([0.5, 1.0], batch_size=2, per_class=1), r"labels must be \(n,\) int.*float"),
        (lambda: MPerClassSampler([[0, 1]], batch_size=2, per_class=1), r"integers, got torch.int64 \(1, 2\)"),
        (lambda: MPerClassSampler([True, False], batch_size=2, per_class=1), "integers, got torch.bool"),
        (lambda: MPerClassSampler([0, 1], batch_size=3, per_class=2), "multiple of per_class, got 3 and 2"),
        (lambda: MPerClassSampler([0, 1], batch_size=12), "takes 3 classes, got 2; lower batch_size"),
        (lambda: MPerClassSampler([0, 1], batch_size=2, per_class=0), "per_class must be a whole number.* got 0"),
        (lambda: RandomRowSampler(3, batch_size=4), r"batch_size must be in 1\.\.3, the number of rows, got 4"),
        (lambda: HierarchicalSampler([0, 1], [0, 1], batch_size=6, per_class=2), r"multiple of .* \(2 \* 2\), got 6"),
        (lambda: HierarchicalSampler([0, 1], [0, 0], batch_size=4, per_class=2), "at most 1, the number of super"),
        (lambda: HierarchicalSampler([0, 1], [0], batch_size=4, per_class=2), r"super_labels must have shape \(2,\)"),
        (lambda: HierarchicalSampler([0, 1], [0.5, 1], batch_size=4, per_class=2), "super_labels must .*float"),
        (lambda: clustered(3, 8), r"multiple of per_class \* together \(2 \* 3\), got 16"),
        (lambda: clustered(4, 2), r"nearest must be at least together - 1 \(3\), got 2"),
        (lambda: clustered(4, 4)[1].confuse_by_means(torch.ones(3, 2)), r"shape \(16, width\).*got \(3, 2\)"),
        (lambda: clustered(4, 4)[1].confuse_by_counts(torch.ones(3, 2)), r"shape \(16, 16\).*got \(3, 2\)"),
        (lambda: clustered(4, 4)[1].confuse_by_counts(-torch.ones(16, 16)), "counts must be numbers >= 0"),
        (lambda: clustered(4, 4)[1].load_state_dict({"confused": [[99]] * 16}), "confused must be a list of class"),
        (lambda: clustered(4, 4)[1].load_state_dict({}), "confused must be a list of class"),
    ],
)  # fmt: skip
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message) as mistake:
        call()
    assert "\n" not in str(mistake.value)
