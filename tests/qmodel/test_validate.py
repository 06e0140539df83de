"""Properties that the engine relies on are checked, one sentence each; sizes of a model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.model.config import SHAPES, mamba2_config
from lightmamba.model.qmodel import QuantizedModel, load, to_bytes, validate
from lightmamba.numerics.model_formats import FormatException, Formats
from tests.golden.tiny import tiny_model
from tests.support.builders import random_model, sizes
from tests.support.layers import mixer_of, resized, with_mixer


def layer(model: QuantizedModel, **changes: Any) -> QuantizedModel:
    return replace(model, layers=(replace(model.layers[0], **changes),))


def mixer(model: QuantizedModel, **changes: Any) -> QuantizedModel:
    return replace(model, layers=(with_mixer(model.layers[0], **changes),))


def exponents(model: QuantizedModel, **changes: int) -> QuantizedModel:
    return mixer(model, exponents=replace(mixer_of(model.layers[0]).exponents, **changes))


def linear(model: QuantizedModel, part: str, **changes: Any) -> QuantizedModel:
    changed = replace(model.layers[0].linears[part], **changes)
    return replace(model, layers=(model.layers[0].with_linears(**{part: changed}),))


M = tiny_model()
WRONG: list[tuple[QuantizedModel, str]] = [
    (replace(M, layers=()), "the model has 0 layers, expected 1"),
    (replace(M, valid_vocab=4), "valid_vocab is 4, expected 1 to 3"),
    (replace(M, valid_vocab=0), "valid_vocab is 0, expected 1 to 3"),
    (replace(M, residual_exp=-65), "residual_exp is -65, expected -64 to 64"),
    (replace(M, logit_exp=1), "logit_exp is 1, expected -40 to 0"),
    (replace(M, logit_exp=-41), "logit_exp is -41, expected -40 to 0"),
    (replace(M, eps=0), "eps is 0, expected 1 to"),
    (replace(M, eps=1 << 61), "eps is 2305843009213693952, expected 1 to"),
    (mixer(M, dt_low=-32769), "layers.0.dt_low is -32769, expected -32768 to 32767"),
    (mixer(M, dt_low=5, dt_high=4), "layers.0: dt_low is 5, expected -32768 to 4"),
    (
        replace(M, embedding=replace(M.embedding, base=30)),
        r"the embedding's shift \(residual_exp - base\) is -50, expected -40 to 62",
    ),
    (replace(M, head=replace(M.head, base=-70)), "head.base is -70, expected -64 to 64"),
    (replace(M, head=replace(M.head, act_base=32)), "head.act_base is 32, expected 0 to 31"),
    (replace(M, head=replace(M.head, act_base=-1)), "head.act_base is -1, expected 0 to 31"),
    (replace(M, head=replace(M.head, acc_shift=63)), "head.acc_shift is 63, expected 0 to 62"),
    (replace(M, logit_exp=-37), "the static shift of the head is 5, expected 7 to 62"),
    (linear(M, "in_proj", base=14), "static shift of layers.0.in_proj is 3, expected 7 to 62"),
    (linear(M, "in_proj", base=-50), "static shift of layers.0.in_proj is 67, expected 7 to"),
    (linear(M, "out_proj", base=-5), "static shift of layers.0.out_proj is 6, expected 7 to 62"),
    (linear(M, "in_proj", input_scale_exp=9), "in_proj.input_scale_exp is 9, expected -62 to 8"),
    (linear(M, "in_proj", input_shift_exp=1), "in_proj.input_shift_exp is 1, expected -62 to 0"),
    (
        linear(M, "in_proj", bits=8),
        "layers.0.in_proj.bits is 8, expected 4 to 4",
    ),
    (
        linear(M, "in_proj", words=M.layers[0].in_proj.words[:5]),
        r"in_proj.q is uint8 \(5, 4\), expected uint8 \(26, 4\)",
    ),
    (
        linear(M, "in_proj", bias=np.zeros(26)),
        r"in_proj.bias is float64 \(26\), expected int32 \(26\)",
    ),
    (mixer(M, eps_gate=0), "layers.0.eps_gate is 0, expected 1 to"),
    (
        mixer(M, D=np.zeros(3, np.int16)),
        r"layers.0.D is int16 \(3\), expected int16 \(2\)",
    ),
    (mixer(M, A=np.array([-1, 5], np.int16)), "layers.0.A is -1, expected 0 to 32767"),
    (mixer(M, A_shift=np.array([0, 48], np.int8)), "layers.0.A_shift is 48, expected -17 to 47"),
    (
        mixer(M, conv_bias=np.full(16, 1 << 23, np.int32)),
        "layers.0.conv_bias is 8388608, expected -8388608 to 8388607",
    ),
    (mixer(M, conv_in_shift=np.full(16, 16, np.int8)), "conv_in_shift is 16, expected 0 to 15"),
    (mixer(M, conv_out_shift=np.full(16, -25, np.int8)), "conv_out_shift is -25, expected -24 to"),
    (exponents(M, D=-65), "layers.0.exponents.D is -65, expected -64 to 64"),
    (exponents(M, hadamard_shift=32), "exponents.hadamard_shift is 32, expected 0 to 31"),
    (
        exponents(M, z=21),
        "layers.0: the shift of z to the sigmoid's input is -32, expected -31 to 62",
    ),
    (exponents(M, conv_B=25), "layers.0: the shift of conv_B to the sigmoid's input is -36"),
    (exponents(M, state=0), "layers.0: the shift of y is -1, expected 0 to 62"),
    (
        exponents(M, gate=-46, y=0, weighted=-46, gate_weight=0),
        "layers.0: the shift of the gate is -34, expected -20 to 62",
    ),
    (exponents(M, gate_weight=50), "layers.0: the shift of the norm weight is -50, expected -20"),
]


@pytest.mark.parametrize(("model", "sentence"), WRONG, ids=[s for _, s in WRONG])
def test_one_sentence_each(model, sentence):
    with pytest.raises(InputError, match=sentence):
        validate(model)
    with pytest.raises(InputError, match=sentence):
        to_bytes(model)


def test_wide_weights_are_two_nibbles():
    """Scale codes of an exception go up to 119, and the file says which layers are exceptions."""
    formats = Formats(exceptions=(FormatException(1, "out_proj", 8, 4),))
    model = random_model(sizes(), formats)
    validate(model)
    layers, wide = list(model.layers), model.layers[1].out_proj
    full = np.full(wide.shape, 120, np.int8)
    layers[1] = layers[1].with_linears(out_proj=wide.with_weights(full, 8))
    with pytest.raises(InputError, match=r"a weight of layers.1.out_proj is 120, expected -128 to"):
        validate(replace(model, layers=tuple(layers)))
    with pytest.raises(InputError, match=r"layers.1.out_proj.q is uint8 .*, expected uint8"):
        validate(replace(model, formats=Formats()))
    beyond = Formats(exceptions=(FormatException(2, "out_proj", 8, 4),))
    with pytest.raises(InputError, match="exception for layer 2, but the model's layers are 0 to"):
        validate(replace(model, formats=beyond))


def test_sums_must_fit():
    """W8A8 over a million channels would need more than 63 bits."""
    wide = mamba2_config(d_model=1 << 15, n_layer=1, vocab_size=2, headdim=64)
    with pytest.raises(InputError, match="d_model has 32768 channels, expected at most 16384"):
        validate(replace(M, config=wide))
    tall = resized(wide, d_model=1 << 14, expand=32, ngroups=32)
    with pytest.raises(
        InputError, match=r"sums of layers.0.out_proj over 524288 channels need 6. bits"
    ):
        validate(replace(M, config=tall, formats=Formats(weight_bits=8, act_bits=8)))


def test_blocks_and_words_divide_the_channels():
    """The kernels walk whole blocks of the transform, and whole bytes of a row."""
    small = mamba2_config(d_model=16, n_layer=1, vocab_size=9, headdim=32, d_state=32)
    with pytest.raises(InputError, match="group of 32 channels has no Hadamard transform of order"):
        validate(replace(M, config=small, formats=Formats(group=32)))
    odd = mamba2_config(d_model=33, n_layer=1, vocab_size=9, headdim=33, d_state=32)
    formats = Formats(group=33, block=33, head_block=33, hadamard=1)
    with pytest.raises(InputError, match="head has 33 channels of 4 bits, expected whole bytes"):
        validate(replace(M, config=odd, formats=formats))
    formats = replace(formats, head_weight_bits=8)
    with pytest.raises(InputError, match="in_proj has 33 channels of 4 bits, expected whole bytes"):
        validate(replace(M, config=odd, formats=formats))


def test_bytes_per_token_are_those_of_the_file(tmp_path):
    """Bytes that a decoder moves for the weights are those that the file holds of them."""
    model = random_model(SHAPES["demo"], Formats(exceptions=(FormatException(2, "in_proj", 8, 8),)))
    (tmp_path / "m.st").write_bytes(to_bytes(model))
    layers = load(tmp_path / "m.st").layers
    projections = [p for x in layers for p in (x.in_proj, x.out_proj)]
    moved = model.bytes_per_token()
    assert moved["projections"] == sum(p.words.size + p.code.size for p in projections)
    assert moved["head"] == model.head.q.size // 2 + model.head.code.size
    assert moved["embedding"] == 256 + 2
    assert moved["state"] == 6 * 2 * (8 * 64 * 128 + 8 * 64 * 4)
    assert moved["conv_state"] == 6 * 4 * 768
