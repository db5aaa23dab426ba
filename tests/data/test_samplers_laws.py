"""What all samplers promise: sizes, shares of processes, going on anywhere, what comes twice, what comes at all."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from mimetric.data.samplers import (
    ClassBalancedSampler,
    HardClassSampler,
    HierarchicalSampler,
    MPerClassSampler,
    RandomRowSampler,
    share,
)


def hard(labels, _, **options):
    sampler = HardClassSampler(labels, together=1, nearest=3, **options)
    size = len(sampler.classes)
    if size < 1000:  # counts are of classes by classes
        sampler.confuse_by_counts((torch.arange(size)[:, None] + torch.arange(size)) % 5)
    return sampler


SAMPLERS = {
    "random": lambda labels, _, **options: RandomRowSampler(labels, **options),
    "class-balanced": lambda labels, _, **options: ClassBalancedSampler(labels, **options),
    "m-per-class": lambda labels, _, **options: MPerClassSampler(labels, **options),
    "hierarchical": lambda labels, supers, **options: HierarchicalSampler(
        labels, supers, supers_per_batch=1, **options
    ),
    "hard": hard,
}
EVERY = pytest.mark.parametrize("name", SAMPLERS)
OF_CLASSES = pytest.mark.parametrize("name", ["class-balanced", "m-per-class", "hard"])


@st.composite
def cases(draw):
    """Labels of any ids, super-labels, and sizes that any sampler takes."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    ids = draw(st.lists(st.integers(-5, 10**12), min_size=len(sizes), max_size=len(sizes), unique=True))
    labels = draw(st.permutations([i for i, size in zip(ids, sizes) for _ in range(size)]))
    labels = torch.tensor(labels)
    per_class = draw(st.integers(1, 4))
    classes = draw(st.integers(1, len(sizes)))
    supers = labels % draw(st.integers(1, 3))
    return labels, supers, {"per_class": per_class, "batch_size": classes * per_class}


def make(name, case, **options):
    labels, supers, sizes = case
    if name == "random":
        sizes = {"batch_size": min(sizes["batch_size"], len(labels))}
    return SAMPLERS[name](labels, supers, **(sizes | options))


def saved(sampler):
    """Its state, by way of a file of JSON."""
    return json.loads(json.dumps(sampler.state_dict(), allow_nan=False))


@EVERY
@given(case=cases())
def test_a_pass_has_so_many_batches_of_one_size(name, case):
    sampler = make(name, case)
    for _ in range(2):
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert {len(batch) for batch in batches} == {sampler.batch_size}
        assert all(0 <= row < len(case[0]) for batch in batches for row in batch)


@EVERY
@given(case=cases())
def test_rows_come_twice_in_a_batch_only_where_a_class_is_short(name, case):
    labels, supers, sizes = case
    sampler = make(name, case)
    classes = list(zip(supers.tolist(), labels.tolist())) if name == "hierarchical" else labels.tolist()
    class_size = Counter(classes)
    supers_size = Counter(over for over, _ in class_size) if name == "hierarchical" else {}
    for batch in sampler:
        for row, times in Counter(batch).items():
            asked = sizes["per_class"]
            if name == "hierarchical":  # its super-class may lack classes
                asked *= -(-sampler.batch_size // sizes["per_class"] // supers_size[classes[row][0]])
            allowed = 1 if name == "random" else -(-asked // class_size[classes[row]])
            assert times <= allowed


@OF_CLASSES
@given(case=cases())
def test_classes_in_a_batch_differ_and_all_come(name, case):
    labels, _, sizes = case
    seen = set()
    for batch in make(name, case):
        groups = labels[batch].view(-1, sizes["per_class"])
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0].tolist())) == len(groups)
        seen |= set(groups[:, 0].tolist())
    assert seen == set(labels.tolist())


@EVERY
@given(case=cases(), world=st.integers(1, 5), data=st.data())
def test_processes_share_every_batch(name, case, world, data):
    whole = make(name, case)
    world = min(world, whole.batch_size)
    parts = [make(name, case, rank=rank, world=world) for rank in range(world)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert list(chain(*shares)) == batch
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    rank = data.draw(st.integers(0, world - 1))
    assert share(torch.tensor(batch), rank, world).tolist() == shares[rank]


@EVERY
@given(case=cases(), data=st.data())
def test_goes_on_where_it_was(name, case, data):
    whole = make(name, case, seed=3)
    expected = [list(whole) for _ in range(3)]
    epoch, batch = data.draw(st.integers(0, 1)), data.draw(st.integers(0, len(whole)))
    stopped = make(name, case, seed=3)
    stopped.set_epoch(epoch)
    given = stopped.tensors()
    assert [next(given).tolist() for _ in range(batch)] == expected[epoch][:batch]
    again = make(name, case, seed=data.draw(st.integers(0, 9)))  # the seed comes with the state
    next(again.tensors())
    again.load_state_dict(saved(stopped))
    assert again.state_dict() == stopped.state_dict()
    assert list(again) == expected[epoch][batch:]
    assert list(again) == expected[epoch + 1]


@EVERY
def test_goes_on_with_other_processes(name):
    case = torch.arange(60) % 12, torch.arange(60) % 3, {"per_class": 2, "batch_size": 12}
    expected = list(make(name, case))
    alone = make(name, case)
    batches = iter(alone)
    next(batches)
    parts = [make(name, case, rank=rank, world=3) for rank in range(3)]
    for part in parts:
        part.load_state_dict(saved(alone))
    assert [list(chain(*shares)) for shares in zip(*parts)] == expected[1:]


@EVERY
def test_seeds_and_passes_differ_and_repeat(name):
    case = torch.arange(90) % 18, torch.arange(90) % 3, {"per_class": 2, "batch_size": 12}
    sampler = make(name, case)
    passes = [list(sampler) for _ in range(3)]
    assert all(one != other for one, other in pairwise(passes))
    assert passes[0] != list(make(name, case, seed=1))
    again = make(name, case)
    again.set_epoch(2)
    assert list(again.tensors())[1].tolist() == passes[2][1]
    half = make(name, case)
    next(iter(half))
    assert list(half) == passes[1]  # a pass left halfway is over


@EVERY
def test_parts_change_nothing(name, monkeypatch):
    case = torch.arange(600) % 18, torch.arange(600) % 3, {"per_class": 2, "batch_size": 6}
    whole = list(make(name, case))
    assert len(whole) >= 100
    monkeypatch.setattr("mimetric.data.samplers.passes._VIEWS", 7)
    assert list(make(name, case)) == whole


@EVERY
@pytest.mark.parametrize("num_workers", [0, 2])
def test_feeds_a_loader(name, num_workers):
    case = torch.arange(60) % 12, torch.arange(60) % 3, {"per_class": 2, "batch_size": 12}
    loader = DataLoader(
        TensorDataset(torch.arange(60)), batch_sampler=make(name, case), num_workers=num_workers
    )
    assert [batch.tolist() for (batch,) in loader] == list(make(name, case))


@EVERY
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 6}, "batch_size was 6 and is 12; go on with the data and options of the saved run"),
        ({"num_batches": 9}, "num_batches was 9 and is "),
        ({"batch": 10**6}, "batch must be in 0"),
        ({"batch": -1}, "batch must be a number >= 0, got -1"),
        ({"epoch": "1"}, "epoch must be a number >= 0, got '1'"),
        ({"seed": None}, "seed must be a number >= 0, got None"),
    ],
)
def test_refuses_the_state_of_others(name, change, message):
    case = torch.arange(60) % 12, torch.arange(60) % 3, {"per_class": 2, "batch_size": 12}
    sampler = make(name, case)
    with pytest.raises(ValueError, match=message):
        sampler.load_state_dict(sampler.state_dict() | change)


@EVERY
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be a whole number, at least 0, got -1"),
        ({"rank": 2, "world": 2}, r"rank must be in 0\.\.1, below world \(2\), got 2"),
        ({"world": 0}, "world must be a whole number, at least 1, got 0"),
        ({"world": 13}, "batch_size, over all processes, must be at least their number 13, got 12"),
        ({"batch_size": 0}, "batch_size must be a whole number, at least 1, got 0"),
    ],
)
def test_mistakes(name, options, message):
    case = torch.arange(60) % 12, torch.arange(60) % 3, {"per_class": 2, "batch_size": 12}
    with pytest.raises(ValueError, match=message) as mistake:
        make(name, case, **options)
    assert "\n" not in str(mistake.value)


@pytest.mark.slow
@EVERY
def test_ten_million_rows(name):
    rows = torch.arange(10**7)
    sampler = make(name, (rows % 10**6, rows % 1000, {"per_class": 4, "batch_size": 128}))
    batches = sampler.tensors()
    drawn = torch.stack([next(batches) for _ in range(1000)])
    assert drawn.shape == (1000, 128)
    assert (drawn.sort(dim=1).values.diff() > 0).all()
    if name in ("random", "m-per-class"):
        drawn = torch.cat([drawn.flatten(), *batches])
        assert torch.equal(drawn.unique(), rows)
