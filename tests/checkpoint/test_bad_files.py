"""Broken weight files: one sentence that names the tensor or the file, and nothing is ever run."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import load_checkpoint

from ..support.checkpoints import UNTIED, write_state_spaces, write_transformers

IN_PROJ = "backbone.layers.1.mixer.in_proj.weight"


def refusal(folder):
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def change(tmp_path):
    """Write a checkpoint, change its tensors, and return the sentence it is refused with."""

    def change(edit, config=UNTIED):
        write_state_spaces(tmp_path, config, pickled=False)
        tensors = load_file(tmp_path / "model.safetensors")
        edit(tensors)
        save_file(tensors, tmp_path / "model.safetensors")
        return refusal(tmp_path)

    return change


@pytest.mark.parametrize(
    "name",
    [
        IN_PROJ,
        "backbone.layers.0.norm.weight",
        "backbone.layers.1.mixer.norm.weight",
        "backbone.layers.0.mixer.conv1d.bias",
        "backbone.norm_f.weight",
        "lm_head.weight",
    ],
)
def test_missing_tensor(change, name):
    shapes = []

    def edit(tensors):
        shapes.append(tuple(tensors.pop(name).shape))

    sentence = change(edit)
    assert f"tensor {name} of shape {shapes[0]} is missing" in sentence


def test_missing_embedding(change):
    def edit(tensors):
        del tensors["backbone.embedding.weight"]

    assert "backbone.embeddings.weight of shape (64, 32) is missing" in change(edit)


def test_fewer_layers_than_the_config_says(tmp_path):
    """Even thousands: the first missing layer is named before anything is allocated."""
    write_state_spaces(tmp_path, n_layer=2**12)
    assert "tensor backbone.layers.2.norm.weight of shape (32,) is missing" in refusal(tmp_path)


def test_more_layers_than_the_config_says(tmp_path):
    write_state_spaces(tmp_path, n_layer=1)
    sentence = refusal(tmp_path)
    assert "backbone.layers.1." in sentence
    assert "belongs to no parameter" in sentence
    assert "1 layers" in sentence


def test_extra_tensor(change):
    def edit(tensors):
        tensors["backbone.layers.0.mixer.in_proj.bias"] = torch.zeros(5)

    sentence = change(edit)
    assert "backbone.layers.0.mixer.in_proj.bias of shape (5,) belongs to no parameter" in sentence


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        (IN_PROJ, (32, 164), (164, 32)),
        ("backbone.layers.0.mixer.D", (64,), (4,)),
        ("backbone.layers.0.mixer.conv1d.weight", (96, 4), (96, 1, 4)),
        ("backbone.embedding.weight", (63, 32), (64, 32)),
    ],
)
def test_wrong_shape(change, name, shape, expected):
    def edit(tensors):
        tensors[name] = torch.zeros(shape)

    assert f"{name} has shape {shape}, but config.json asks for {expected}" in change(edit)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [IN_PROJ, "lm_head.weight", "backbone.layers.0.mixer.A_log"])
def test_not_finite(change, name, value):
    def edit(tensors):
        tensors[name].view(-1)[-1] = value

    assert f"{name} holds NaN or infinity" in change(edit)


def test_integer_weights(change):
    def edit(tensors):
        tensors[IN_PROJ] = tensors[IN_PROJ].to(torch.int8)

    assert f"{IN_PROJ} is of type I8; weights must be one of BF16, F16, F32" in change(edit)


@pytest.mark.parametrize("rows", [63, 64])
def test_tied_head_that_differs(change, rows):
    def edit(tensors):
        head = tensors["backbone.embedding.weight"][:rows].clone()
        head[-1, -1] += 1 if rows == 64 else 0
        tensors["lm_head.weight"] = head

    sentence = change(edit, replace(UNTIED, tie_embeddings=True))
    assert "lm_head.weight differs from the embedding" in sentence


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_truncated_safetensors(tmp_path, keep):
    write_state_spaces(tmp_path, pickled=False)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors is truncated or damaged (" in refusal(tmp_path)


def lie(path, edit):
    """Rewrite the header of a safetensors file, leaving its data alone."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header = edit(header) or header
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def beyond_the_end(header):
    header[IN_PROJ]["data_offsets"][1] += 10**9


def larger_than_its_data(header):
    header[IN_PROJ]["shape"] = [10**6, 10**6]


def overflowing(header):
    header[IN_PROJ]["shape"] = [2**62, 2**62]


def two_share_data(header):
    header[IN_PROJ]["data_offsets"] = header["lm_head.weight"]["data_offsets"]


def negative(header):
    header[IN_PROJ]["shape"][0] = -1


@pytest.mark.parametrize(
    "edit", [beyond_the_end, larger_than_its_data, overflowing, two_share_data, negative]
)
def test_lying_safetensors_header(tmp_path, edit):
    write_state_spaces(tmp_path, pickled=False)
    lie(tmp_path / "model.safetensors", edit)
    assert "model.safetensors is truncated or damaged (" in refusal(tmp_path)


def test_safetensors_header_longer_than_the_file(tmp_path):
    write_state_spaces(tmp_path, pickled=False)
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + path.read_bytes()[8:])
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


@pytest.mark.parametrize("keep", [100, 5000, -1, -100])
def test_truncated_bin(tmp_path, keep):
    write_state_spaces(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:keep])
    assert "pytorch_model.bin is truncated (its end is missing)" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "named"), [(b"", "EOFError"), (b"text", "pop from"), (b"\x80\x02", "truncated")]
)
def test_bin_of_something_else(tmp_path, content, named):
    write_state_spaces(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    sentence = refusal(tmp_path)
    assert "pytorch_model.bin is truncated or damaged (" in sentence
    assert named in sentence


def test_old_pickle_format(tmp_path):
    """Files from before torch 1.6 load as well."""
    expected = write_state_spaces(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    model = load_checkpoint(tmp_path).model
    torch.testing.assert_close(model.norm_f, expected.norm_f, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("state", "named"),
    [([torch.zeros(1)], "not a list"), ({"model": {}}, "'model'"), ({3: torch.zeros(1)}, "3")],
)
def test_bin_without_tensors(tmp_path, state, named):
    write_state_spaces(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert named in refusal(tmp_path)


def test_no_weights(tmp_path):
    write_state_spaces(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    assert "holds no weights: it needs model.safetensors" in refusal(tmp_path)


def test_no_config(tmp_path):
    assert "has no config.json" in refusal(tmp_path)


def index_of(folder):
    path = folder / "model.safetensors.index.json"
    return path, json.loads(path.read_text())


def test_missing_shard(tmp_path):
    write_transformers(tmp_path, sharded=True)
    shard = sorted(tmp_path.glob("model-*"))[1]
    shard.unlink()
    assert f"{shard} is missing, though model.safetensors.index.json lists it" in refusal(tmp_path)


def test_index_names_the_wrong_shard(tmp_path):
    write_transformers(tmp_path, sharded=True)
    path, index = index_of(tmp_path)
    other = next(f for f in index["weight_map"].values() if f != index["weight_map"][IN_PROJ])
    index["weight_map"][IN_PROJ] = other
    path.write_text(json.dumps(index))
    assert f"{other} lacks {IN_PROJ}" in refusal(tmp_path)


@pytest.mark.parametrize("file", ["../secret.safetensors", 3, ""])
def test_index_leads_out_of_the_folder(tmp_path, file):
    write_transformers(tmp_path, sharded=True)
    path, index = index_of(tmp_path)
    index["weight_map"][IN_PROJ] = file
    path.write_text(json.dumps(index))
    assert f"puts {IN_PROJ} in {file!r}, which is no file name" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', "[", "[]"])
def test_broken_index(tmp_path, content):
    write_transformers(tmp_path, sharded=True)
    path, _ = index_of(tmp_path)
    path.write_text(content)
    assert "model.safetensors.index.json" in refusal(tmp_path)
