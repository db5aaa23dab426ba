"""What a loss changes: the weights, by AdamW along a schedule, and their running average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mimetric.core.processes import any_process, average_over_processes, world_size
from mimetric.train.options import FitOptions


class Learner:
    """An encoder and an objective that learn together; makes both ready for their device and precision.

    Args:
        accelerator: of the device and the precision.
        encoder, objective: on that device.
        steps: of the whole run; learning rates rise along a line over a tenth of them, then fall along a cosine.
        options: rates, decay, clipping and averaging.
        cut: parameters of which each process has rows of its own, with their whole gradient.

    Attributes:
        encoder: as it is called in training, under the precision asked for; the same module in every process.
        modules: encoder and objective.
        average: their running averages; None without `ema`.
        optimizer: AdamW, with two arrays for each of their parameters.
        scaler: of losses in fp16, as half-precision gradients would vanish; else it does nothing.

    What a step must not learn from leaves no trace.  Where the host goes on before it hears whether it may, the device
    leaves the step out (but in fp16, and where AdamW is not fused, on neither CPU nor CUDA).
    """

    def __init__(
        self,
        accelerator: Accelerator,
        encoder: nn.Module,
        objective: nn.Module,
        *,
        steps: int,
        options: FitOptions,
        cut: Sequence[nn.Parameter] = (),
    ) -> None:
        self._steps, self._options = steps, options
        self.modules = nn.ModuleList((encoder, objective))
        self._cut = list(cut)
        self._learned = list(self.modules.parameters())
        self._shared = [p for p in self._learned if all(p is not other for other in cut)]
        self.average = None if options.ema is None else deepcopy(self.modules).requires_grad_(False)
        self._averaged = [] if self.average is None else list(self.average.parameters())
        # Gradients are averaged here, those of the objective and of an encoder in chunks as well: no module that
        # averages them by itself is put around the encoder.
        self.encoder = accelerator.prepare_model(encoder.train(), evaluation_mode=True)
        # Not prepared: Accelerate's form of it looks for packages on the disk, twice a step.
        self.optimizer = _optimizer(encoder, objective, options)
        self.scaler = accelerator.scaler or torch.amp.GradScaler(enabled=False)
        self._waits = self.scaler.is_enabled() or not self.optimizer.defaults["fused"]

    def held(self) -> list[Tensor]:
        """What the step to come may be taken back to, such as running statistics, where bad batches are skipped."""
        skips = self._options.bad_loss == "skip"
        return [buffer.clone() for buffer in self.modules.buffers()] if skips else []

    def learn(self, loss: Tensor, step: int, good: Tensor | bool, held: Sequence[Tensor] = ()) -> None:
        """Lower the loss of step number `step` (from 0), if it is `good`; else go back to what was held.

        Args:
            loss: with a graph.
            step: its number.
            good: where the host goes on before it knows, () bool on the device.
            held: what :meth:`held` returned before the loss was computed.
        """
        if isinstance(good, Tensor) and not self._waits:
            self._learn_if(good, loss, step, held)
        elif good:
            self._move(loss, step)
            self._follow(step)
        else:
            for buffer, before in zip(self.modules.buffers(), held):
                buffer.copy_(before)

    def _learn_if(self, good: Tensor, loss: Tensor, step: int, held: Sequence[Tensor]) -> None:
        """The same without knowing."""
        self.optimizer.found_inf = 1 - good.float()  # type: ignore[attr-defined]  # as a scaler of losses tells it
        self._move(loss, step)
        for buffer, before in zip(self.modules.buffers(), held):
            buffer.copy_(torch.where(good, buffer, before))
        self._follow(step, good)

    @torch.no_grad()
    def _follow(self, step: int, good: Tensor | None = None) -> None:
        """The running average, if there is one, takes a share of the weights as they are now; nothing if not `good`."""
        if self.average is None or self._options.ema is None:
            return
        share: float | Tensor = 1 - _momentum(self._options.ema, step)
        if good is not None:
            share = torch.where(good, share, 0.0)
        for mine, theirs in zip(self._averaged, self._learned):
            mine.lerp_(theirs, share)
        for buffer, newer in zip(self.average.buffers(), self.modules.buffers()):
            buffer.copy_(newer)

    def _move(self, loss: Tensor, step: int) -> None:
        self.scaler.scale(loss).backward()
        if world_size() > 1:
            learned = [p.grad for p in self._shared if p.grad is not None]
            average_over_processes([*learned, *(b for b in self.modules.buffers() if b.is_floating_point())])
        if self._options.clip is not None:
            self.scaler.unscale_(self.optimizer)
            self._shorten(self._options.clip)
        share = _rate(step, self._steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest_lr"] * share
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def is_finite(self) -> bool:
        """Whether all weights are numbers; all processes ask together, where some are cut among them."""
        finite = all(bool(torch.isfinite(p).all()) for p in self._learned)
        return not any_process(not finite, self._cut[0].device) if self._cut else finite

    def _shorten(self, longest: float) -> None:
        """All gradients as one vector, rows of other processes among them, to a length of at most that."""
        if not self._cut:
            nn.utils.clip_grad_norm_(self._learned, longest)
            return
        of_cut = _squared_length(self._cut)
        average_over_processes([of_cut])
        length = (_squared_length(self._shared) + world_size() * of_cut).sqrt()
        for gradient in (p.grad for p in self._learned if p.grad is not None):
            gradient.mul_((longest / (length + 1e-6)).clamp(max=1))


def _optimizer(encoder: nn.Module, objective: nn.Module, options: FitOptions) -> torch.optim.Optimizer:
    """Weight decay on the encoder's matrices and filters only; the objective's scale is its own matter."""
    trained = [p for p in encoder.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in trained if p.ndim > 1],
            "lr": options.lr,
            "weight_decay": options.weight_decay,
        },
        {"params": [p for p in trained if p.ndim <= 1], "lr": options.lr, "weight_decay": 0.0},
        {"params": list(objective.parameters()), "lr": options.objective_lr, "weight_decay": 0.0},
    ]
    groups = [group | {"highest_lr": group["lr"]} for group in groups if group["params"]]
    return torch.optim.AdamW(groups, fused=all(p.device.type in ("cpu", "cuda") for p in trained))


def _squared_length(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Of all their gradients as one vector."""
    squares = [p.grad.square().sum() for p in parameters if p.grad is not None]
    return torch.stack(squares).sum() if squares else torch.zeros(())


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: up along a line over a tenth of the steps, down along a cosine."""
    warm_up = max(1, steps // 10)
    return min((step + 1) / warm_up, (1 + math.cos(math.pi * step / steps)) / 2)


def _momentum(highest: float, step: int) -> float:
    """The share of a running average that a step keeps: less at first, or it would hold the initialization for long."""
    return min(highest, (1 + step) / (10 + step))
