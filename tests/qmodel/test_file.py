"""The file: its exact bytes, round trips, who can read it, and how it is written."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save as serialize

from lightmamba.common.errors import InputError
from lightmamba.common.locks import take_aside
from lightmamba.model.qmodel import load, save, to_bytes
from tests.engine.models import CASES, case
from tests.golden.tiny import FILE, HEADER, header_text, tiny_model
from tests.qmodel.surgery import assert_same_model

PLAIN_READER = """
import sys
for name in ("torch", "scipy", "transformers", "tokenizers"):
    sys.modules[name] = None  # importing it fails
from lightmamba.model.qmodel import load
model = load(sys.argv[1])
print(model.config.d_model, int(model.layers[0].in_proj.q.sum()), model.tokenizer.decode())
print(sorted({name.split(".")[0] for name, module in sys.modules.items() if module}))
"""


def test_golden_bytes():
    """``python -m tests.golden`` writes them anew."""
    data = to_bytes(tiny_model())
    assert header_text(data) == HEADER.read_text()
    assert data == FILE.read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_round_trip_in_the_bytes_of_safetensors(name, tmp_path):
    """The writer is our own, so that a model need not be in memory; the library agrees with it."""
    model = replace(
        case(name, comparison=CASES[name][1].group == 128),
        chat_template='{{ "ü\\n\x7f" }}\n\t', tokenizer=b"{}",
        calibration_windows=np.arange(5, dtype=np.uint64),
    )  # fmt: skip
    size = save(model, path := tmp_path / "m.safetensors")
    with safe_open(path, framework="numpy") as file:
        names, metadata = file.keys(), file.metadata()
        tensors = {key: file.get_tensor(key) for key in names}
    data = path.read_bytes()
    assert serialize(tensors, metadata) == data == to_bytes(model)
    assert len(data) == size
    assert_same_model(load(path), model)


def test_golden_worked_values():
    """Checked by eye: the first of two weights lies in the low bits."""
    with safe_open(FILE, framework="numpy") as file:
        q, code = file.get_tensor("head.q"), file.get_tensor("head.code")
        metadata = json.loads(file.metadata()["lightmamba"])
    np.testing.assert_array_equal(q[0], [0x98, 0xBA, 0xDC, 0xFE])  # -8, -7 ... -1
    np.testing.assert_array_equal(q[1], [0x10, 0x32, 0x54, 0x76])  # 0 ... 7
    np.testing.assert_array_equal(code, [[160], [161], [162]])
    # 160 is (32 + 0) * 2^5, so the first weight of the head is -8 * 1024 * 2^-13 = -1
    assert metadata["head"]["base"] == -13
    assert metadata["config"]["layers"][0]["dt_limit"] == ["0.0", "0.5"]


def test_golden_loads():
    assert_same_model(load(FILE), tiny_model())


def test_same_bytes_every_time(tmp_path):
    model = case("w4a8-groups")
    data = to_bytes(model)
    assert to_bytes(model) == data == to_bytes(case("w4a8-groups"))
    save(model, tmp_path / "m.st")
    assert (tmp_path / "m.st").read_bytes() == data
    assert to_bytes(load(tmp_path / "m.st")) == data
    reordered = replace(model, origin=dict(reversed(model.origin.items())))
    assert list(reordered.origin) != list(model.origin)
    assert to_bytes(reordered) == data


def test_loads_with_numpy_alone():
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_READER, str(FILE)], capture_output=True, text=True, check=True
    )
    first, modules = done.stdout.splitlines()
    assert first == f'4 {int(tiny_model().layers[0].in_proj.q.sum())} {{"a": 0}}'
    assert "safetensors" in modules
    for other in ("torch", "scipy", "transformers", "tokenizers"):
        assert f"'{other}'" not in modules


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "m.st"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"m.st exists; give another name, or --force"):
        save(tiny_model(), path)
    assert path.read_text() == "mine"
    save(tiny_model(), path, force=True)
    assert path.read_bytes() == FILE.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["m.st"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (".", "is a folder; give the name of a file, such as"),
        ("no/m.st", "cannot write .*no/m.st: No such file or directory; choose another place"),
        ("file/m.st", "cannot write .*: Not a directory; choose another place"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path, place, words):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=words):
        save(tiny_model(), tmp_path / place, force=True)


def test_two_writers_of_a_file(tmp_path):
    file, _ = take_aside(tmp_path / "m.st")
    with pytest.raises(InputError, match=r"m.st is being written by another process; wait for it"):
        save(tiny_model(), tmp_path / "m.st")
    os.close(file)
    save(tiny_model(), tmp_path / "m.st")
    assert os.listdir(tmp_path) == ["m.st"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tiny_model(), tmp_path / "m.st")
    assert os.listdir(tmp_path) == []


def test_an_invalid_model_is_not_written(tmp_path):
    with pytest.raises(InputError, match="valid_vocab is 4, expected 1 to 3"):
        save(replace(tiny_model(), valid_vocab=4), tmp_path / "m.st")
    assert os.listdir(tmp_path) == []
