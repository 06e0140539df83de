"""Whatever is wrong with a file gets one sentence that names the file and the fault."""

import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from lightmamba.common.errors import InputError
from lightmamba.model.qmodel import fingerprint, load, load_sizes
from tests.golden.tiny import FILE, OLD
from tests.qmodel.surgery import write, write_header


def refuse(path: Any, sentence: str) -> None:
    """Load must raise one sentence about this file."""
    with pytest.raises(InputError, match=sentence) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < 400 + len(str(path))


def test_missing(tmp_path):
    refuse(tmp_path / "m.st", "does not exist; make one with: lightmamba quantize CKPT -o")


def test_folder(tmp_path):
    refuse(tmp_path, "is not a file; make one")


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1, -500])
def test_cut_short(tmp_path, size):
    path = tmp_path / "m.st"
    path.write_bytes(FILE.read_bytes()[:size])
    refuse(path, "is not a quantized model, or is damaged")


def test_another_kind_of_file(tmp_path):
    path = tmp_path / "m.st"
    path.write_text("Emma Woodhouse, handsome, clever, and rich, with a comfortable home")
    refuse(path, "is not a quantized model, or is damaged")


def test_unreadable(tmp_path, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lightmamba.model.qmodel.file.safe_open", deny)
    refuse(FILE, "cannot be read: Permission denied")


@pytest.mark.parametrize("length", [0, 7, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_length_that_lies(tmp_path, length):
    path = tmp_path / "m.st"
    path.write_bytes(struct.pack("<Q", length) + FILE.read_bytes()[8:])
    refuse(path, "is not a quantized model, or is damaged")


def change(tensor: str, **entries: Any) -> Any:
    return lambda header: header[tensor].update(entries)


@pytest.mark.parametrize(
    "lie",
    [
        change("embedding.q", data_offsets=[345, 370]),  # overlaps the next
        change("embedding.q", data_offsets=[346, 369]),  # a hole
        change("embedding.q", data_offsets=[369, 345]),
        change("tokenizer", data_offsets=[534, 1 << 40]),
        change("embedding.q", shape=[3, 9]),
        change("embedding.q", shape=[1 << 62, 8]),
        change("embedding.q", dtype="F17"),
        lambda header: header.pop("tokenizer"),  # bytes without a tensor
    ],
)
def test_a_header_that_lies(tmp_path, lie):
    refuse(write_header(tmp_path / "m.st", lie), "is not a quantized model, or is damaged")


@pytest.mark.parametrize(
    ("tensor", "kind", "word"),
    [
        ("layers.0.D", "BF16", "bfloat16"),
        ("layers.0.A_shift", "F8_E4M3", "F8_E4M3"),
        ("layers.0.A_shift", "F8_E8M0", "F8_E8M0"),
    ],
)
def test_a_type_that_numpy_lacks(tmp_path, tensor, kind, word):
    path = write_header(tmp_path / "m.st", change(tensor, dtype=kind))
    refuse(path, rf"{tensor} is {word} \(2\), expected int")


@pytest.mark.parametrize("read", [load, load_sizes])
def test_a_file_of_version_1(read):
    """As an older release wrote it; the sentence says how to make it anew."""
    with pytest.raises(InputError) as caught:
        read(OLD)
    assert str(caught.value) == (
        f"{OLD}: of version 1, but this program reads version 3; make it again with: "
        "lightmamba quantize CKPT -o FILE"
    )


def test_not_a_quantized_model(tmp_path):
    path = tmp_path / "m.st"
    path.write_bytes(save({"weight": np.zeros(3)}, {"format": "pt"}))
    refuse(
        path, "a safetensors file, but not a quantized model; make one with: lightmamba quantize"
    )
    path.write_bytes(save({"weight": np.zeros(3)}))
    refuse(path, "a safetensors file, but not a quantized model")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "", "nonsense"])
def test_metadata_that_is_no_json(tmp_path, text):
    path = tmp_path / "m.st"
    path.write_bytes(save({"weight": np.zeros(3)}, {"lightmamba": text}))
    refuse(path, "its metadata is no JSON")


@pytest.mark.parametrize("value", [[], 3, None, "text"])
def test_metadata_that_is_no_object(tmp_path, value):
    path = tmp_path / "m.st"
    path.write_bytes(save({"weight": np.zeros(3)}, {"lightmamba": json.dumps(value)}))
    refuse(path, r"entry must be a table, not .*")


def run(header: dict[str, Any]) -> Any:
    """The first run of equal layers."""
    return header["config"]["layers"][0]


def mixer(header: dict[str, Any]) -> Any:
    """Numbers of the first layer's mixer."""
    return header["layers"][0]["mixer"]


METADATA = [
    (lambda h: h.update(version=4), "of version 4, but this program reads version 3"),
    (
        lambda h: h.update(version=1),
        "reads version 3; make it again with: lightmamba quantize",
    ),
    (lambda h: h.update(version="1"), "version must be a whole number, not '1'"),
    (lambda h: h.pop("version"), "version is missing"),
    (lambda h: h.pop("config"), "config is missing"),
    (lambda h: h.pop("formats"), "formats must be a table, not None"),
    (lambda h: h.pop("eps"), "eps is missing"),
    (lambda h: h.pop("origin"), "origin is missing"),
    (lambda h: h.pop("head"), "head is missing"),
    (lambda h: h.update(eps=1.5), "eps must be a whole number, not 1.5"),
    (lambda h: h.update(eps=True), "eps must be a whole number, not True"),
    (lambda h: h.update(origin=[]), r"origin must be a table, not \[\]"),
    (lambda h: h.update(chat_template=5), "chat_template must be a text, not 5"),
    (lambda h: h["config"].pop("d_model"), "config.d_model is missing"),
    (lambda h: h["config"].update(d_model="4"), "config.d_model must be a whole number, not '4'"),
    (lambda h: run(h).update(conv_bias=1), r"layers\[0\].conv_bias must be true or false, not 1"),
    (lambda h: h["config"].update(eps="x"), "config.eps must be a number, not 'x'"),
    (lambda h: h["config"].update(hidden=4), r"\[config\] has no key hidden"),
    (lambda h: run(h).update(hidden=4), r"config.layers\[0\] has no key hidden"),
    (lambda h: run(h).pop("nheads"), r"config.layers\[0\].nheads is missing"),
    (lambda h: run(h).update(ngroups=3), r"layers\[0\]: ngroups 3 does not divide"),
    (lambda h: run(h).update(dt_limit=["0"]), r"layers\[0\].dt_limit must be a list of 2, not .*"),
    (lambda h: run(h).update(dt_limit=["a", "b"]), "dt_limit must be numbers, not .*"),
    (lambda h: run(h).update(dt_limit=["1", "0"]), r"layers\[0\]: dt_limit must be"),
    (lambda h: h["formats"].update(act_bits=5), "formats: activation bits must be 4"),
    (lambda h: h["formats"].update(hadamard=3), "formats: hadamard must be"),
    (lambda h: h["formats"].update(block=5), "formats: block 5 must divide"),
    (lambda h: h["formats"].update(group=0), "group must be positive, not 0"),
    (lambda h: h["formats"].update(group=-8), "group must be positive, not -8"),
    (lambda h: h["formats"].update(head_qmax=0), "head_qmax must be 1 to 127 at 8 bits, not 0"),
    (lambda h: h["formats"].update(head_qmax=128), "head_qmax must be 1 to 127 at 8 bits, not 128"),
    (
        lambda h: h["formats"].update(head_act_bits=4),
        "head_qmax must be 1 to 7 at 4 bits, not 119",
    ),
    (lambda h: h.update(logit_exp=1), "logit_exp is 1, expected -40 to 0"),
    (lambda h: h.update(logit_exp=-41), "logit_exp is -41, expected -40 to 0"),
    (lambda h: h["formats"].update(state_rounding=8), "state_rounding must be a text, not 8"),
    (lambda h: h["layers"].append({}), "has numbers for 2 layers, expected 1"),
    (lambda h: run(h).update(count=7), "has numbers for 1 layers, expected 7"),
    (lambda h: run(h).update(count=1 << 40), "count is 1099511627776, expected 1 to 4096 layers"),
    (lambda h: h.update(layers={}), "layers must be a list, not {}"),
    (lambda h: h.update(layers=[7]), "layers.0 must be a table, not 7"),
    (lambda h: h["layers"][0].pop("mixer"), "layers.0.mixer is missing"),
    (lambda h: mixer(h).pop("eps_gate"), "layers.0.mixer.eps_gate is missing"),
    (lambda h: mixer(h).update(silu=1), "layers.0.mixer has no key silu"),
    (lambda h: mixer(h)["exponents"].pop("y"), "layers.0.mixer.exponents.y is missing"),
    (
        lambda h: mixer(h)["exponents"].update(y=0.5),
        "layers.0.mixer.exponents.y must be a whole number, not 0.5",
    ),
    (lambda h: h["layers"][0]["in_proj"].pop("base"), "layers.0.in_proj.base is missing"),
    (lambda h: h["head"].update(q=1), r"\[head\] has no key q"),
    (lambda h: mixer(h).update(dt_low=[1]), r"mixer.dt_low must be a whole number, not \[1\]"),
    (lambda h: mixer(h).update(dt_high=1.5), "mixer.dt_high must be a whole number, not 1.5"),
    (
        lambda h: h.update(special_ids={"eos": "x"}),
        "special_ids.eos must be a whole number, not 'x'",
    ),
    (lambda h: h.update(special_ids={"eos": 3}), "special id eos is 3, expected 0 to 2"),
    (
        lambda h: h.update(special_ids={"eos": []}),
        r"special_ids.eos must be a whole number, not \[\]",
    ),
    (
        lambda h: h.update(special_ids={"eos": [1, "x"]}),
        "special_ids.eos must be a whole number, not 'x'",
    ),
    (lambda h: h.update(special_ids={"eos": [1, 3]}), "special id eos is 3, expected 0 to 2"),
    (
        lambda h: h.update(special_ids={"eos": [[1]]}),
        r"special_ids.eos must be a whole number, not \[1\]",
    ),
    (lambda h: h.update(embedding={}), "embedding.base is missing"),
    (lambda h: h.update(origin={"x": float("nan")}), r"its metadata is no JSON \(NaN is no number"),
    (lambda h: h.update(generation_config={"top_p": float("inf")}), "Infinity is no number"),
    (
        lambda h: run(h).update(dt_limit=["0", 10**400]),
        r"config.layers\[0\].dt_limit must be numbers, not \['0', 100.*…",
    ),
    (
        lambda h: h["config"].update(d_model="a" * 3000),
        "d_model must be a whole number, not 'aaa.*…",
    ),
    (lambda h: h["head"].update(acc_shift=63), "head.acc_shift is 63, expected 0 to 62"),
]


@pytest.mark.parametrize(("lie", "sentence"), METADATA, ids=[s for _, s in METADATA])
def test_metadata_that_does_not_fit(tmp_path, lie, sentence):
    refuse(write(tmp_path / "m.st", metadata=lie), sentence)


TENSORS = [
    (lambda t: t.pop("layers.0.D"), "lacks the tensor layers.0.D; quantize the checkpoint again"),
    (lambda t: t.pop("embedding.q"), "lacks the tensor embedding.q"),
    (lambda t: t.pop("calibration_windows"), "lacks the tensor calibration_windows"),
    (lambda t: t.update(extra=np.zeros(1)), "has the unknown tensor extra"),
    (
        lambda t: t.update({"layers.1.D": t["layers.0.D"]}),
        "has the unknown tensor layers.1.D",
    ),
    (
        lambda t: t.update({"embedding.bias": np.zeros(3, np.int32)}),
        "has the unknown tensor embedding.bias",
    ),
    (
        lambda t: t.update({"layers.0.D": t["layers.0.D"].astype(np.int32)}),
        r"layers.0.D is int32 \(2\), expected int16 \(2\)",
    ),
    (
        lambda t: t.update({"layers.0.D": t["layers.0.D"].astype(np.float16)}),
        "layers.0.D is float16",
    ),
    (
        lambda t: t.update({"layers.0.A_shift": np.zeros(2, np.bool_)}),
        r"layers.0.A_shift is bool \(2\), expected int8 \(2\)",
    ),
    (
        lambda t: t.update({"head.q": t["head.q"][:2]}),
        r"head.q is uint8 \(2, 4\), expected uint8 \(3, 4\)",
    ),
    (
        lambda t: t.update({"head.q": t["head.q"].ravel()}),
        r"head.q is uint8 \(12\), expected uint8 \(3, 4\)",
    ),
    (
        lambda t: t.update({"layers.0.conv_weight": t["layers.0.conv_weight"].T.copy()}),
        r"conv_weight is int8 \(16, 4\), expected int8 \(4, 16\)",
    ),
    (
        lambda t: t.update({"layers.0.in_proj.bias": np.zeros(25, np.int32)}),
        r"in_proj.bias is int32 \(25\), expected int32 \(26\)",
    ),
    (
        lambda t: t.update(tokenizer=np.zeros((2, 2), np.uint8)),
        r"tokenizer is uint8 \(2, 2\), expected uint8 \(any\)",
    ),
    (
        lambda t: t["layers.0.conv_in_shift"].fill(-1),
        "layers.0.conv_in_shift is -1, expected 0 to 15",
    ),
]


@pytest.mark.parametrize(("lie", "sentence"), TENSORS, ids=[s for _, s in TENSORS])
def test_tensors_that_do_not_fit(tmp_path, lie, sentence):
    refuse(write(tmp_path / "m.st", tensors=lie), sentence)


def test_surgery_without_a_cut_loads(tmp_path):
    """Or all of the above would be vacuous."""
    load(write(tmp_path / "m.st"))
    load(write_header(tmp_path / "n.st", lambda _: None))


def test_the_optional_parts_are_optional(tmp_path):
    names = [
        "tokenizer",
        *(f"layers.0.in_proj.{x}" for x in ("input_scale", "input_shift", "bias")),
    ]

    def strip(tensors: dict[str, Any]) -> None:
        for name in names:
            del tensors[name]

    model = load(write(tmp_path / "m.st", lambda h: h.update(chat_template=None), strip))
    assert model.tokenizer is None
    assert model.chat_template is None
    assert model.plain


def test_every_flipped_byte_is_found(tmp_path):
    """Of tensors, metadata, header or the hash itself: no change of the file loads."""
    path, data = tmp_path / "m.st", FILE.read_bytes()
    said = set()
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            load(path)
        said.add(str(caught.value))
    assert (
        f"{path}: has changed since it was written; copy it again, or make it again with: "
        "lightmamba quantize CKPT -o FILE"
    ) in said


@pytest.mark.parametrize("read", [load, load_sizes, fingerprint])
def test_a_weight_that_was_changed(tmp_path, read):
    path, data = tmp_path / "m.st", bytearray(FILE.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="has changed since it was written; copy it again"):
        read(path)


def test_a_file_without_a_hash(tmp_path):
    path = write(tmp_path / "m.st", lambda header: header.pop("sha256"))
    refuse(path, "has no hash of its contents; make it again with: lightmamba quantize CKPT")
    path = write(tmp_path / "m.st", lambda header: header.update(sha256="f"))
    refuse(path, "sha256 must be 64 hexadecimal digits, not 'f'; make it again with")


def test_the_hash_is_that_of_the_file_with_zeros_in_its_place():
    data = FILE.read_bytes()
    own = fingerprint(FILE)
    assert data.count(own.encode()) == 1
    blank = data.replace(own.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == own
