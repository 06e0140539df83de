"""Rows, tables and files of the engine's benchmark, without another engine."""

import shutil
from typing import Any

import numpy as np
import pytest
from bench import engine_files
from bench.engine_files import Bandwidth
from bench.engine_ours import make
from bench.engine_pairs import share
from bench.stored import rows
from bench.tables import made, printer
from bench.tables.speed import fastest_rows

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.model.config import SHAPES
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load

M = {"computer": "2 x M", "commit": "abc", "date": "2026-01-02", "how": "measured",
     "command": "python -m bench.engine"}  # fmt: skip
LLAMA: dict[str, Any] = {
    "kind": "llama", "shape": "mamba2-130m", "threads": 2, "rounds": 3, "made": M,
    "bytes_read": 100_000_000, "others": 0.0,
    "rates": {
        "decode": {"ours": [200.0, 210.0, 220.0], "llama.cpp": [100.0, 84.0, 110.0]},
        "prompt": {"ours": [900.0, 800.0, 850.0], "llama.cpp": [450.0, 500.0, 500.0]},
    },
    "idle": {"ours": 0.0, "llama.cpp": 0.001}, "probes": [25.0, 30.0, 27.5],
    "file_bytes": {"ours": 111_000_000, "llama.cpp": 73_000_000},
    "memory": {"ours": {"resident": 250_000_000, "in_files": 1, "peak": 260_000_000},
               "llama.cpp": {"resident": 215_000_000, "in_files": 1, "peak": 215_000_000}},
}  # fmt: skip


@pytest.fixture
def results(monkeypatch):
    stored = [LLAMA, LLAMA | {"made": M | {"computer": "1 x N"}, "threads": 1}]
    monkeypatch.setattr(printer, "rows", lambda name: stored if name == "engine" else rows(name))
    return stored


def test_next_to_llama(results):
    """Rounds give 2, 2.5 and 2 times in decoding, 2, 1.6 and 1.7 of the prompt."""
    text = made("engine")
    assert (
        "| mamba2-130m | 2 | 210 [200, 220] | 100 [84, 110] | 2.00 [2.00, 2.50] "
        "| 850 [800, 900] | 500 [450, 500] | 1.70 [1.60, 2.00] |"
    ) in text
    assert "Measured 2026-01-02 at abc by `python -m bench.engine` on one of 2 computers." in text


def test_the_share_of_the_bandwidth_is_of_the_same_round(results):
    assert share(LLAMA) == pytest.approx([0.8, 0.7, 0.8])
    assert "| mamba2-130m | 2 | 100 | 27.5 [25.0, 30.0] | 80 [70, 80] |" in made("engine-bandwidth")


def test_memory_is_compared_with_the_file(results):
    assert "| 111 | 250 (+139) | 260 | 73 | 215 (+142) | 215 |" in made("engine-memory")
    results[0] = LLAMA | {"memory": {"ours": {}, "llama.cpp": {}}}
    assert "not measured" in made("engine-memory")


def test_the_short_form(results):
    assert [row["threads"] for row in fastest_rows()] == [2]
    assert (
        "| 130M, CPU engine, 2 threads | **210** | – | measured "
        "| 2.00 × llama.cpp Q4_0 (alternating runs, 2.00 to 2.50) |"
    ) in made("speed-summary")


def test_alone(results):
    """A model that leaves no room for a second one."""
    rates = {task: {"ours": found["ours"]} for task, found in LLAMA["rates"].items()}
    results.append(
        LLAMA | {"kind": "alone", "shape": "large", "rates": rates, "load_seconds": {"ours": 41.7}}
    )
    text = made("engine-alone")
    assert "| large | 2 | 210 [200, 220] | 100 | 80 [70, 80] | 850 [800, 900] " in text
    assert "| 111 | 250 (+139) | 260 | 42 |" in text


def test_floats_are_compared_with_ours(results):
    rates = {"ours": [10.0, 10.0], "transformers:float32": [5.0, 4.0]}
    results.append({"kind": "float", "shape": "mamba2-130m", "threads": 1, "made": M,
                    "rates": {"decode": rates, "prompt": rates}})  # fmt: skip
    text = made("engine-float")
    assert "| mamba2-130m, transformers, float32 | 1 | 4.5 [4.0, 5.0] | 2.25 [2.00, 2.50] |" in text
    assert "| mamba2-130m, **ours**, exact integers | 1 | 10.0 [10.0, 10.0] |  |" in text


def test_a_shape_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    """Three bytes for a layer of 2560 x (10576 + 5120), head and embedding of 50288 x 2560."""
    monkeypatch.setattr(engine_files, "available_memory", lambda: 5 * 10**8)
    with pytest.raises(InputError, match=r"mamba2-2.7b takes 0.9 GB .* 0.5 GB are free; .*130m"):
        engine_files.our_file("mamba2-2.7b", cache=tmp_path)


def test_files_are_made_once(monkeypatch, tmp_path):
    path = engine_files.our_file("demo", cache=tmp_path)
    assert load(path).config == SHAPES["demo"]
    monkeypatch.setattr(engine_files, "available_memory", lambda: 0)
    assert engine_files.our_file("demo", cache=tmp_path) == path


def test_our_worker_decodes_as_the_engine_does():
    ours = make("ours", str(demo_file()), 1)
    engine = Engine(load(demo_file()))
    logits, state = engine.forward(np.array([[5, 6, 7]]), engine.empty_state(1))
    first = int(logits[0, -1].argmax())
    assert ours.feed([5, 6, 7]) == first
    logits, _ = engine.forward(np.array([[first]]), state)
    assert ours.feed([first]) == int(logits[0, -1].argmax())
    ours.clear()
    assert ours.feed([5, 6, 7]) == first


@pytest.mark.parametrize("kind", ["transformers:float32", "reference:float32"])
def test_float_workers_go_on_from_their_cache(kind):
    """Three tokens at once or one by one give the same logits, the last one alone others."""
    pytest.importorskip("transformers")
    decoder: Any = make(kind, "demo", 1)
    seen = []
    decoder.model.lm_head.register_forward_hook(lambda _, given, out: seen.append(out.flatten()))
    decoder.feed([5, 900, 31])
    decoder.clear()
    for token in (5, 900, 31):
        likeliest = decoder.feed([token])
    decoder.clear()
    decoder.feed([31])
    at_once, _, _, one_by_one, alone = seen
    size = at_once.abs().max()
    assert at_once.shape == (SHAPES["demo"].vocab_size,)
    assert likeliest == one_by_one.argmax()
    assert (at_once - one_by_one).abs().max() < 1e-3 * size
    assert (at_once - alone).abs().max() > 1e-2 * size


def test_bandwidth_of_the_cache_is_no_less_than_a_gigabyte(tmp_path):
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    found = Bandwidth(tmp_path)
    assert found(1 << 20, 1) > 1.0
    assert found(1 << 20, 2) > 0.1
    with pytest.raises(InputError, match="no room"):
        found(0, 1)
