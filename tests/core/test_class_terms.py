"""What other classes add, beside its own definition: whole classes are there or not."""

from __future__ import annotations

from math import cos, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core import class_terms as terms
from mimetric.core.reduce import Near

TERMS = [
    *(terms.NearestCenters(k) for k in (1, 2, 3)),
    *(terms.SoftCenters(k, 2.5) for k in (1, 2, 3)),
    terms.HarderClasses(0.25, 1.0, 0.5),
    terms.HarderClasses(-0.5, 2.0, 0.1),
    terms.HarderClasses(torch.tensor(0.75), 0.5, 0.3),
]
STEPS = st.integers(-4, 4).map(lambda k: k / 4)  # exact in binary: ties everywhere


@pytest.mark.parametrize("spread", [2.0, float("inf")])
@pytest.mark.parametrize("term", TERMS, ids=repr)
@given(data=st.data())
def test_slopes_are_those_of_the_definition(term, spread, data):
    rows, classes, positives = (data.draw(st.integers(1, size)) for size in (3, 4, 3))
    centers = getattr(term, "centers", 1)

    def drawn(elements, width):
        flat = data.draw(st.lists(elements, min_size=rows * width, max_size=rows * width))
        return torch.tensor(flat).reshape(rows, width)

    absent = drawn(st.booleans(), classes).repeat_interleave(centers, 1)
    sim = drawn(STEPS, classes * centers).double().masked_fill(absent, -torch.inf)
    near = Near(drawn(STEPS, positives).double(), drawn(st.booleans(), positives))
    leaf = sim.clone().requires_grad_()
    expected = term.far(leaf, near)
    [slopes] = torch.autograd.grad(expected.sum(), leaf)
    sums = term.slopes_(sim, near, spread)
    torch.testing.assert_close(sums.total, expected.detach())
    some = sums.total != -torch.inf  # over none the engine multiplies by 0
    factor = torch.as_tensor(sums.factor).expand(rows)[some, None]
    torch.testing.assert_close(factor * sim[some], slopes[some])


def test_values():
    none = Near(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool))
    # Two classes of two centers: the nearest are log 3 and log 5.
    sim = torch.tensor([[log(3), 0.0, log(2), log(5)]])
    assert terms.NearestCenters(2).far(sim, none).item() == pytest.approx(log(8))
    # Weights 1/4 and 3/4 at sharpness 1 for 0 and log 3: 3/4 log 3 in all.
    sim = torch.tensor([[0.0, log(3)]])
    assert terms.SoftCenters(2, 1.0).far(sim, none).item() == pytest.approx(0.75 * log(3))
    # The own class at cosine 1: cos(0 + 0.5) = 0.878, so 0.9 is hard and counts as 2 * 0.9 * (0.3 + 0.9) at scale 2.
    own = Near(torch.tensor([[2.0]]), torch.tensor([[True]]))
    assert cos(0.5) < 0.9
    far = terms.HarderClasses(0.3, 2.0, 0.5).far(torch.tensor([[1.8, 1.7]]), own)
    expected = torch.tensor([2.16, 1.7]).logsumexp(0)
    torch.testing.assert_close(far, expected[None])


def test_shifted_cosine_is_finite_at_both_ends():
    cosine = torch.tensor([-1.0, -0.999, 0.3, 1.0, 1.0000001], dtype=torch.float64, requires_grad=True)
    value = terms.shifted_cosine(cosine, 0.4)
    angle = cosine.detach().clamp(-1, 1).acos()
    torch.testing.assert_close(value.detach(), (angle + 0.4).cos(), atol=1e-6, rtol=0)
    [slope] = torch.autograd.grad(value.sum(), cosine)
    assert slope[[0, 3, 4]].tolist() == pytest.approx([cos(0.4)] * 3)
    inside = angle[1:3]
    torch.testing.assert_close(slope[1:3], (inside + 0.4).sin() / inside.sin())
