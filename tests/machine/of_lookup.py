"""Tests of the layer kind of docs/howto/lookup, run in a copy of the project that has it.

``test_one_more_kind.py`` makes the copy and runs them.
"""

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.passes import Share, slots, vectors
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.device.boards.selftest import expected, self_test
from lightmamba.device.sim.device import open_device
from lightmamba.device.sim.opened import Opened, open_golden
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.probes import probes
from lightmamba.model.config import mamba2_config
from lightmamba.numerics.formats import INT24
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import round_shift
from tests.sim.passes import random_passes
from tests.support.mixed import compiled, per_token, seen_at_work
from tests.support.streams import Run, drive

ENTRIES, FIRST = 40, 1000  # of a layer; row of the table where a layer begins, of the unit alone
LAYER = kind("lookup").Sizes(ENTRIES, 96)
MAMBA = mamba2_config(64, 2, 53, d_state=16, headdim=16, ngroups=2)
MIXED = replace(MAMBA, layers=(LAYER, MAMBA.layers[0], LAYER, MAMBA.layers[1]))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("mixed"), MIXED)


@pytest.fixture(scope="module")
def opened(path):
    found = open_golden(path, stalls=0.2, seed=3, sequences=2)
    yield found
    found.device.close()


UNIT = import_module("lightmamba.hardware.rtl.lookup").Lookup


def job(tokens: int, shares: list[Share], scores: Any, table: Any, shift: int, **how: Any) -> Run:
    """Run one command: scores (vectors, entries), and the rows of the table that they choose."""
    entries, n = table.shape
    given = table[np.argmax(scores, axis=1)]
    held: dict[str, Any] = {}
    if tokens > 1:
        for name, found in (("slot", slots), ("vector", vectors)):
            whole = found(shares)
            whole += [dict.fromkeys(whole[0], 0)] * (tokens - len(whole))
            held |= {f"{name}[{k}]": value for k, value in enumerate(whole)}
    padded = np.vstack([scores, np.zeros((tokens - len(scores), entries), int)])
    command = {"entries": entries, "count": n, "shift": shift, "table_first": FIRST}
    return drive(
        UNIT(ArchConfig(kinds=("lookup",), tokens=tokens, out_channels=128)),
        {"command": [command], "i": padded.T.tolist(),
         "i_word": np.ascontiguousarray(given, "<i2").view("<u8").ravel().tolist()},
        {"o": n, "o_index": len(scores)},
        counts=[f"lost[{k}]" for k in range(len(scores))], hold=held, **how,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_the_unit_equals_its_arithmetic_under_stalls(seed):
    """Scores of few values, so that some are equal; products, some of which saturate."""
    rng = np.random.default_rng(seed)
    tokens, shift = (1, 4)[seed % 2], int(rng.integers(0, 12))
    counts = [1] if tokens == 1 else [2, 1]
    entries, n = int(rng.integers(1, 40)), int(rng.choice([4, 32, 96]))
    scores = rng.integers(-4, 4, (sum(counts), entries)) << 12
    table = rng.integers(-(1 << 15), 1 << 15, (entries, n))
    run = job(
        tokens, [Share(count) for count in counts], scores, table, shift, stalls=0.3, seed=seed
    )
    best = scores.argmax(axis=1)
    assert run.out["o_index"] == (FIRST + best).tolist()
    wide = round_shift(scores.max(axis=1)[:, None] * table[best], shift)
    np.testing.assert_array_equal(np.array(run.out["o"])[:, : len(scores)].T, INT24(wide))
    lost = [run.counts[f"lost[{k}]"] for k in range(len(scores))]
    assert lost == [INT24.overflows(row) for row in wide]


def test_worked_values_and_what_does_not_fit():
    table = np.array([[1, 2, 3, 4], [10, -10, 32767, -32768], [5, 6, 7, 8]])
    run = job(1, [Share(1)], np.array([[7, 2048, 2048]]), table, 0)
    assert run.out["o_index"] == [FIRST + 1]
    assert run.out["o"] == [[20480], [-20480], [(1 << 23) - 1], [-(1 << 23)]]
    assert run.counts["lost[0]"] == 2
    run = job(1, [Share(1)], np.array([[-3, -1, -2]]), table, 1)
    assert run.out["o"] == [[-5], [5], [-16383], [16384]]


def test_latency_and_throughput():
    table = np.ones((24, 96), int)
    run = job(1, [Share(1)], np.arange(24)[None], table, 0)
    assert run.cycles["i"][-1] - run.cycles["i"][0] == 23
    assert run.cycles["o_index"][0] - run.cycles["i"][-1] == 1
    words, out = run.cycles["i_word"], run.cycles["o"]
    assert words[-1] - words[0] == 96 // 4 - 1
    assert out[0] - (words[-1] + 1) == UNIT.latency
    assert out[-1] - out[0] == 95
    assert machine(("lookup",)).unit("lookup").latency == UNIT.latency


def test_it_is_busy_until_its_last_result_is_taken():
    """A second command waits until then, and nothing of the first is left behind."""
    unit = UNIT(ArchConfig(kinds=("lookup",), out_channels=128))
    command = {"entries": 3, "count": 4, "shift": 0, "table_first": 0}
    run = drive(
        unit,
        {"command": [command] * 2, "i": [[9], [2], [1], [0], [1], [0]], "i_word": [1, 2]},
        {"o": 8, "o_index": 2}, slow={"o": 0.9},
    )  # fmt: skip
    assert run.out["o"] == [[9], [0], [0], [0], [2], [0], [0], [0]]
    assert run.out["o_index"] == [0, 1]
    assert run.cycles["command"][1] > run.cycles["o"][3]


def test_every_observable_equals_the_engine(opened):
    arch, rng = opened.golden.arch, np.random.default_rng(1)
    work = random_passes(rng, opened.device, opened.model.valid_vocab)
    for n in range(60):
        step = opened.golden.step(next(work))
        assert step.difference is None, n
    assert {"lookup", "unit_rms"} <= {probe.name for probe in probes(arch)}


def chain(opened: Opened, count: int, token: int = 5) -> int:
    """Token that comes behind ``count`` tokens of a chain."""
    engine = Engine(opened.model, compiled=False)
    state = engine.empty_state(1)
    for _ in range(count):
        logits, state = engine.step(np.array([token]), state)
        token = int(logits[0, : opened.model.valid_vocab].argmax())
    return token


def test_a_chain_reads_what_each_of_its_tokens_chooses(opened):
    opened.device.start(5, fresh=True, chain=39)
    opened.device.wait()
    assert opened.device.next_token() == chain(opened, 40)


def test_no_command_is_left_where_reading_was_stopped(opened):
    """The host stops prefetching, as often as it likes; tokens behind it are right."""
    for count in (1, 2, 7):
        opened.device.start(5, fresh=True, chain=count - 1)
        opened.device.wait()
        opened.device.reset()
        opened.device.start(5, fresh=True, chain=count)
        opened.device.wait()
        assert opened.device.next_token() == chain(opened, count + 1)


def test_the_estimate_is_within_one_percent(path):
    simulated, arch = per_token(path, 20, 20)
    work = Workload.of(MIXED, Formats(), Target.load("tiny"), "reordered")
    found = estimate_pass(replace(work, arch=arch), area={})
    assert found.cycles == pytest.approx(simulated, rel=0.01)
    assert found.unit_cycles["lookup"] == 2 * (1 + ENTRIES + 1 + 24 + 96)


def test_the_timeline_shows_its_work(path):
    assert {"lookup", "scores"} <= seen_at_work(path)


def test_the_self_test_passes(path):
    artifact = Artifact.read(path)
    device = open_device(artifact, load=False)
    steps = list(self_test(device, artifact, expected(artifact)))
    device.close()
    assert [step for step in steps if not step.passed] == []
    assert steps[-1].name == "saved state"


@pytest.mark.parametrize("layers", [(LAYER, LAYER), MAMBA.layers], ids=["lookup", "mamba2"])
def test_its_hardware_runs_models_of_one_kind(tmp_path, path, layers):
    hardware = Artifact.read(path).arch
    alone = replace(MAMBA, layers=layers)
    built = compiled(tmp_path, alone, hardware=hardware)
    one = open_golden(built)
    steps = list(one.golden.run([1, 2, 3], 5))
    assert [step.difference for step in steps] == [None] * 5
    saved = one.device.save_state()
    one.device.restore_state(saved)
    artifact = Artifact.read(built)
    tested = list(self_test(one.device, artifact, expected(artifact)))
    one.device.close()
    assert [step for step in tested if not step.passed] == []
    work = Workload.of(alone, Formats(), Target.load("tiny"), "reordered")
    arch = plan(alone, Formats(), Target.load("tiny"), hardware=hardware)
    assert estimate_pass(replace(work, arch=arch), area={}).cycles > 1000


@pytest.mark.slow
def test_passes_of_several_tokens(tmp_path):
    opened = open_golden(compiled(tmp_path, MIXED, "tiny-t4"), stalls=0.2, seed=3, sequences=4)
    work = random_passes(np.random.default_rng(1), opened.device, opened.model.valid_vocab)
    done = 0
    while done < 200:
        step = opened.golden.step(next(work))
        assert step.difference is None, done
        done += step.tokens
    opened.device.close()
