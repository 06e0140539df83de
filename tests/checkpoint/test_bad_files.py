"""Broken weight files: one sentence that names the tensor or the file, and nothing is ever run."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import load_checkpoint

from ..support.checkpoints import UNTIED, write_state_spaces, write_transformers

IN_PROJ, HEAD = "backbone.layers.1.mixer.in_proj.weight", "lm_head.weight"
MIXER = "backbone.layers.0.mixer"


def refusal(folder):
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def missing(name, shape, said=""):
    words = f"tensor {said or name} of shape {shape} is missing"
    return name, lambda tensors: tensors.pop(name), words


def instead(name, value, words):
    return name, lambda tensors: tensors.update({name: value}), f"{name} {words}"


def ending(name, value):
    def change(tensors):
        tensors[name].view(-1)[-1] = value

    return name, change, f"{name} holds NaN or infinity"


TENSORS = [
    missing(IN_PROJ, (164, 32)),
    missing("backbone.layers.0.norm.weight", (32,)),
    missing("backbone.layers.1.mixer.norm.weight", (64,)),
    missing(f"{MIXER}.conv1d.bias", (96,)),
    missing("backbone.norm_f.weight", (32,)),
    missing(HEAD, (64, 32)),
    missing("backbone.embedding.weight", (64, 32), "backbone.embeddings.weight"),
    instead(f"{MIXER}.in_proj.bias", torch.zeros(5), "of shape (5,) belongs to no parameter"),
    instead(
        IN_PROJ,
        torch.zeros(164, 32, dtype=torch.int8),
        "is of type I8; weights must be one of BF16, F16, F32",
    ),
    *(
        instead(name, torch.zeros(shape), f"has shape {shape}, but config.json asks for {wanted}")
        for name, shape, wanted in (
            (IN_PROJ, (32, 164), (164, 32)),
            (f"{MIXER}.D", (64,), (4,)),
            (f"{MIXER}.conv1d.weight", (96, 4), (96, 1, 4)),
            ("backbone.embedding.weight", (63, 32), (64, 32)),
        )
    ),
    *(
        ending(name, value)
        for name in (IN_PROJ, HEAD, f"{MIXER}.A_log")
        for value in (float("nan"), float("inf"), -float("inf"))
    ),
]


@pytest.mark.parametrize(("name", "edit", "words"), TENSORS)
def test_a_tensor_that_does_not_fit(tmp_path, name, edit, words):
    write_state_spaces(tmp_path, pickled=False)
    tensors = load_file(tmp_path / "model.safetensors")
    edit(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    assert words in refusal(tmp_path)


@pytest.mark.parametrize("rows", [63, 64])
def test_tied_head_that_differs(tmp_path, rows):
    write_state_spaces(tmp_path, replace(UNTIED, tie_embeddings=True), pickled=False)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[HEAD] = tensors["backbone.embedding.weight"][:rows].clone()
    tensors[HEAD][-1, -1] += 1 if rows == 64 else 0
    save_file(tensors, tmp_path / "model.safetensors")
    assert "lm_head.weight differs from the embedding" in refusal(tmp_path)


def test_fewer_layers_than_the_config_says(tmp_path):
    """Even thousands: the first missing layer is named before anything is allocated."""
    write_state_spaces(tmp_path, n_layer=2**12)
    assert "tensor backbone.layers.2.norm.weight of shape (32,) is missing" in refusal(tmp_path)


def test_more_layers_than_the_config_says(tmp_path):
    write_state_spaces(tmp_path, n_layer=1)
    sentence = refusal(tmp_path)
    assert all(x in sentence for x in ("backbone.layers.1.", "belongs to no parameter", "1 layers"))


def lie(change):
    """Rewrite the header of a safetensors file, leaving its data alone."""

    def damage(data):
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return damage


def sized(*shape):
    return lie(lambda header: header[IN_PROJ].update(shape=shape))


SAFETENSORS = {
    **{f"{keep} bytes": lambda data, keep=keep: data[:keep] for keep in (0, 4, 100, -10)},
    "a header longer than the file": lambda data: struct.pack("<Q", 2**40) + data[8:],
    "data beyond the end": lie(
        lambda header: header[IN_PROJ]["data_offsets"].append(
            header[IN_PROJ]["data_offsets"].pop() + 10**9
        )
    ),
    "a shape larger than its data": sized(10**6, 10**6),
    "a shape that overflows": sized(2**62, 2**62),
    "a negative size": sized(-1, 32),
    "two tensors that share data": lie(
        lambda header: header[IN_PROJ].update(data_offsets=header[HEAD]["data_offsets"])
    ),
}


@pytest.mark.parametrize("damage", SAFETENSORS.values(), ids=SAFETENSORS)
def test_damaged_safetensors(tmp_path, damage):
    write_state_spaces(tmp_path, pickled=False)
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert "model.safetensors is truncated or damaged (" in refusal(tmp_path)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_with_code_is_not_run(tmp_path, zipped):
    write_state_spaces(tmp_path)
    marker = tmp_path / "ran"
    weights = tmp_path / "pytorch_model.bin"
    state = {"weight": torch.zeros(1), "evil": Payload(marker)}
    torch.save(state, weights, _use_new_zipfile_serialization=zipped)
    assert "would run code when read" in refusal(tmp_path)
    assert not marker.exists()
    torch.load(weights, weights_only=False)  # the payload is a real one
    assert marker.exists()


DAMAGED = "pytorch_model.bin is truncated or damaged ("
PICKLES: list[tuple[Any, tuple[str, ...]]] = [
    *(
        (keep, ("pytorch_model.bin is truncated (its end is missing)",))
        for keep in (100, 5000, -1, -100)
    ),
    (b"", (DAMAGED, "EOFError")),
    (b"text", (DAMAGED, "pop from")),
    (b"\x80\x02", (DAMAGED, "truncated")),
    ([torch.zeros(1)], ("not a list",)),
    ({"model": {}}, ("'model'",)),
    ({3: torch.zeros(1)}, ("3",)),
]


@pytest.mark.parametrize(("content", "words"), PICKLES)
def test_a_bin_that_is_cut_or_something_else(tmp_path, content, words):
    write_state_spaces(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    if isinstance(content, list | dict):
        torch.save(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[:content])
    sentence = refusal(tmp_path)
    assert all(word in sentence for word in words)


def test_old_pickle_format(tmp_path):
    """Files from before torch 1.6 load as well."""
    expected = write_state_spaces(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    model = load_checkpoint(tmp_path).model
    torch.testing.assert_close(model.norm_f, expected.norm_f, rtol=0, atol=0)


def test_a_folder_without_weights_or_config(tmp_path):
    assert "has no config.json" in refusal(tmp_path)
    write_state_spaces(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    assert "holds no weights: it needs model.safetensors" in refusal(tmp_path)


def test_missing_shard(tmp_path):
    write_transformers(tmp_path, sharded=True)
    shard = sorted(tmp_path.glob("model-*"))[1]
    shard.unlink()
    assert f"{shard} is missing, though model.safetensors.index.json lists it" in refusal(tmp_path)


@pytest.mark.parametrize("file", [None, "../secret.safetensors", 3, ""])
def test_an_index_that_names_a_wrong_file(tmp_path, file):
    """Another shard, or one that is not in the folder."""
    write_transformers(tmp_path, sharded=True)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    other = next(f for f in index["weight_map"].values() if f != index["weight_map"][IN_PROJ])
    index["weight_map"][IN_PROJ] = other if file is None else file
    path.write_text(json.dumps(index))
    words = f"puts {IN_PROJ} in {file!r}, which is no file name"
    assert (f"{other} lacks {IN_PROJ}" if file is None else words) in refusal(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', "[", "[]"])
def test_broken_index(tmp_path, content):
    write_transformers(tmp_path, sharded=True)
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refusal(tmp_path)
