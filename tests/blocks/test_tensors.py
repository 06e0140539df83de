"""A tensor or number of a mixer is declared in one place: its field."""

import json
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lightmamba.blocks import kind
from lightmamba.blocks.mamba2.quantized import Mixer
from lightmamba.blocks.tensors import Spec, number, tensor, tensors
from lightmamba.common.errors import InputError
from lightmamba.model.config import mamba2_config
from lightmamba.model.qmodel import QuantizedModel, load, save, validate
from lightmamba.model.qmodel.check import mixer_tensors
from lightmamba.model.qmodel.check import tensors as file_layout
from lightmamba.numerics.model_formats import Formats
from tests.qmodel.surgery import assert_same_model, sealed
from tests.support.builders import random_model
from tests.support.layers import sizes_of, with_mixer

CONFIG = mamba2_config(d_model=32, n_layer=2, vocab_size=61, d_state=16, headdim=16)


@dataclass(frozen=True)
class Wider(Mixer):
    """A Mamba2 mixer with a tensor and a number that no other code has heard of."""

    phase: NDArray[np.int16] = tensor("int16", "nheads", "d_state", low=0, high=100)
    turns: int = number(1, 7)


@pytest.fixture
def model(monkeypatch) -> QuantizedModel:
    """A random model of such layers."""
    plain = random_model(CONFIG)
    monkeypatch.setattr(kind("mamba2"), "Mixer", Wider)
    phase = np.arange(64, dtype=np.int16).reshape(4, 16)
    layers = []
    for n, layer in enumerate(plain.layers):
        values = {f.name: getattr(layer.mixer, f.name) for f in fields(Mixer)}
        layers.append(replace(layer, mixer=Wider(**values, phase=phase + n, turns=3 + n)))
    return replace(plain, layers=tuple(layers))


def test_it_is_among_the_tensors_of_a_file(model):
    assert mixer_tensors(sizes_of(CONFIG))["phase"] == Spec("int16", (4, 16))
    must, may = file_layout(CONFIG, Formats())
    assert must["layers.1.phase"] == Spec("int16", (4, 16))
    assert not any("phase" in name for name in may)
    assert set(tensors(Wider)) - set(tensors(Mixer)) == {"phase"}


def test_it_comes_back_from_a_file(model, tmp_path):
    save(model, path := tmp_path / "m.safetensors")
    with safe_open(path, framework="numpy") as file:
        assert file.get_slice("layers.0.phase").get_shape() == [4, 16]
        header = json.loads(file.metadata()["lightmamba"])
    assert [layer["mixer"]["turns"] for layer in header["layers"]] == [3, 4]
    assert_same_model(load(path), model)


def test_a_file_without_it_is_refused(model, tmp_path):
    save(model, path := tmp_path / "m.safetensors")
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    found = load_file(path)
    del found["layers.1.phase"]
    save_file(found, path, metadata)
    path.write_bytes(sealed(path.read_bytes(), json.loads(metadata["lightmamba"])["sha256"]))
    with pytest.raises(InputError, match=r"lacks the tensor layers\.1\.phase"):
        load(path)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"phase": np.full((4, 16), 101, np.int16)}, "layers.0.phase is 101, expected 0 to 100"),
        ({"phase": np.zeros((4, 15), np.int16)}, r"phase is int16 \(4, 15\), expected int16 "),
        ({"phase": np.zeros((4, 16), np.int8)}, r"phase is int8 \(4, 16\), expected int16"),
        ({"turns": 8}, "layers.0.turns is 8, expected 1 to 7"),
    ],
)  # fmt: skip
def test_it_is_checked(model, wrong, sentence):
    validate(model)
    changed = with_mixer(model.layers[0], **wrong)
    with pytest.raises(InputError, match=sentence):
        validate(replace(model, layers=(changed, *model.layers[1:])))
