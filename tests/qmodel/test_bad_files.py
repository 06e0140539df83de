"""Whatever is wrong with a file gets one sentence that names the file and the fault.

A row for each kind of damage. That every number, text and list of the metadata names itself where
it is wrong, tests/fuzz shows for all of them.
"""

import hashlib
import re
import struct
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from lightmamba.common.errors import InputError
from lightmamba.model.qmodel import fingerprint, load, load_sizes
from tests.fuzz.mutate import MISSING
from tests.golden.tiny import FILE
from tests.qmodel.surgery import write, write_header

NOT_OURS = "is not a quantized model, or is damaged"
AGAIN = "make it again with: lightmamba quantize CKPT"


def refuse(path: Any, words: str) -> None:
    """Load must raise one sentence about this file."""
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text) < 400 + len(str(path))


def of_bytes(change: Any) -> Any:
    return lambda path: path.write_bytes(change(FILE.read_bytes()))


def of_header(tensor: str, **entries: Any) -> Any:
    return lambda path: write_header(path, lambda header: header[tensor].update(entries))


def of_metadata(place: str, value: Any) -> Any:
    """A value at a place such as ``config.layers.0.d_state``, or MISSING."""

    def put(tree: Any) -> None:
        *owners, last = [int(key) if key.isdigit() else key for key in place.split(".")]
        for key in owners:
            tree = tree[key]
        if value is MISSING:
            del tree[last]
        else:
            tree[last] = value

    return lambda path: write(path, metadata=put)


def of_tensor(name: str, change: Any = None) -> Any:
    """Another tensor in the place of one, or none."""

    def put(tensors: dict[str, Any]) -> None:
        before = tensors.pop(name, None)
        if change is not None:
            tensors[name] = change(before)

    return lambda path: write(path, tensors=put)


def foreign(metadata: dict[str, str] | None) -> Any:
    """A safetensors file of something else."""
    return lambda path: path.write_bytes(save({"weight": np.zeros(3)}, metadata))


def ours(text: str) -> Any:
    return foreign({"lightmamba": text})


RUN = "config.layers.0"  # the first run of equal layers
DAMAGE = [
    *((of_bytes(lambda data, end=end: data[:end]), NOT_OURS) for end in (0, 8, 100, -1)),
    (of_bytes(lambda _: b"Emma Woodhouse, handsome, clever, and rich, with a home"), NOT_OURS),
    (of_bytes(lambda data: struct.pack("<Q", 7) + data[8:]), NOT_OURS),
    (of_bytes(lambda data: struct.pack("<Q", (1 << 64) - 1) + data[8:]), NOT_OURS),
    (of_header("embedding.q", data_offsets=[345, 370]), NOT_OURS),  # overlaps the next
    (of_header("embedding.q", data_offsets=[346, 369]), NOT_OURS),  # a hole
    (of_header("embedding.q", shape=[1 << 62, 8]), NOT_OURS),
    (of_header("layers.0.D", dtype="BF16"), "layers.0.D is bfloat16 (2), expected int"),
    (of_header("layers.0.A_shift", dtype="F8_E4M3"), "A_shift is F8_E4M3 (2), expected int"),
    (foreign({"format": "pt"}), "a safetensors file, but not a quantized model; make one with: "),
    (foreign(None), "a safetensors file, but not a quantized model"),
    (ours("{"), "its metadata is no JSON"),
    (ours("[" * 100_000), "its metadata is no JSON"),
    (ours("[]"), "entry must be a table, not "),
    (of_metadata("version", 4), f"of version 4, but this program reads version 3; {AGAIN}"),
    (of_metadata("config.hidden", 4), "[config] has no key hidden"),
    (of_metadata("layers.0.mixer.silu", 1), "layers.0.mixer has no key silu"),
    (of_metadata(f"{RUN}.ngroups", 3), "layers[0]: ngroups 3 does not divide"),
    (of_metadata(f"{RUN}.dt_limit", ["1", "0"]), "layers[0]: dt_limit must be"),
    (of_metadata(f"{RUN}.dt_limit", ["0", 10**400]), "dt_limit must be numbers, not ['0', 100"),
    (of_metadata(f"{RUN}.count", 7), "has numbers for 1 layers, expected 7"),
    (of_metadata(f"{RUN}.count", 1 << 40), "count is 1099511627776, expected 1 to 4096 layers"),
    (of_metadata("layers", [{}, {}]), "has numbers for 2 layers, expected 1"),
    (of_metadata("formats.block", 5), "formats: block 5 must divide"),
    (of_metadata("formats.head_act_bits", 4), "head_qmax must be 1 to 7 at 4 bits, not 119"),
    (of_metadata("special_ids.eos", [1, 3]), "special id eos is 3, expected 0 to 2"),
    (of_metadata("special_ids.eos", [[1]]), "special_ids.eos must be a whole number, not [1]"),
    (of_metadata("origin.x", float("nan")), "its metadata is no JSON (NaN is no number"),
    (of_metadata("config.d_model", "a" * 3000), "d_model must be a whole number, not 'aaa"),
    (of_metadata("sha256", MISSING), f"has no hash of its contents; {AGAIN}"),
    (of_metadata("sha256", "f"), "sha256 must be 64 hexadecimal digits, not 'f'; make it again"),
    (of_tensor("layers.0.D"), "lacks the tensor layers.0.D"),
    (of_tensor("extra", lambda _: np.zeros(3)), "has the unknown tensor extra"),
    (of_tensor("layers.0.D", lambda t: t.astype(np.int32)), "is int32 (2), expected int16 (2)"),
    (of_tensor("head.q", np.ravel), "head.q is uint8 (12), expected uint8 (3, 4)"),
    (of_tensor("tokenizer", lambda _: np.zeros((2, 2), np.uint8)), "(2, 2), expected uint8 (any)"),
    (of_tensor("layers.0.conv_in_shift", lambda t: t * 0 - 1), "is -1, expected 0 to 15"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_damage_is_named(tmp_path, damage, words):
    path = tmp_path / "m.st"
    damage(path)
    refuse(path, words)


def test_what_is_no_file(tmp_path, monkeypatch):
    refuse(tmp_path / "m.st", "does not exist; make one with: lightmamba quantize CKPT -o")
    refuse(tmp_path, "is not a file; make one")

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lightmamba.model.qmodel.file.safe_open", deny)
    refuse(FILE, "cannot be read: Permission denied")


def test_surgery_without_a_cut_loads(tmp_path):
    """Or all of the above would be vacuous."""
    load(write(tmp_path / "m.st"))
    load(write_header(tmp_path / "n.st", lambda _: None))


def test_the_optional_parts_are_optional(tmp_path):
    extras = (f"layers.0.in_proj.{x}" for x in ("input_scale", "input_shift", "bias"))

    def strip(tensors: dict[str, Any]) -> None:
        for name in ("tokenizer", *extras):
            del tensors[name]

    model = load(write(tmp_path / "m.st", lambda h: h.update(chat_template=None), strip))
    assert (model.tokenizer, model.chat_template, model.plain) == (None, None, True)


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
    assert f"{path}: has changed since it was written; copy it again, or {AGAIN} -o FILE" in said


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
