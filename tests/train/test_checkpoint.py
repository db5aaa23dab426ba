from __future__ import annotations

import hashlib
import json
import os
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from mimetric.core.errors import InputError
from mimetric.train.checkpoint import load, read_settings, read_state, save, weights_of
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions
from mimetric.train.state import resume_training, save_training

X = torch.randint(0, 256, (48, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(48) % 6


@pytest.fixture(scope="module")
def run():
    options = FitOptions(steps=3, batch_size=16, width=4, device="cpu")
    return fit(X, Y, "normalized-softmax:temperature=0.2", options=options)


def store(folder, run, **settings):
    save(folder, weights_of(**run.model), run.settings | settings)
    return folder


def test_round_trip(tmp_path, run):
    loaded = load(store(tmp_path / "new" / "folder", run, data="digits"))
    assert torch.equal(loaded.encoder(X), run.embed(X))
    assert not loaded.encoder.training
    assert torch.equal(loaded.objective.weight, run.objective.weight)
    assert loaded.objective.options == run.objective.options
    assert loaded.settings["data"] == "digits"
    assert loaded.settings["seed"] == 0


def test_modules_of_ones_own(tmp_path):
    def own() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

    options = FitOptions(steps=3, batch_size=16, device="cpu")
    run = fit(X.float(), Y, "supcon", encoder=own(), options=options)
    folder = store(tmp_path, run)
    with pytest.raises(
        InputError, match=r"cannot be rebuilt .*Sequential.*; pass load\(..., encoder=, objective=\)"
    ):
        load(folder)
    assert torch.equal(load(folder, encoder=own()).encoder(X.float()), run.embed(X.float()))
    with pytest.raises(InputError, match=r"cannot be rebuilt .*; pass load"):
        load(folder, encoder=nn.Linear(64, 4))


def test_tied_weights(tmp_path):
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    save(tmp_path, weights_of(encoder=tied, objective=nn.Identity()), {})
    other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    load(tmp_path, encoder=other, objective=nn.Identity())
    assert torch.equal(other[0].weight, tied[1].weight)


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_while_saving_keeps_the_old_checkpoint(tmp_path, run, monkeypatch, crash_at):
    store(tmp_path, run, step=1)
    before = load(tmp_path)
    replace, calls = os.replace, []

    def crash(*paths):
        calls.append(paths)
        if len(calls) == crash_at:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", crash)
    changed = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, weights_of(encoder=changed, objective=run.objective), run.settings | {"step": 2})
    monkeypatch.undo()
    after = load(tmp_path)
    assert after.settings == before.settings
    assert torch.equal(after.encoder(X), before.encoder(X))

    store(tmp_path, run, step=3)  # and the next save leaves no litter
    assert load(tmp_path).settings["step"] == 3
    assert len(list(tmp_path.iterdir())) == 2


def weights(folder):
    return next(folder.glob("*.safetensors"))


def truncate(folder):
    weights(folder).write_bytes(weights(folder).read_bytes()[:-7])


def flip(folder):
    content = bytearray(weights(folder).read_bytes())
    content[-1] ^= 1
    weights(folder).write_bytes(content)


def lose(folder):
    weights(folder).unlink()


def damage(folder):
    (folder / "settings.json").write_text('{"encoder": "co')


def empty(folder):
    (folder / "settings.json").unlink()


def point_to(name):
    def change(folder):
        settings = json.loads((folder / "settings.json").read_text())
        (folder / "settings.json").write_text(json.dumps(settings | {"weights": name}))

    return change


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (truncate, "is missing or damaged; train again"),
        (flip, "is missing or damaged; train again"),
        (lose, "is missing or damaged; train again"),
        (damage, "settings.json is damaged; train again"),
        (empty, "no settings.json there; name the folder of a run"),
        (point_to("weights.pt"), "weights must be a .safetensors file in it, got 'weights.pt'"),
        (point_to("../weights.safetensors"), "weights must be a .safetensors file in it"),
    ],
)
def test_harm_is_told_in_one_line(tmp_path, run, harm, message):
    harm(store(tmp_path, run))
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_pickled_is_run(tmp_path, run):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    weights(store(tmp_path, run)).write_bytes(pickle.dumps(Harm()))
    with pytest.raises(InputError, match="is missing or damaged"):
        load(tmp_path)
    assert not (tmp_path / "harm").exists()


def header(text: bytes, length: int | None = None) -> bytes:
    """A safetensors file of nothing but a header."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text


HOSTILE = {
    "a pickle": pickle.dumps({"encoder": os.getcwd}),
    "a pickle of torch": b"PK\x03\x04" + bytes(200),
    "empty": b"",
    "a header larger than the file": header(b"{}", 2**40),
    "a header larger than memory": header(b"{}", 2**63 - 1),
    "a header that is no JSON": header(b"\xff" * 64),
    "a header nested deeply": header(b'{"a":' + b"[" * 100_000),
    "a tensor larger than the file": header(
        b'{"encoder.0.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    ),
    "offsets below the file": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}'),
    "a type that is none": header(b'{"a":{"dtype":"PICKLE","shape":[],"data_offsets":[0,0]}}'),
    "a path for a name": header(b'{"../../x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
}


def changed(folder, **values):
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(settings | values))


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("kind", ["weights", "state"])
def test_files_of_a_stranger(tmp_path, run, what, kind):
    """Whose hash is right: one line says that it cannot be loaded, and nothing else happens."""
    folder = tmp_path / "run"
    save_training(folder, run)
    content = HOSTILE[what]
    (folder / "x.safetensors").write_bytes(content)
    changed(folder, **{kind: "x.safetensors", f"{kind}_sha256": hashlib.sha256(content).hexdigest()})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"damaged; train again$|cannot be rebuilt|does not fit this run"):
        load(folder) if kind == "weights" else resume_training(folder, X, Y)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", "..", "", "state.pt"]
)
def test_a_state_lies_in_its_folder(tmp_path, run, name):
    save_training(tmp_path, run)
    changed(tmp_path, state=name)
    with pytest.raises(InputError, match=r"state must be a \.safetensors file in it, got"):
        resume_training(tmp_path, X, Y)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"width": 1e999', "[]", "\x00", "1" * 5000, ""])
def test_settings_of_a_stranger(tmp_path, run, text):
    save_training(tmp_path, run)
    (tmp_path / "settings.json").write_text(text)
    for read in (load, lambda folder: resume_training(folder, X, Y)):
        with pytest.raises(InputError, match=r"settings.json is damaged; train again"):
            read(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"encoder": 3}, {"encoder": None}, {"width": "64"}, {"input_shape": "x"}, {"input_shape": [1, -8, 8]},
        {"objective": ["supcon"]}, {"objective": "supcon,spce"}, {"num_classes": -1}, {"width": 2.5},
    ],
)  # fmt: skip
def test_settings_that_make_no_modules(tmp_path, run, values):
    save_training(tmp_path, run)
    changed(tmp_path, **values)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "3", "{", '{"step": -1}', '{"step": 99}', '{"step": "x"}', "{}"]
)
def test_a_state_that_says_nonsense(tmp_path, run, text):
    save_training(tmp_path, run)
    state = read_state(tmp_path, read_settings(tmp_path))
    if text.startswith("{") and text.endswith("}"):
        text = json.dumps(state.values | json.loads(text) if text != "{}" else {})
    content = safetensors.torch.save(state.tensors, {"values": text})
    (tmp_path / "x.safetensors").write_bytes(content)
    changed(tmp_path, state="x.safetensors", state_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(InputError, match=r"train again$"):
        resume_training(tmp_path, X, Y)


def test_what_a_killed_save_left_is_cleared(tmp_path, run):
    save_training(tmp_path, run)
    litter = [
        "weights-0123.safetensors",
        ".state-01.safetensors.ab.tmp",
        ".settings.json.x.tmp",
        "state-9.safetensors",
    ]
    for name in (*litter, "mine.safetensors", ".mine.tmp"):
        (tmp_path / name).write_bytes(b"x")
    save_training(tmp_path, run)
    left = {file.name for file in tmp_path.iterdir()}
    assert not left & set(litter)
    assert {"mine.safetensors", ".mine.tmp", "settings.json"} < left
    assert len(left) == 5
