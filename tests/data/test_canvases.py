from __future__ import annotations

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.data.canvases import composed

OBJECTS = torch.rand(9, 8, 8, generator=torch.Generator().manual_seed(0))
OBJECTS[:, 0] = OBJECTS[:, :, 7] = 0  # no ink at the upper and the right edge
LABELS = torch.arange(9)


def test_a_canvas_holds_the_object_where_its_box_says() -> None:
    found = composed(OBJECTS, LABELS, 40, side=20, scrap=3, generator=torch.Generator().manual_seed(1))
    assert found.x.shape == (40, 1, 20, 20)
    assert 0 <= found.x.min() <= found.x.max() <= 1
    for canvas, which, (left, top, right, bottom) in zip(found.x[:, 0], found.y, found.box.tolist()):
        down, across = (OBJECTS[which] > 0.2).nonzero().unbind(1)
        ink = OBJECTS[which, down.min() : down.max() + 1, across.min() : across.max() + 1]
        assert ink.shape == (bottom - top + 1, right - left + 1)
        assert (canvas[top : bottom + 1, left : right + 1] >= ink - 1e-6).all()


def test_objects_and_places_are_drawn_by_the_generator() -> None:
    one, same, other = (
        composed(OBJECTS, LABELS, 5, side=20, scrap=3, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(one.x, same.x)
    assert not torch.equal(one.x, other.x)
    assert len({tuple(box) for box in one.box[:, :2].tolist()}) > 1
    torch.manual_seed(0)
    assert torch.equal(composed(OBJECTS, LABELS, 5, side=20, scrap=3).x, one.x)  # torch's own generator


def test_without_noise_and_scraps_there_is_the_object_alone() -> None:
    found = composed(OBJECTS, LABELS, 6, side=20, scraps=0, noise=0)
    torch.testing.assert_close(found.x.sum((1, 2, 3)), OBJECTS[found.y].sum((1, 2)))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 8, 7), {}, r"must be square objects \(m, item, item\).*got \(2, 8, 7\)"),
        ((2, 8, 8), {"side": 7}, r"item from scrap \(6\) to side \(7\), got \(2, 8, 8\)"),
        ((2, 8, 8), {"scrap": 9}, r"item from scrap \(9\)"),
        ((2, 8, 8), {"count": 0}, "count must be > 0, got 0"),
    ],
)
def test_mistakes(shape: tuple[int, ...], options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=f"^composed: .*{message}"):
        composed(torch.zeros(shape), torch.zeros(shape[0]), **{"count": 3, **options})
