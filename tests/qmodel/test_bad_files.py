"""Whatever is wrong with a file gets one sentence that names the file and the fault."""

import hashlib
import json
import re
import struct
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from lightmamba.common.errors import InputError
from lightmamba.model.qmodel import fingerprint, load, load_sizes
from tests.fuzz.mutate import MISSING
from tests.golden.tiny import FILE, OLD
from tests.qmodel.surgery import write, write_header


def refuse(path: Any, words: str) -> None:
    """Load must raise one sentence about this file."""
    with pytest.raises(InputError, match=re.escape(words)) as caught:
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
    refuse(path, f"{tensor} is {word} (2), expected int")


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
    refuse(path, "entry must be a table, not ")


def put(tree: Any, path: str, value: Any) -> None:
    """Set, add or take away what lies at a path such as ``config.layers.0.d_state``."""
    *owners, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in owners:
        tree = tree[key]
    if value is MISSING:
        del tree[last]
    else:
        tree[last] = value


NAN, INF = float("nan"), float("inf")
RUN = "config.layers.0"  # the first run of equal layers
# A path, a value there, and words of the sentence. That each of the numbers, texts and lists names
# itself where it is wrong, tests/fuzz shows for all of them.
METADATA = [
    (
        "version",
        4,
        "of version 4, but this program reads version 3; make it again with: lightmamba",
    ),
    ("version", "1", "version must be a whole number, not '1'"),
    ("formats", MISSING, "formats must be a table, not None"),
    ("chat_template", 5, "chat_template must be a text, not 5"),
    ("config.hidden", 4, "[config] has no key hidden"),
    (f"{RUN}.hidden", 4, f"{RUN[:-2]}[0] has no key hidden"),
    ("layers.0.mixer.silu", 1, "layers.0.mixer has no key silu"),
    ("head.q", 1, "[head] has no key q"),
    (f"{RUN}.ngroups", 3, "layers[0]: ngroups 3 does not divide"),
    (f"{RUN}.dt_limit", ["0"], "layers[0].dt_limit must be a list of 2, not "),
    (f"{RUN}.dt_limit", ["a", "b"], "dt_limit must be numbers, not "),
    (f"{RUN}.dt_limit", ["1", "0"], "layers[0]: dt_limit must be"),
    (f"{RUN}.dt_limit", ["0", 10**400], "layers[0].dt_limit must be numbers, not ['0', 100"),
    (f"{RUN}.count", 7, "has numbers for 1 layers, expected 7"),
    (f"{RUN}.count", 1 << 40, "count is 1099511627776, expected 1 to 4096 layers"),
    ("layers", [{}, {}], "has numbers for 2 layers, expected 1"),
    ("layers", [7], "layers.0 must be a table, not 7"),
    ("formats.hadamard", 3, "formats: hadamard must be"),
    ("formats.block", 5, "formats: block 5 must divide"),
    ("formats.group", -8, "group must be positive, not -8"),
    ("formats.head_qmax", 0, "head_qmax must be 1 to 127 at 8 bits, not 0"),
    ("formats.head_qmax", 128, "head_qmax must be 1 to 127 at 8 bits, not 128"),
    ("formats.head_act_bits", 4, "head_qmax must be 1 to 7 at 4 bits, not 119"),
    ("special_ids.eos", 3, "special id eos is 3, expected 0 to 2"),
    ("special_ids.eos", [1, 3], "special id eos is 3, expected 0 to 2"),
    ("special_ids.eos", [], "special_ids.eos must be a whole number, not []"),
    ("special_ids.eos", [1, "x"], "special_ids.eos must be a whole number, not 'x'"),
    ("special_ids.eos", [[1]], "special_ids.eos must be a whole number, not [1]"),
    ("origin.x", NAN, "its metadata is no JSON (NaN is no number"),
    ("generation_config.top_p", INF, "Infinity is no number"),
    ("config.d_model", "a" * 3000, "d_model must be a whole number, not 'aaa"),
    (
        "sha256",
        MISSING,
        "has no hash of its contents; make it again with: lightmamba quantize CKPT",
    ),
    ("sha256", "f", "sha256 must be 64 hexadecimal digits, not 'f'; make it again with"),
]


@pytest.mark.parametrize(("path", "value", "words"), METADATA)
def test_metadata_that_does_not_fit(tmp_path, path, value, words):
    refuse(write(tmp_path / "m.st", metadata=lambda h: put(h, path, value)), words)


D = "layers.0.D"
# A tensor, what becomes of it, and words of the sentence.
TENSORS = [
    *(
        (name, None, f"lacks the tensor {name}")
        for name in (D, "embedding.q", "calibration_windows")
    ),
    *(
        (name, lambda _: np.zeros(3, np.int32), f"has the unknown tensor {name}")
        for name in ("extra", "layers.1.D", "embedding.bias")
    ),
    (D, lambda t: t.astype(np.int32), f"{D} is int32 (2), expected int16 (2)"),
    (D, lambda t: t.astype(np.float16), f"{D} is float16 (2), expected int16 (2)"),
    ("layers.0.A_shift", lambda t: t > 0, "layers.0.A_shift is bool (2), expected int8 (2)"),
    ("head.q", lambda t: t[:2], "head.q is uint8 (2, 4), expected uint8 (3, 4)"),
    ("head.q", np.ravel, "head.q is uint8 (12), expected uint8 (3, 4)"),
    ("layers.0.conv_weight", lambda t: t.T.copy(), "is int8 (16, 4), expected int8 (4, 16)"),
    ("layers.0.in_proj.bias", lambda t: t[:25], "in_proj.bias is int32 (25), expected int32 (26)"),
    ("tokenizer", lambda t: np.zeros((2, 2), np.uint8), "uint8 (2, 2), expected uint8 (any)"),
    ("layers.0.conv_in_shift", lambda t: t * 0 - 1, "conv_in_shift is -1, expected 0 to 15"),
]


@pytest.mark.parametrize(("name", "change", "words"), TENSORS)
def test_tensors_that_do_not_fit(tmp_path, name, change, words):
    def lie(tensors: dict[str, Any]) -> None:
        before = tensors.pop(name, None)
        if change is not None:
            tensors[name] = change(before)

    refuse(write(tmp_path / "m.st", tensors=lie), words)


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


def test_the_hash_is_that_of_the_file_with_zeros_in_its_place():
    data = FILE.read_bytes()
    own = fingerprint(FILE)
    assert data.count(own.encode()) == 1
    blank = data.replace(own.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == own
