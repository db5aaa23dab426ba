"""Each term beside its own definition, where laws of losses do not reach."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core import exponentials, hinges, terms, triplets
from mimetric.core.pooled import Within
from mimetric.core.reduce import Mean, Near

TERMS = [
    exponentials.LogSumExp(3.0, 0.25),
    hinges.Hinge(-0.3),  # at its corner a hinge may have any slope from 0 to 1
    hinges.SquaredHinge(-0.5),
    terms.Square(),
    hinges.WeightedHinge(0.0, -0.3),
    hinges.WeightedHinge(3.0, -0.25),
    hinges.WeightedHinge(3.0, -0.25, constant=True),
    exponentials.Softplus(3.0, 0.25),
    exponentials.TiltedMean(3.0, 0.0),
    exponentials.TiltedMean(3.0, 0.5),
    hinges.RootHinge(),
    exponentials.CircleLogSumExp(3.0, 0.25),
    exponentials.CircleLogSumExp(80.0, 0.4),
    terms.Counted(terms.Total()),
    terms.FullPrecision(exponentials.LogSumExp(3.0, 0.25)),
    terms.Counted(hinges.SquaredHinge(-0.5)),
    terms.Hardest(),
    triplets.DrawnTriplets(0.5, 8, 0.5, 1.4),
    triplets.DrawnTriplets(0.5, 2, 0.1, 1.9),
    triplets.HardestBelow(),
    Within(exponentials.LogSumExp(3.0, 0.25), -0.5, 0.5),
    triplets.TripletHinge(0.5),
    triplets.TripletHinge(0.5, semi_hard=True),
]
STEPS = st.integers(-4, 4).map(lambda k: k / 4)  # exact in binary: ties everywhere


@pytest.mark.parametrize("most", [0, 100], ids=["searched", "passed"])
@pytest.mark.parametrize("term", TERMS, ids=repr)
@given(data=st.data())
def test_slopes_are_those_of_the_definition(term, most, data):
    # Also where similarities tie exactly, with each other, with thresholds and with positives.
    rows, negatives, positives = (data.draw(st.integers(1, size)) for size in (3, 5, 4))

    def drawn(elements, width):
        flat = data.draw(st.lists(elements, min_size=rows * width, max_size=rows * width))
        return torch.tensor(flat).reshape(rows, width)

    sim = drawn(STEPS, negatives).double().masked_fill(drawn(st.booleans(), negatives), -torch.inf)
    near = Near(drawn(STEPS, positives).double(), drawn(st.booleans(), positives))
    leaf = sim.clone().requires_grad_()
    expected = term.far(leaf, near)
    expected, count = (expected.total, expected.count) if isinstance(expected, Mean) else (expected, None)
    [slopes] = torch.autograd.grad(expected.sum(), leaf)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triplets, "_MOST_PASSES", most)
        sums = term.slopes_(sim, near, 2.0)
    torch.testing.assert_close(sums.total, expected.detach())
    if count is not None:
        torch.testing.assert_close(sums.count, count)
    some = sums.total != -torch.inf  # over none the engine multiplies by 0
    factor = torch.as_tensor(sums.factor).expand(rows)[some, None]
    torch.testing.assert_close((factor * sim[some]).double(), slopes[some])


@pytest.mark.parametrize("scale", [1.0, 50.0, 64.0, 65.0, 300.0])
@pytest.mark.parametrize(("low", "high"), [(-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (0.4, 0.6)])
def test_log_sums_keep_their_digits_in_float32(scale, low, high):
    # With and without the largest number of each row taken off: 64 is where the ways part.
    sim = torch.linspace(low, high, 4096).repeat(2, 1)
    sim[1, 1:] = -torch.inf
    term, exact = exponentials.LogSumExp(scale, 0.5), sim.double().requires_grad_()
    near = Near(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool))
    expected = term.far(exact, near)
    [slopes] = torch.autograd.grad(expected.sum(), exact)
    sums = term.slopes_(sim, near, 2.0)
    torch.testing.assert_close(sums.total, expected.detach().float(), rtol=1e-5, atol=1e-5)
    found = sim * (1e-5 * sums.factor[:, None])  # times what arrives, a share of many rows
    torch.testing.assert_close(found, 1e-5 * slopes.float(), rtol=1e-4, atol=1e-30)
