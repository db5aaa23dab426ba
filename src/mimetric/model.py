"""A trained model: from inputs to embeddings, on disk and back, on the Hugging Face Hub and back.

A saved model is a checkpoint (:mod:`mimetric.train.checkpoint`) of its encoder alone, with a model card: safetensors,
JSON and Markdown.  Loading one runs no code that came with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mimetric.core.checks import check_rows
from mimetric.core.errors import InputError
from mimetric.core.files import write_whole
from mimetric.core.similarity import normalized
from mimetric.data.labelled import TEXT_LENGTH, LabelledData
from mimetric.data.rows import like_training
from mimetric.data.stored import stored
from mimetric.data.texts import code_points
from mimetric.models.encoders import embed, joined
from mimetric.report.card import CARD, model_card
from mimetric.train import checkpoint, loop
from mimetric.train.options import FitOptions
from mimetric.train.progress import Progress, Silent
from mimetric.train.watched import parts_of


class Model:
    """An encoder, and what it was trained on and how.

    Args:
        encoder: from rows of inputs to (n, width).
        settings: JSON values of its checkpoint: `encoder`, `input_shape`, `width`, `objective`, `data`, ...
        card: its model card, Markdown; None writes one from the settings when it is saved.
    """

    def __init__(self, encoder: nn.Module, settings: Mapping[str, Any], card: str | None = None) -> None:
        self.encoder, self.settings, self.card = encoder, dict(settings), card

    def encode(self, inputs: Any, *, batch_size: int = 256) -> Tensor:
        """Embeddings of inputs that are prepared as the training data were.

        Args:
            inputs: (n, ...) rows like those trained on, as a tensor or an array; a list of n texts; or a list of n
                pictures, as paths or PIL images.
            batch_size: inputs prepared and embedded at once, on the encoder's device.

        Returns:
            (n, width) float32 on the CPU; rows have length 1, but those that the encoder maps to 0.
        Raises:
            InputError: inputs of another kind or shape than those trained on, or that cannot be read.

        >>> texts, classes = ["to be", "or not", "to do", "or so"] * 8, ["to", "or"] * 16
        >>> model = fit(texts, classes, options=FitOptions(steps=1, batch_size=16))
        >>> model.similarity(model.encode(["to see"]), model.encode(["to go", "or"])).shape
        torch.Size([1, 2])
        """
        _check_inputs(inputs, batch_size)
        if not len(inputs):
            return torch.empty(0, self.settings["width"])
        batches = self._batches(inputs, batch_size)
        return joined((normalized(embed(self.encoder, rows)).cpu() for rows in batches), len(inputs))

    def similarity(self, a: Any, b: Any) -> Tensor:
        """Cosines (n, m) of embeddings (n, width) and (m, width), in [-1, 1].

        Raises:
            InputError: no rows of numbers, or of different widths.
        """
        a, b = (check_rows("similarity", name, x) for name, x in (("a", a), ("b", b)))
        if a.shape[1] != b.shape[1]:
            raise InputError(
                f"similarity: a and b must have one width, got {tuple(a.shape)} and {tuple(b.shape)}"
            )
        return normalized(a.float()) @ normalized(b.float()).T

    def save(self, folder: str | Path) -> None:
        """Write the encoder's weights, the settings and the model card into a folder, for :func:`load`.

        Raises:
            InputError: the folder holds a run, whose training state would be lost, or cannot be written.
        """
        folder = Path(folder).expanduser()
        if (folder / checkpoint.SETTINGS).exists() and "state" in checkpoint.read_settings(folder):
            raise InputError(f"save: {folder} holds a run that can go on; name another folder")
        card = model_card(self.settings) if self.card is None else self.card
        try:
            checkpoint.save(folder, checkpoint.weights_of(encoder=self.encoder), self.settings)
            write_whole(folder / CARD, card.encode())
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"save: cannot write to {folder} ({reason}); name another folder") from None

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str = "Upload model",
    ) -> str:
        """Save into a repository of the Hugging Face Hub, made if absent; return the address of the commit.

        The settings and the card are public where the repository is: they name the data and the machine trained on.

        Args:
            repo_id: such as "user/name".
            private: whether a new repository is; None is the default of your account.
            token: None takes that of ``hf auth login``.
            revision: branch to commit to; None is the main one.
            commit_message: one line.

        Raises:
            InputError: huggingface_hub is not installed, or it refuses.
        """
        hub = _hub()
        with TemporaryDirectory() as folder:
            self.save(folder)
            with _told("push_to_hub", repo_id):
                hub.create_repo(repo_id, private=private, token=token, exist_ok=True)
                done = hub.upload_folder(
                    repo_id=repo_id, folder_path=folder, token=token, revision=revision,
                    commit_message=commit_message,
                )  # fmt: skip
        return str(done.commit_url)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> Model:
        """What :meth:`push_to_hub` stored; of a folder that is there, the same as :func:`load`.

        Of a repository only JSON, safetensors and the card are fetched, and none of it is run.

        Args:
            name: such as "user/name", or a folder.
            revision: branch, tag or commit.
            token: for a private repository; None takes that of ``hf auth login``.

        Raises:
            InputError: huggingface_hub is not installed, there is no such repository, or no model in it.
        """
        if Path(name).expanduser().is_dir():
            return load(name)
        hub, files = _hub(), [checkpoint.SETTINGS, "weights-*.safetensors", CARD]
        with _told("from_pretrained", str(name)):
            folder = hub.snapshot_download(str(name), revision=revision, token=token, allow_patterns=files)
        return load(folder)

    def _batches(self, inputs: Any, size: int) -> Iterator[Tensor]:
        shape, dtype = tuple(self.settings["input_shape"]), self.settings.get("input_dtype")
        for start in range(0, len(inputs), size):
            try:
                rows = like_training(inputs[start : start + size], shape, dtype)
            except InputError as error:
                raise InputError(f"encode: {error}") from None
            yield torch.from_numpy(
                np.require(rows, requirements=("C", "W"))
            )  # a view of the caller's may be neither


def _check_inputs(inputs: Any, batch_size: int) -> None:
    if isinstance(inputs, str | Path) or not hasattr(inputs, "__len__"):
        raise InputError(
            f"encode: inputs must be a list or an array, got {type(inputs).__name__}; write [it] of one"
        )
    if batch_size < 1:
        raise InputError(f"encode: batch_size must be at least 1, got {batch_size}; try 256")


def load(folder: str | Path, *, encoder: nn.Module | None = None) -> Model:
    """The model of a run of ``mimetric train``, of a checkpoint of ``compare``, or that :meth:`Model.save` wrote.

    It is on the CPU, in evaluation mode; ``model.encoder.to(device)`` moves it.

    Args:
        folder: where it lies.
        encoder: a module to fill; needed for one of your own, whose code is not saved.

    Raises:
        InputError: no model there, damaged weights, or an encoder that does not fit them.
    """
    folder = Path(folder).expanduser()
    found = checkpoint.load_encoder(folder, encoder=encoder)
    for name in ("input_shape", "width", "objective"):
        if name not in found.settings:
            raise InputError(f"checkpoint {folder}: {checkpoint.SETTINGS} lacks {name}; train again")
    stored = ("weights", "weights_sha256", "state", "state_sha256", "classes")
    settings = {name: value for name, value in found.settings.items() if name not in stored}
    try:
        card = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        card = None
    return Model(found.encoder, settings, card)


def fit(
    x: Any,
    y: Any = None,
    objective: str | nn.Module = "multi-similarity",
    *,
    encoder: nn.Module | None = None,
    seed: int = 0,
    options: FitOptions = FitOptions(),
    progress: Progress = Silent(),
) -> Model:
    """Train an encoder with an objective on rows in memory or on disk.

    On one machine's CPU, the same arguments give the same numbers bit for bit; objectives of one seed start
    from the same encoder and see the same batches.  The caller's random state is left alone.

    Args:
        x: (n, c, h, w) images, uint8 or floating point, or (n, d) vectors; whatever else an encoder of your own takes;
            an array or a tensor; or a mapped array, a torch Dataset of rows or
            :class:`~mimetric.data.stored.StoredRows`, read batch by batch.  Or n texts.  Or
            :class:`~mimetric.data.labelled.LabelledData`, as :func:`~mimetric.data.sources.load_data` reads and
            :func:`~mimetric.data.arrays.as_data` makes them: its training rows.
        y: (n,) integer class ids, any numbers, -1 for unlabelled rows, which are left out; or n strings.  None where x
            is labelled.
        objective: a name with options (``"multi-similarity:beta=40"``), or a module called
            ``objective(embeddings, labels)`` that returns a scalar, with labels 0, 1, ...; what it learns is trained.
        encoder: any module from rows of x to (n, d), trained in place; None makes the one of `options`.
        seed: of the initialization and of the batches.
        options: everything else.
        progress: told of every few steps.

    Returns:
        A :class:`Model`.  :func:`mimetric.train.loop.fit` returns the training itself, with the losses of all steps.
    Raises:
        InputError: shapes or types that do not fit, values that are not finite, a device that is not
            there, or a loss that stops being finite.

    >>> x, y = torch.randn(64, 8), torch.arange(64) % 4
    >>> model = fit(x, y, "supcon", options=FitOptions(steps=3, batch_size=16))
    >>> model.encode(x).shape
    torch.Size([64, 64])
    """
    rows, labels = _labelled(x, y)
    training = loop.fit(
        rows, labels, objective, encoder=encoder, seed=seed, options=options, progress=progress
    )
    trained = {
        "items": len(training.y),
        "classes": training.settings["num_classes"],
        "sha256": training.rows_digest,
    }
    settings = training.settings | {"split": {"train": trained}}
    return Model(
        training.model["encoder"], settings | {"data": x.name} if isinstance(x, LabelledData) else settings
    )


def _labelled(x: Any, y: Any) -> tuple[Any, Any]:
    """Rows and labels as a training takes them."""
    if isinstance(x, LabelledData):
        if y is not None:
            raise InputError("fit: labelled data have a y of their own; leave it out, and write objective=")
        return parts_of(x).train
    if y is None:
        raise InputError("fit: y must hold a class for each row of x; give it, or labelled data as x")
    if _are_words(x):
        x = code_points(list(x), TEXT_LENGTH)
    if _are_words(y):
        y = np.unique(np.asarray(y, str), return_inverse=True)[1]
    return stored(x) or _numbers("x", x), _numbers("y", y)


def _are_words(values: Any) -> bool:
    """Of a list or a column, told by its first entry."""
    listed = (
        hasattr(values, "__iter__") and not isinstance(values, Tensor) and getattr(values, "ndim", 1) == 1
    )
    return listed and isinstance(next(iter(values), None), str)


def _numbers(name: str, values: Any) -> Any:
    """A tensor or an array, also of a list or a frame."""
    if isinstance(values, Tensor):
        return values
    try:
        found = np.asarray(values)
    except ValueError:  # rows of different lengths
        found = np.empty(0, object)
    if found.dtype.kind not in "buif":
        raise InputError(f"fit: {name} must hold numbers or texts, all of one shape")
    return found


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise InputError("the hub needs huggingface_hub: pip install 'mimetric[hub]'") from None
    return huggingface_hub


@contextmanager
def _told(where: str, name: str) -> Iterator[None]:
    """Whatever the hub's client raises, its own or that of the HTTP library it uses, as one line."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{where}: {name}: {' '.join(str(error).split())}") from error
