"""Batches of rows that come together: triplets and pairs of a file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.train.batches import EndlessBatches
from mimetric.train.checkpoint import load_encoder
from mimetric.train.loop import Training
from mimetric.train.options import FitOptions
from mimetric.train.state import save_training

Y = torch.arange(40) % 8
TRIPLETS = torch.tensor([[a, (a + 8) % 40, (a + 1) % 40] for a in range(40)])


@pytest.mark.parametrize("together", [TRIPLETS, TRIPLETS[:, :2], TRIPLETS[:3]])
def test_a_batch_is_whole_lines_and_a_row_comes_once(together: torch.Tensor) -> None:
    options = FitOptions(batch_size=12)
    lines_of_a_batch = min(len(together), 12 // together.shape[1])
    seen: list[int] = []
    for batch in islice(EndlessBatches(Y, 0, options, together), -(-len(together) // lines_of_a_batch)):
        held = set(batch.tolist())
        assert len(held) == len(batch) <= 12
        whole = [line for line, rows in enumerate(together.tolist()) if held >= set(rows)]
        assert held == {row for line in whole for row in together[line].tolist()}
        assert len(whole) >= lines_of_a_batch
        seen += whole
    assert set(seen) == set(range(len(together)))


def test_the_batches_go_on_from_their_state() -> None:
    options = FitOptions(batch_size=12)
    batches = EndlessBatches(Y, 3, options, TRIPLETS)
    for _ in range(5):
        next(batches)
    again = EndlessBatches(Y, 3, options, TRIPLETS)
    again.load_state_dict(batches.state_dict())
    for mine, other in zip(islice(again, 9), islice(batches, 9)):
        assert torch.equal(mine, other)


def test_any_objective_trains_on_them_and_other_lines_are_other_rows() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    options = FitOptions(encoder="linear", steps=4, batch_size=12, width=4, device="cpu")
    runs = {
        (name, lines): Training(x, Y, name, options=options, together=TRIPLETS[:lines])
        for name, lines in (("supcon", 40), ("supcon", 20), ("normalized-softmax", 40))
    }
    for run in runs.values():
        run.advance(4)
        assert torch.isfinite(run.losses).all()
        assert run.sides() is not None
    assert runs["supcon", 40].rows_digest != runs["supcon", 20].rows_digest


def test_training_starts_from_the_encoder_of_a_run(tmp_path: Path) -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    options = FitOptions(encoder="linear", steps=4, batch_size=12, width=4, device="cpu")
    first = Training(x, Y, "supcon", options=options)
    first.advance(4)
    save_training(tmp_path / "first", first)
    options = FitOptions(start=str(tmp_path / "first"), steps=2, batch_size=12, device="cpu")
    then = Training(x, Y, "triplet", options=options, together=TRIPLETS)
    assert torch.equal(then.embed(x), first.embed(x))
    then.advance(2)
    save_training(tmp_path / "then", then)
    assert not torch.equal(then.embed(x), first.embed(x))
    assert load_encoder(tmp_path / "then").settings["encoder"] == "linear"
    with pytest.raises(InputError, match=r"start: the encoder of .* takes rows of shape \(6,\), got \(5,\)"):
        Training(x[:, :5], Y, "triplet", options=options)
