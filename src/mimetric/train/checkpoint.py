"""A model on disk: weights as safetensors, settings as JSON.  Nothing in it can run code when loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mimetric import named
from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.models.encoders import create_encoder

SETTINGS = "settings.json"


class Checkpoint(NamedTuple):
    """What :func:`load` found; both modules are in evaluation mode, on the CPU."""

    encoder: nn.Module
    objective: nn.Module
    settings: dict[str, Any]


def save(folder: Path, encoder: nn.Module, objective: nn.Module, settings: dict[str, Any]) -> None:
    """Write the weights, then ``settings.json``, which names them: the rename of the latter is the commit.

    Until then the folder still holds the checkpoint it held before, whole.

    Args:
        folder: made if absent.
        encoder, objective: their state is saved, not their code.
        settings: JSON values.  For :func:`load` to rebuild the modules it has `encoder` (a name),
            `input_shape`, `width`, `objective` (a name with options) and `num_classes`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    modules = {"encoder": encoder, "objective": objective}
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous().clone()  # a clone: tied weights share no memory
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    content = safetensors.torch.save(tensors)
    digest = hashlib.sha256(content).hexdigest()
    weights = f"weights-{digest[:12]}.safetensors"
    write_whole(folder / weights, content)
    text = json.dumps({**settings, "weights": weights, "weights_sha256": digest}, indent=2, allow_nan=False)
    write_whole(folder / SETTINGS, text.encode())
    for old in folder.glob("weights-*.safetensors"):
        if old.name != weights:
            old.unlink()


def load(folder: Path, *, encoder: nn.Module | None = None, objective: nn.Module | None = None) -> Checkpoint:
    """Read a checkpoint that :func:`save` wrote.

    Args:
        folder: where it lies.
        encoder, objective: modules to fill; needed for those of your own, whose code is not saved.

    Raises:
        InputError: no checkpoint there, weights that are damaged or no safetensors, or modules that do
            not fit them.
    """
    settings = _settings(folder)
    tensors = _weights(folder, settings)
    try:
        if encoder is None:
            encoder = create_encoder(settings["encoder"], settings["input_shape"], settings["width"])
        if objective is None:
            [chosen] = named.parse_objectives(settings["objective"])
            objective = named.create(chosen, width=settings["width"], num_classes=settings["num_classes"])
        encoder.load_state_dict(_part(tensors, "encoder."))
        objective.load_state_dict(_part(tensors, "objective."))
    except (KeyError, RuntimeError, InputError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"checkpoint {folder}: its modules cannot be rebuilt ({reason}); "
            "pass load(..., encoder=, objective=) the modules that were saved"
        ) from None
    return Checkpoint(encoder.eval(), objective.eval(), settings)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except OSError:
        raise InputError(f"checkpoint {folder}: no {SETTINGS} there; name the folder of a run") from None
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"checkpoint {folder}: {SETTINGS} is damaged; train again")
    return settings


def _weights(folder: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    name = Path(str(settings.get("weights")))
    if name.suffix != ".safetensors" or name.name != str(name):
        raise InputError(f"checkpoint {folder}: weights must be a .safetensors file in it, got {str(name)!r}")
    try:
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() == settings.get("weights_sha256"):
            return safetensors.torch.load(content)
    except (OSError, SafetensorError):
        pass
    raise InputError(f"checkpoint {folder}: {name} is missing or damaged; train again")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
