"""A training on disk, and back again: taken up, it gives the numbers of one that was never stopped.

What follows from the options is not saved: learning rates come from the step, random numbers from seed and step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mimetric.core.errors import InputError
from mimetric.core.processes import wait_for_all, world_size
from mimetric.models.names import parse_encoder
from mimetric.train.checkpoint import State, part_of, read_settings, read_state, save, weights_of
from mimetric.train.class_files import part_folder, remove_other_parts, save_classes
from mimetric.train.loop import Training
from mimetric.train.options import FitOptions


def save_training(folder: Path, training: Training) -> None:
    """Write a checkpoint in place of the one that the folder holds: the model, and where the training stands.

    Several processes call it together; the first writes, and where class weights are cut each writes its rows.

    Raises:
        InputError: weights are not finite; what was saved before is better.
        OSError: as when the disk is full; the checkpoint before is still there.

    >>> import tempfile
    >>> folder, x, y = Path(tempfile.mkdtemp()), torch.randn(64, 8), torch.arange(64) % 4
    >>> training = Training(x, y, "supcon", options=FitOptions(steps=5, batch_size=16))
    >>> _ = training.advance(2)
    >>> save_training(folder, training)
    >>> training = resume_training(folder, x, y)
    >>> training.step, training.advance(3) > 0
    (2, True)
    """
    settings = training.settings | {"step": training.step}
    commit(folder, training, weights_of(**training.model), settings, state_of(training))


def commit(
    folder: Path, training: Training, weights: Mapping[str, Tensor], settings: dict[str, Any], state: State
) -> None:
    """The same with a model and settings of your own, as :func:`~mimetric.train.checkpoint.save` takes them."""
    saved = f"{training.step}-{world_size()}"
    if training.classes is not None:
        settings = settings | {"classes": saved}
        weights = _without_rows(folder, saved, training, "weights", weights)
        state = State(_without_rows(folder, saved, training, "state", state.tensors), state.values)
        wait_for_all()
    if training.rank:
        return
    save(folder, weights, settings, state)
    remove_other_parts(folder, saved)


def resume_training(
    folder: Path,
    x: Any,
    y: Any,
    *,
    encoder: nn.Module | None = None,
    objective: nn.Module | None = None,
) -> Training:
    """The training that :func:`save_training` wrote, to be moved on as if it had never ended.

    Args:
        folder: where it was saved.
        x, y: the rows that it began with.
        encoder, objective: modules of your own, of the architecture that was saved; what they hold is replaced.

    Returns:
        On one machine's CPU, what it gives from here on is the same bit for bit.
    Raises:
        InputError: nothing there to resume, or other rows or modules than it began with.
    """
    settings = read_settings(folder)
    names = [option.name for option in fields(FitOptions) if option.name != "encoder" or encoder is None]
    try:
        options = FitOptions(**{name: settings[name] for name in names})
        if encoder is None and parse_encoder(options.encoder).source == "code":
            raise InputError(f"its encoder, {options.encoder}, is code of somebody's")
        known, seed = settings["objective"], settings["seed"]
        training = Training(x, y, objective or known, encoder=encoder, seed=seed, options=options)
    except (KeyError, TypeError, InputError) as error:
        raise InputError(
            f"checkpoint {folder}: its run cannot be made again ({error}); "
            "pass resume_training(..., encoder=, objective=) modules of your own, if it had such"
        ) from None
    restore(training, read_state(folder, settings, training.classes))
    return training


def state_of(training: Training) -> State:
    """All that :func:`restore` needs.

    Raises:
        InputError: weights are not finite.
    """
    if not training.learner.is_finite():
        name = training.settings["objective"]
        raise InputError(f"{name}: weights are not finite at step {training.step}; lower lr")
    tensors = weights_of(**_modules(training)) | _kept(training.learner.optimizer)
    tensors["losses"] = training.losses.clone()
    values = {
        "step": training.step,
        "rows": training.rows_digest,
        "sampler": training.batches.state_dict(),
        "scaler": training.learner.scaler.state_dict(),
    }
    return State(tensors, values)


def restore(training: Training, state: State) -> None:
    """Go on from there; the training was made with the arguments that the saved one had.

    Raises:
        InputError: the state is of another run, or damaged.
    """
    values = state.values
    if values.get("rows") != training.rows_digest:
        raise InputError("the training rows are others than those that the run began with; train again")
    try:
        for name, module in _modules(training).items():
            _fill(name, module, state.tensors)
        _keep(training.learner.optimizer, state.tensors)
        training.losses.copy_(state.tensors["losses"])
        training.batches.load_state_dict(values["sampler"])
        training.learner.scaler.load_state_dict(values["scaler"])
        training.step = range(training.steps + 1).index(values["step"])
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the state does not fit this run ({reason}); train again") from None


def _without_rows(
    folder: Path, saved: str, training: Training, kind: str, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What all processes have alike, after the rows of this process's classes are written."""
    parameters = [p for group in training.learner.optimizer.param_groups for p in group["params"]]
    at = next(i for i, parameter in enumerate(parameters) if parameter is training.objective.weight)
    whose = ("objective.weight", "average.1.weight", f"optimizer.{at}.")
    rows = {name: tensor for name, tensor in tensors.items() if name.startswith(whose) and tensor.ndim}
    part = part_folder(folder, kind, saved)
    part.mkdir(parents=True, exist_ok=True)
    save_classes(part, rows, cast(range, training.classes))
    return {name: tensor for name, tensor in tensors.items() if name not in rows}


def _modules(training: Training) -> dict[str, nn.Module]:
    average = training.learner.average
    trained: dict[str, nn.Module] = {"encoder": training.encoder, "objective": training.objective}
    return trained if average is None else trained | {"average": average}


def _fill(name: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    try:
        module.load_state_dict(part_of(tensors, name))
    except RuntimeError as error:
        raise InputError(f"{name} is not the one that was saved: {error}") from None


def _kept(optimizer: Optimizer) -> dict[str, Tensor]:
    """Copies of what the optimizer keeps for each parameter, such as ``optimizer.3.exp_avg``."""
    return {
        f"optimizer.{index}.{name}": value.detach().cpu().clone()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _keep(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put them back; before the first step there are none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kept = {index: part_of(tensors, f"optimizer.{index}") for index in range(len(parameters))}
    moments = {
        index: {name: _like(parameters[index], value) for name, value in values.items()}
        for index, values in kept.items()
        if values
    }
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A number, or an array laid out in memory as the parameter is: fused optimizers walk both in one order."""
    if value.ndim == 0:
        return value
    if value.shape != parameter.shape:
        raise InputError(
            f"the optimizer's array must have shape {tuple(parameter.shape)}, got {tuple(value.shape)}"
        )
    return torch.empty_like(parameter).copy_(value)
