"""A model on disk, and where its training stands: tensors as safetensors, all else as JSON.

A checkpoint is a folder.  Its ``settings.json`` names the files that belong to it, by a hash of what is in them::

    weights-HASH.safetensors    the model: encoder and objective
    state-HASH.safetensors      of a run that can go on: the model as it is trained, what its optimizer keeps, losses;
                                its step and its sampler as JSON in the metadata
    *-classes-STEP-PROCESSES/   the rows of these that belong to classes, where class weights are cut among processes

and renaming ``settings.json`` into its place is the commit: until then the folder holds the checkpoint it held before,
whole.  Nothing in a checkpoint can run code when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.core.files import remove_others, write_whole
from mimetric.models.encoders import create_encoder
from mimetric.train.class_files import load_classes, part_folder

SETTINGS = "settings.json"


class Checkpoint(NamedTuple):
    """What :func:`load` found; both modules are in evaluation mode, on the CPU."""

    encoder: nn.Module
    objective: nn.Module
    settings: dict[str, Any]


class SavedEncoder(NamedTuple):
    """What :func:`load_encoder` found; the encoder is in evaluation mode, on the CPU."""

    encoder: nn.Module
    settings: dict[str, Any]


class State(NamedTuple):
    """Where a training stands: tensors by name, and JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def weights_of(**modules: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU of all that modules hold, under names such as ``encoder.0.weight``.

    >>> list(weights_of(encoder=nn.Linear(2, 1)))
    ['encoder.weight', 'encoder.bias']
    """
    return {
        f"{part}.{name}": tensor.detach().cpu().clone()
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those under names that begin with ``part.``, without it."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def save(
    folder: Path, weights: Mapping[str, Tensor], settings: Mapping[str, Any], state: State | None = None
) -> None:
    """Write a checkpoint in place of the one that the folder holds.

    Args:
        folder: made if absent.
        weights: of the modules `encoder` and `objective`, as :func:`weights_of` gives them; not their code.
        settings: JSON values.  For :func:`load` to rebuild the modules it has `encoder` (a name),
            `input_shape`, `width`, `objective` (a name with options) and `num_classes`.
        state: for a run that is to go on from here.

    Raises:
        OSError: as when the disk is full; the checkpoint before is still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights_file, digest = _store(folder, "weights", weights)
    content = {**settings, "weights": weights_file, "weights_sha256": digest}
    kept = [weights_file, SETTINGS]
    if state is not None:
        content["state"], content["state_sha256"] = _store(folder, "state", *state)
        kept.append(content["state"])
    write_whole(folder / SETTINGS, json.dumps(content, indent=1, allow_nan=False).encode())
    remove_others(folder, ["weights-*.safetensors", "state-*.safetensors", SETTINGS], kept)


def load(folder: Path, *, encoder: nn.Module | None = None, objective: nn.Module | None = None) -> Checkpoint:
    """Read the model of a checkpoint that :func:`save` wrote.

    Args:
        folder: where it lies.
        encoder, objective: modules to fill; needed for those of your own, whose code is not saved.

    Raises:
        InputError: no checkpoint there, weights that are damaged or no safetensors, or modules that do
            not fit them.
    """
    settings = read_settings(folder)
    tensors = read_weights(folder, settings)
    with _rebuilding(folder):
        encoder = _filled_encoder(encoder, settings, tensors)
        if objective is None:
            [chosen] = named.parse_objectives(str(settings["objective"]))
            objective = named.create(chosen, width=settings["width"], num_classes=settings["num_classes"])
        objective.load_state_dict(part_of(tensors, "objective"))
    return Checkpoint(encoder, objective.eval(), settings)


def load_encoder(folder: Path, *, encoder: nn.Module | None = None) -> SavedEncoder:
    """Read the encoder alone, also of a checkpoint that holds no objective.

    Args:
        folder: where it lies.
        encoder: a module to fill; needed for one of your own, whose code is not saved.

    Raises:
        InputError: as :func:`load`.
    """
    settings = read_settings(folder)
    tensors = read_weights(folder, settings, range(0))
    with _rebuilding(folder):
        return SavedEncoder(_filled_encoder(encoder, settings, tensors), settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """What ``settings.json`` holds.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except OSError:
        raise InputError(f"checkpoint {folder}: no {SETTINGS} there; name the folder of a run") from None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"checkpoint {folder}: {SETTINGS} is damaged; train again")
    return settings


def read_weights(
    folder: Path, settings: Mapping[str, Any], classes: range | None = None
) -> dict[str, Tensor]:
    """The model's tensors, as they were saved.

    Args:
        folder: where it lies.
        settings: what :func:`read_settings` found.
        classes: those whose weights are wanted, where they were cut among processes; None is all.

    Raises:
        InputError: they are missing or damaged.
    """
    found = _restored(folder, "weights", settings.get("weights"), settings.get("weights_sha256"))
    return found | _rows_of_classes(folder, "weights", settings, classes)


def read_state(folder: Path, settings: Mapping[str, Any], classes: range | None = None) -> State:
    """Where the training stands; arguments as in :func:`read_weights`.

    Raises:
        InputError: the checkpoint has no such state, or a damaged one.
    """
    if "state" not in settings:
        raise InputError(
            f"checkpoint {folder}: holds a model, and not where its training stands; train again"
        )
    tensors = _restored(folder, "state", settings["state"], settings.get("state_sha256"))
    try:
        with safe_open(folder / settings["state"], framework="pt") as file:
            values = json.loads(file.metadata()["values"])
    except (KeyError, TypeError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"checkpoint {folder}: {settings['state']} is damaged; train again")
    return State(tensors | _rows_of_classes(folder, "state", settings, classes), values)


def _filled_encoder(
    encoder: nn.Module | None, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> nn.Module:
    if encoder is None:
        shape, width = settings["input_shape"], settings["width"]
        encoder = create_encoder(str(settings["encoder"]), shape, width, pretrained=False)
    encoder.load_state_dict(part_of(tensors, "encoder"))
    return encoder.eval()


@contextmanager
def _rebuilding(folder: Path) -> Iterator[None]:
    """Settings that do not say what to build, or modules that do not fit the weights, as one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"checkpoint {folder}: its modules cannot be rebuilt ({reason}); "
            "pass load(..., encoder=, objective=) the modules that were saved"
        ) from None


def _store(
    folder: Path, kind: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any] | None = None
) -> tuple[str, str]:
    """Write tensors under a name of their own; return it, and the hash of what is in the file."""
    packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = None if values is None else {"values": json.dumps(values, allow_nan=False)}
    content = safetensors.torch.save(packed, metadata)
    digest = hashlib.sha256(content).hexdigest()
    name = f"{kind}-{digest[:12]}.safetensors"
    write_whole(folder / name, content)
    return name, digest


def _rows_of_classes(
    folder: Path, kind: str, settings: Mapping[str, Any], classes: range | None
) -> dict[str, Tensor]:
    if "classes" not in settings or classes == range(0):
        return {}
    num = settings.get("num_classes")
    if not isinstance(num, int):
        raise InputError(f"checkpoint {folder}: {SETTINGS} is damaged; train again")
    part = part_folder(folder, kind, settings["classes"])
    return load_classes(part, range(num) if classes is None else classes)


def _restored(folder: Path, kind: str, named_so: Any, digest: Any) -> dict[str, Tensor]:
    name = Path(str(named_so))
    if name.suffix != ".safetensors" or name.name != str(name):
        raise InputError(f"checkpoint {folder}: {kind} must be a .safetensors file in it, got {str(name)!r}")
    try:
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() == digest:
            return safetensors.torch.load(content)
    except (OSError, SafetensorError, LookupError, ValueError):
        pass
    raise InputError(f"checkpoint {folder}: {name} is missing or damaged; train again")
