"""Broken weight files: one sentence that names the tensor or the file, and nothing is ever run."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import load_checkpoint, open_checkpoint

from ..support.checkpoints import UNTIED, write_state_spaces, write_transformers

IN_PROJ, HEAD = "backbone.layers.1.mixer.in_proj.weight", "lm_head.weight"
MIXER, INDEX = "backbone.layers.0.mixer", "model.safetensors.index.json"
INT8 = torch.zeros(164, 32, dtype=torch.int8)


def refusal(folder):
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    return str(caught.value)


def without(name):
    return lambda tensors: tensors.pop(name)


def instead(name, value):
    return lambda tensors: tensors.update({name: value})


def ending(name, value):
    def change(tensors):
        tensors[name].view(-1)[-1] = value

    return change


TENSORS = [
    (without(IN_PROJ), f"tensor {IN_PROJ} of shape (164, 32) is missing"),
    (without("backbone.norm_f.weight"), "backbone.norm_f.weight of shape (32,) is missing"),
    (without(HEAD), "tensor lm_head.weight of shape (64, 32) is missing"),
    (without("backbone.embedding.weight"), "backbone.embeddings.weight of shape (64, 32) is miss"),
    (instead(f"{MIXER}.in_proj.bias", torch.zeros(5)), "of shape (5,) belongs to no parameter"),
    (instead(IN_PROJ, INT8), f"{IN_PROJ} is of type I8; weights must be one of BF16, F16, F32"),
    (instead(IN_PROJ, torch.zeros(32, 164)), "shape (32, 164), but config.json asks for (164, 32)"),
    (instead(f"{MIXER}.D", torch.zeros(64)), f"{MIXER}.D has shape (64,), but config.json asks"),
    (ending(IN_PROJ, float("nan")), f"{IN_PROJ} holds NaN or infinity"),
    (ending(f"{MIXER}.A_log", -float("inf")), f"{MIXER}.A_log holds NaN or infinity"),
]


@pytest.mark.parametrize(("change", "words"), TENSORS)
def test_a_tensor_that_does_not_fit(tmp_path, change, words):
    write_state_spaces(tmp_path, pickled=False)
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
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


def test_other_layers_than_the_config_says(tmp_path):
    """The first missing tensor of thousands is named before anything is allocated."""
    write_state_spaces(tmp_path, n_layer=2**12)
    assert "tensor backbone.layers.2.norm.weight of shape (32,) is missing" in refusal(tmp_path)
    write_state_spaces(tmp_path, n_layer=1)
    sentence = refusal(tmp_path)
    assert all(x in sentence for x in ("backbone.layers.1.", "belongs to no parameter", "1 layers"))


def lie(**entries):
    """Rewrite the header of a safetensors file, leaving its data alone."""

    def damage(data):
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        header[IN_PROJ].update(entries)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return damage


SAFETENSORS = [
    lambda data: b"",
    lambda data: data[:-10],
    lambda data: struct.pack("<Q", 2**40) + data[8:],  # a header longer than the file
    lie(data_offsets=[0, 10**9]),  # beyond the end
    lie(shape=[2**62, 2**62]),
    lie(shape=[-1, 32]),
]


@pytest.mark.parametrize("damage", SAFETENSORS)
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


PICKLES: list[tuple[Any, str]] = [
    (100, "pytorch_model.bin is truncated (its end is missing)"),
    (-1, "pytorch_model.bin is truncated (its end is missing)"),
    (b"", "pytorch_model.bin is truncated or damaged (EOFError"),
    (b"text", "pytorch_model.bin is truncated or damaged ("),
    ([torch.zeros(1)], "not a list"),
    ({"model": {}}, "'model'"),
    ({3: torch.zeros(1)}, "3"),
]


@pytest.mark.parametrize(("content", "words"), PICKLES)
def test_a_bin_that_is_cut_or_something_else(tmp_path, content, words):
    write_state_spaces(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    if isinstance(content, list | dict):
        torch.save(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[:content])
    assert words in refusal(tmp_path)


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


@pytest.mark.parametrize("write", [write_transformers, write_state_spaces])
def test_a_file_that_changes_while_it_is_read(tmp_path, write):
    """Weights that are read must be those that were hashed."""
    write(tmp_path)
    found = open_checkpoint(tmp_path).weights
    found.layer(0)
    file = next(path for path in tmp_path.iterdir() if path.suffix in (".safetensors", ".bin"))
    os.utime(file, ns=(0, 0))
    with pytest.raises(InputError, match=f"{file.name} was changed while it was in use"):
        found.layer(0)


def test_shards_that_do_not_fit_their_index(tmp_path):
    """Another shard, none, one that is not in the folder, and one that is gone."""
    write_transformers(tmp_path, sharded=True)
    index = json.loads((tmp_path / INDEX).read_text())
    own = index["weight_map"][IN_PROJ]
    other = next(f for f in index["weight_map"].values() if f != own)
    for file, words in (
        (other, f"{other} lacks {IN_PROJ}"),
        (3, f"puts {IN_PROJ} in 3, which is no file name"),
        ("../x.safetensors", f"puts {IN_PROJ} in '../x.safetensors', which is no file name"),
    ):
        index["weight_map"][IN_PROJ] = file
        (tmp_path / INDEX).write_text(json.dumps(index))
        assert words in refusal(tmp_path)
    index["weight_map"][IN_PROJ] = own
    (tmp_path / INDEX).write_text(json.dumps(index))
    (tmp_path / own).unlink()
    assert f"{tmp_path / own} is missing, though {INDEX} lists it" in refusal(tmp_path)
    for text in ("{}", '{"weight_map": []}', "["):
        (tmp_path / INDEX).write_text(text)
        assert INDEX in refusal(tmp_path)
