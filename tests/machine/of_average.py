"""Tests of the layer kind of docs/howto/average, run in a copy of the project that has it.

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
from lightmamba.common.errors import InputError
from lightmamba.device.boards.selftest import expected, self_test
from lightmamba.device.sim.device import open_device
from lightmamba.device.sim.opened import Opened, open_twin
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.compiler.states import state_bytes
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

SIZES = kind("average").Sizes
MAMBA = mamba2_config(64, 2, 53, d_state=16, headdim=16, ngroups=2)
MIXED = replace(MAMBA, layers=(SIZES(96), MAMBA.layers[0], SIZES(96), MAMBA.layers[1]))
CONTEXT = 256


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("mixed"), MIXED, context=CONTEXT)


@pytest.fixture(scope="module")
def opened(path):
    found = open_twin(path, stalls=0.2, seed=3, sequences=2)
    yield found
    found.device.close()


UNIT = import_module("lightmamba.hardware.rtl.average").Average


def job(
    tokens: int, shares: list[Share], before: list[Any], rows: Any, shift: int, **how: Any
) -> Run:
    """Run one command: values of each slot's earlier tokens, and rows (vectors, channels)."""
    n = rows.shape[1]
    words = [np.ascontiguousarray(each, "<i2").view("<u8").ravel().tolist() for each in before]
    each = [share.tokens * n // 4 for share in shares]
    idle, unused = (dict.fromkeys(found(shares)[0], 0) for found in (slots, vectors))
    held: dict[str, Any] = {f"values_before[{k}]": len(given) for k, given in enumerate(before)}
    if tokens > 1:
        for name, found, none in (
            ("slot", slots(shares), idle),
            ("vector", vectors(shares), unused),
        ):
            whole = found + [none] * (tokens - len(found))
            held |= {f"{name}[{k}]": value for k, value in enumerate(whole)}
    padded = np.vstack([rows, np.zeros((tokens - len(rows), n), int)])
    return drive(
        UNIT(ArchConfig(kinds=("average",), tokens=tokens, out_channels=128)),
        {"command": [{"count": n, "shift": shift}], "i": padded.T.tolist(),
         **{f"i_row{k}": given for k, given in enumerate(words)}},
        {"o": n, **{f"o_row{k}": count for k, count in enumerate(each)}},
        counts=[f"lost[{k}]" for k in range(len(rows))], hold=held, **how,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_the_unit_equals_its_arithmetic_under_stalls(seed):
    rng = np.random.default_rng(seed)
    tokens, n, shift = (1, 4)[seed % 2], int(rng.choice([32, 64, 96])), int(rng.integers(0, 4))
    counts = [1] if tokens == 1 else [2, 1]
    before = [rng.integers(-(1 << 15), 1 << 15, (int(rng.integers(0, 40)), n)) for _ in counts]
    rows = rng.integers(-(1 << 15), 1 << 15, (sum(counts), n))
    run = job(
        tokens, [Share(count) for count in counts], before, rows, shift, stalls=0.3, seed=seed
    )
    first = 0
    for k, count in enumerate(counts):
        mine = rows[first : first + count]
        wide = round_shift(before[k].sum(0) + np.cumsum(mine, axis=0), shift)
        got = np.array(run.out["o"])[:, first : first + count].T
        np.testing.assert_array_equal(got, INT24(wide))
        written = np.array(run.out[f"o_row{k}"], "<u8").view("<i2").reshape(mine.shape)
        np.testing.assert_array_equal(written, mine)
        lost = [run.counts[f"lost[{first + t}]"] for t in range(count)]
        assert lost == [INT24.overflows(row) for row in wide]
        first += count


def test_worked_values_and_what_does_not_fit():
    rows = np.array([[3, -32768, 32767, 0] * 8])
    run = job(1, [Share(1)], [np.tile([1, -32768, 32767, 0], (300, 8))], rows, 0)
    assert run.out["o"][:4] == [[303], [-(1 << 23)], [(1 << 23) - 1], [0]]
    assert run.counts["lost[0]"] == 16
    assert job(1, [Share(1)], [np.zeros((0, 32))], rows, 1).out["o"][:3] == [[2], [-16384], [16384]]


def test_latency_and_throughput():
    run, alone = (job(1, [Share(1)], [np.ones((k, 96))], np.ones((1, 96), int), 0) for k in (20, 0))
    for each in (run, alone):
        arrived, left = each.cycles["i"], each.cycles["o"]
        assert left[0] - arrived[0] == UNIT.latency
        assert left[-1] - left[0] == 95
    assert machine(("average",)).unit("average").latency == UNIT.latency
    assert run.cycles["i_row0"][-1] - run.cycles["i_row0"][0] == 20 * 96 // 4 - 1


def test_it_is_busy_until_its_last_result_is_taken():
    """A second command waits until then, and nothing of the first is left behind."""
    unit = UNIT(ArchConfig(kinds=("average",), out_channels=128))
    rows = [[[int(v)] for v in np.arange(32) + first] for first in (0, 100)]
    run = drive(
        unit, {"command": [{"count": 32, "shift": 0}] * 2, "i": rows[0] + rows[1]},
        {"o": 64, "o_row0": 16}, slow={"o": 0.9}, hold={"values_before[0]": 0},
    )  # fmt: skip
    assert run.out["o"] == rows[0] + rows[1]
    assert run.cycles["command"][1] > run.cycles["o"][31]


def test_every_observable_equals_the_engine(opened):
    arch = opened.twin.arch
    work = random_passes(
        np.random.default_rng(1), tokens=arch.tokens, sequences=2, undecided=arch.undecided,
        vocab=opened.model.valid_vocab, needs=opened.device.needs,
    )  # fmt: skip
    for n in range(60):
        step = opened.twin.step(next(work))
        assert step.difference is None, n
    assert {"average", "unit_rms"} <= {probe.name for probe in probes(arch)}


def chain(opened: Opened, count: int, token: int = 5) -> tuple[Any, int]:
    """State of the engine behind ``count`` tokens of a chain, and the token that comes next."""
    engine = Engine(opened.model, compiled=False)
    state = engine.empty_state(1)
    for _ in range(count):
        logits, state = engine.step(np.array([token]), state)
        token = int(logits[0, : opened.model.valid_vocab].argmax())
    return state, token


def test_a_chain_reads_what_its_tokens_wrote(opened):
    opened.device.start(5, fresh=True, chain=39)
    opened.device.wait()
    state, token = chain(opened, 40)
    assert opened.device.next_token() == token
    right = state_bytes(opened.device.artifact, state)
    for name, values in opened.device.save_state().memory.items():
        np.testing.assert_array_equal(values, right[name], err_msg=name)


def test_saved_restored_and_forked(opened):
    device = opened.device
    device.start(5, fresh=True, chain=7)
    device.wait()
    saved = device.save_state()
    assert saved.memory["values"].size == 8 * 2 * 96 * 2  # tokens, layers, channels, bytes
    device.start(9, fresh=True)  # another sequence over it
    device.wait()
    device.restore_state(saved, 1)
    device.fork_state(1, into=0)
    _, token = chain(opened, 9)
    for sequence in (0, 1):
        device.start(chain(opened, 8)[1], sequence=sequence)
        device.wait()
        assert device.next_token() == token


def test_a_sequence_that_would_not_fit_is_refused_and_nothing_changes(opened):
    device = opened.device
    device.start(5, fresh=True)
    device.wait()
    with pytest.raises(InputError, match=(
        "sequence 0 has 1 tokens and this pass adds 257, but the build has memory for 256; compile "
        "with --context 258"
    )):  # fmt: skip
        device.start(5, chain=256)
    assert device.save_state().position == 1


@pytest.mark.parametrize("before", [20, 120])
def test_the_estimate_is_within_one_percent(path, before):
    """Of tokens of a chain, behind few tokens, and behind many, where all wait for the unit."""
    count = 20
    simulated, arch = per_token(path, before, count)
    work = Workload.of(MIXED, Formats(), Target.load("tiny"), "reordered")
    middle = before + count // 2 + 1
    found = estimate_pass(replace(work, arch=arch, context=middle), area={})
    assert found.cycles == pytest.approx(simulated, rel=0.01)
    assert found.unit_cycles["average"] == 2 * (1 + 24 * middle + 96 + 24)


def test_the_timeline_shows_its_work(path):
    assert {"average", "rows of v"} <= seen_at_work(path)


def test_the_self_test_passes(path):
    artifact = Artifact.read(path)
    device = open_device(artifact, load=False)
    steps = list(self_test(device, artifact, expected(artifact)))
    device.close()
    assert [step for step in steps if not step.passed] == []
    assert steps[-1].name == "saved state"


@pytest.mark.parametrize(
    "layers", [(SIZES(96), SIZES(96)), MAMBA.layers], ids=["average", "mamba2"]
)
def test_its_hardware_runs_models_of_one_kind(tmp_path, path, layers):
    hardware = Artifact.read(path).arch
    alone = replace(MAMBA, layers=layers)
    built = compiled(tmp_path, alone, hardware=hardware)
    one = open_twin(built)
    steps = list(one.twin.run([1, 2, 3], 5))
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
    opened = open_twin(compiled(tmp_path, MIXED, "tiny-t4"), stalls=0.2, seed=3, sequences=4)
    arch, done = opened.twin.arch, 0
    work = random_passes(
        np.random.default_rng(1), tokens=4, sequences=4, undecided=arch.undecided,
        vocab=opened.model.valid_vocab, needs=opened.device.needs,
    )  # fmt: skip
    while done < 200:
        step = opened.twin.step(next(work))
        assert step.difference is None, done
        done += step.tokens
    opened.device.close()
