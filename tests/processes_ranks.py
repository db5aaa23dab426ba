"""What test_processes.py runs in several processes; these import this file by name, as they could no test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mimetric import losses
from mimetric.core.blocks import Problem
from mimetric.core.errors import InputError
from mimetric.core.processes import gathered, mean_of_processes, sharing, world_size
from mimetric.losses import Pairing
from mimetric.memory import MemoryBank
from mimetric.named import create
from mimetric.train.cached import embed_in_chunks

ROWS, WIDTH, CLASSES = 11, 4, 4
PARTS = {1: [ROWS], 2: [7, 4], 3: [5, 2, 4]}  # rows of each process, by how many there are
FEW = {1: [2], 2: [2, 0], 3: [0, 2, 0]}  # fewer rows than processes


class Batch(NamedTuple):
    """Rows of all processes, as a loss sees them."""

    z: Tensor  # (N, d)
    y: Tensor  # (N,)
    view: Tensor  # (N, d) the same rows, seen otherwise
    ids: Tensor  # (N,)
    tags: Tensor  # (N, 3) bool
    weights: Tensor  # (N,)


@dataclass(frozen=True)
class Case:
    """A loss, what it learns, and how rows are divided."""

    call: Callable[[nn.Module, Batch], Tensor]
    make: Callable[[], nn.Module] = nn.Module
    parts: dict[int, list[int]] = field(default_factory=lambda: PARTS)
    chunk: int = ROWS


def of(loss, **options):
    return Case(lambda _, b: loss(b.z, b.y, **options))


def paired(loss, **options):
    return of(loss, pairing=Pairing(**options))


def named(name, **more):
    return Case(
        lambda objective, b: objective(b.z, b.y),
        lambda: create(name, width=WIDTH, num_classes=CLASSES),
        **more,
    )


def weighted(_, b):
    pairing = Pairing(weights=b.weights, reduction="active")
    return losses.contrastive_loss(b.z, b.y, pairing=pairing)


def sides(_, b):
    tightness, contrast = losses.supcon_loss.sides(b.z, b.y)
    return tightness * contrast  # a formula of losses, not their sum


def views(_, b):
    image = torch.arange(len(b.z))
    return losses.nt_xent_loss(b.z, image, b.view, image)


def among_references(_, b):
    return losses.multi_similarity_loss(
        b.z, b.y, b.view, b.y, pairing=Pairing(ids=b.ids, reference_ids=b.ids)
    )


def with_bank(_, b):
    bank, objective = MemoryBank(8, WIDTH).double(), losses.SupConLoss()
    bank.add(b.view, b.y, b.ids)
    bank.add(b.view.flip(0), b.y.flip(0), b.ids.flip(0))
    bank.add(b.z, b.y, b.ids)
    return objective(b.z, b.y) + bank.loss(objective, b.z, b.y, b.ids) + bank.embeddings.sum()


def of_tags(_, b):
    return losses.supcon_loss(b.z, b.tags)


def of_each(_, b):
    each = losses.triplet_margin_loss(b.z, b.y, pairing=Pairing(reduction="none"))
    return (each * torch.arange(len(each))).sum()


def ranking(_, b):
    return losses.multiple_negatives_ranking_loss(b.z, b.view, b.view.flip(1))


def curricular(objective, b):
    return objective(b.z, b.y) + objective(b.view, b.y)  # the second step starts where the first has moved to


CASES = {
    "batch": of(losses.supcon_loss, temperature=0.05),
    "counted pairs": of(losses.contrastive_loss),
    "counted pairs in blocks": paired(losses.contrastive_loss, block=2),
    "mined": named("multi-similarity:mining=multi-similarity"),
    "drawn": named("contrastive:mining=distance-weighted"),
    "triplets": named("triplet"),
    "whole rows": of(losses.smooth_ap_loss),
    "coupled anchors": of(losses.lifted_structure_loss),
    "a histogram": of(losses.histogram_loss, bins=7),
    "a shift by all rows": of(losses.intra_pair_variance_loss),
    "a histogram of all rows": of(losses.dynamic_soft_margin_loss, num_bins=7),
    "tuples": of(losses.swap_triplet_loss),
    "class sums": of(losses.spce_loss),
    "class means": named("prototypical"),
    "class weights": named("normalized-softmax"),
    "a classifier": named("logit-adjusted"),
    "weights as anchors": named("proxy-anchor"),
    "weights and pairs of the batch": named("unified-negative-pairs"),
    "running numbers": Case(curricular, lambda: losses.CurricularFaceLoss(WIDTH, CLASSES)),
    "a sum": named("supcon+0.1*normalized-softmax"),
    "several widths": Case(
        lambda objective, b: objective(b.z, b.y),
        lambda: losses.MatryoshkaLoss(losses.SupConLoss(), widths=(4, 2)),
    ),
    "a learned number": Case(
        lambda objective, b: objective(b.z, b.y, b.view, b.y), lambda: losses.SymmetricNTXentLoss()
    ),
    "two views": Case(views),
    "anchors and positives": Case(ranking),
    "references with ids": Case(among_references),
    "a bank": Case(with_bank),
    "shared labels": Case(of_tags),
    "weights of anchors": Case(weighted),
    "summed": paired(losses.multi_similarity_loss, reduction="sum"),
    "each anchor": Case(of_each),
    "sides": Case(sides),
    "fewer rows than processes": named("supcon+normalized-softmax", parts=FEW),
}  # fmt: skip


def every_loss() -> dict[str, Case]:
    """All objectives of the catalog, and all options the laws run over, with and without references."""
    from cases import CASES as LAWS
    from cases import PAIRS
    from mimetric.catalog import entries
    from mimetric.core.objective import WeightRegularizer

    def against(case, _, b):
        return case(b.z, b.y, b.view, b.y)

    # What looks at class weights alone sees no rows.
    of_rows = [name for name, entry in entries().items() if not issubclass(entry.module, WeightRegularizer)]
    found = {name: named(name) for name in of_rows}
    found["in chunks"] = named("multi-similarity", chunk=2)
    found |= {f"{case.name} of the laws": Case(lambda _, b, case=case: case(b.z, b.y)) for case in LAWS}
    found |= {f"{case.name} among references": Case(partial(against, case)) for case in PAIRS}
    return found


def data() -> Batch:
    """Before the encoder: two views of eleven rows, of which one is unlabelled."""
    generator = torch.Generator().manual_seed(0)
    x, view = torch.randn(2, ROWS, 6, dtype=torch.float64, generator=generator)
    y = torch.tensor([0, 1, 0, 2, 1, 0, -1, 3, 2, 1, 0])
    tags = torch.rand(ROWS, 3, generator=generator) < 0.4
    weights = torch.rand(ROWS, dtype=torch.float64, generator=generator)
    return Batch(x, y, view, 100 - torch.arange(ROWS), tags, weights)


def own_part(parts: dict[int, list[int]], rank: int) -> slice:
    sizes = parts[world_size()]
    return slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))


def outcome(case: Case, rank: int = 0) -> tuple[Tensor, Tensor]:
    """The value, and the gradients of encoder and loss as data-parallel training averages them."""
    torch.manual_seed(1)
    encoder, objective = nn.Linear(6, WIDTH).double(), case.make().double()
    part, every = own_part(case.parts, rank), data()
    z, view = embed_in_chunks(encoder, every.z[part], case.chunk), encoder(every.view[part])
    z, view, y = gathered(z, view, every.y[part])
    every = Batch(z, y, view, *(rows[: len(y)] for rows in every[3:]))
    torch.manual_seed(2)
    with sharing():
        value = case.call(objective, every)
    value.backward()
    return value.detach(), averaged(encoder, objective)


def averaged(*modules: nn.Module) -> Tensor:
    """All gradients as one, the mean over processes."""
    learned = [p for module in modules for p in module.parameters()]
    gradient = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learned])
    if world_size() > 1:
        torch.distributed.all_reduce(gradient)
    return gradient / world_size()


def in_data_parallel(rank: int) -> tuple[Tensor, Tensor]:
    """Encoder in chunks and class weights as torch's own data-parallel module takes them."""

    class InChunks(nn.Module):
        def __init__(self, encoder: nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, x: Tensor) -> Tensor:
            return embed_in_chunks(self.encoder, x, 2)

    torch.manual_seed(1)
    encoder = InChunks(nn.Linear(6, WIDTH).double())
    objective = create("supcon+normalized-softmax", width=WIDTH, num_classes=CLASSES).double()
    run = [m if world_size() == 1 else DistributedDataParallel(m) for m in (encoder, objective)]
    part = own_part(PARTS, rank)
    z, y = gathered(run[0](data().z[part]), data().y[part])
    with sharing():
        value = run[1](z, y)
    value.backward()
    gradients = [p.grad.flatten() for p in (*encoder.parameters(), *objective.parameters())]
    return value.detach(), torch.cat(gradients)  # averaged already


def cut_classes(
    rank: int, kind: type[nn.Module], share: float | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Seven classes, each process with the weights of some."""
    torch.manual_seed(1)
    encoder, objective = nn.Linear(6, WIDTH).double(), kind(WIDTH, 7, **options).double()
    mine = losses.own_classes(7, rank, world_size())
    losses.keep_classes(objective, mine)
    objective.zero_grad()  # a learned margin is the same parameter at every call
    part = own_part(PARTS, rank)
    z, y = gathered(encoder(data().z[part]), 2 * data().y[part])
    of_some = objective if share is None else losses.SampledClasses(objective, share=share)
    with sharing():  # which class weights that are cut take no part in
        value = losses.CutClasses(of_some, mine, 7)(z, torch.where(y < 0, -1, y))
    value.backward()
    every = torch.zeros(7, WIDTH, dtype=torch.float64)
    every[mine.start : mine.stop] = objective.weight.grad
    if world_size() > 1:
        torch.distributed.all_reduce(every)
    learned = [p.grad for name, p in objective.named_parameters() if name != "weight"]
    return value.detach(), torch.cat([averaged(encoder), every.flatten(), *(g[None] for g in learned)])


def penalized(rank: int) -> tuple[Tensor, Tensor]:
    """Second derivatives: the squared gradient of all rows."""
    torch.manual_seed(1)
    encoder, part = nn.Linear(6, WIDTH).double(), own_part(PARTS, rank)
    own = encoder(data().z[part])
    z, y = gathered(own, data().y[part])
    with sharing():
        value = losses.contrastive_loss(z, y) + losses.histogram_loss(z, y, bins=5)
    [grad] = torch.autograd.grad(value, own, create_graph=True)  # world size times that of one process
    penalty = mean_of_processes(world_size() * (grad / world_size()).square().sum())
    penalty.backward()
    return penalty.detach(), averaged(encoder)


def told(rank: int) -> tuple[Tensor, Tensor]:
    """Sizes that every process knows, and no look at them."""
    torch.manual_seed(1)
    encoder, part = nn.Linear(6, WIDTH).double(), own_part(PARTS, rank)
    z, y = gathered(encoder(data().z[part]), data().y[part], sizes=PARTS[world_size()])
    value = losses.supcon_loss(z, y)
    value.backward()
    return value.detach(), averaged(encoder)


def own_logits(rank: int, parts: dict[int, list[int]] = PARTS) -> tuple[Tensor, Tensor]:
    """Nothing but a count is sent where rows need no other rows."""
    torch.manual_seed(1)
    classifier, part = nn.Linear(6, CLASSES).double(), own_part(parts, rank)
    y = data().y[part].clamp(min=0)
    value = mean_of_processes(F.cross_entropy(classifier(data().z[part]), y), len(y))
    value.backward()
    return value.detach(), averaged(classifier)


def mistake(rank: int) -> str:
    """What rows of another width are told."""
    try:
        gathered(torch.zeros(2, 3 + rank))
    except InputError as error:
        width = str(error)
    try:
        gathered(torch.zeros(2, 3), sizes=[5] * world_size())
    except InputError as error:
        return f"{width}; {error}"
    return ""


def anchors_made(rank: int) -> int:
    """How many rows of similarities this process makes of a batch."""
    made, product = [], Problem.product
    Problem.product = lambda *args: made.append(len(args[1])) or product(*args)
    outcome(CASES["batch"], rank)
    Problem.product = product
    return sum(made)


def quick_ones() -> dict[str, Any]:
    return CASES | {
        "second derivatives": penalized,
        "own logits": own_logits,
        "told sizes": told,
        "classes cut": partial(cut_classes, kind=losses.NormalizedSoftmaxLoss),
        "classes cut, a margin": partial(cut_classes, kind=losses.ArcFaceLoss),
        "classes cut, a learned one": partial(
            cut_classes, kind=losses.CosFaceLoss, margin=nn.Parameter(torch.tensor(0.2))
        ),
        "classes cut, sampled": partial(cut_classes, kind=losses.CosFaceLoss, share=1.0),
        "classes cut, squares": partial(cut_classes, kind=losses.P2SGradLoss),
        "classes cut, active rows": partial(
            cut_classes, kind=losses.CosFaceLoss, pairing=Pairing(reduction="active")
        ),
        "no logits of its own": partial(own_logits, parts=FEW),
    }


def all_of_them() -> dict[str, Any]:
    """Chunks and torch's data-parallel module load its compiler, which takes a second in each process."""
    return quick_ones() | every_loss() | {"data parallel": in_data_parallel}


def found(rank: int, cases: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        name: outcome(case, rank) if isinstance(case, Case) else case(rank) for name, case in cases.items()
    }


def work(rank: int, folder: str, quick: bool) -> None:
    """Three processes, then the first two of them, in quick tests on a few cases."""
    torch.set_num_threads(1)
    cases = quick_ones() if quick else all_of_them()
    some = dict(list(cases.items())[::4]) if quick else cases
    for world, chosen in ((3, cases), (2, some)):
        if rank >= world:
            return
        file = f"file://{folder}/meeting-{world}"
        torch.distributed.init_process_group("gloo", file, rank=rank, world_size=world)
        results = {"cases": found(rank, chosen), "mistake": mistake(rank), "anchors": anchors_made(rank)}
        torch.save(results, Path(folder) / f"{world}-{rank}.pt")
        torch.distributed.destroy_process_group()
