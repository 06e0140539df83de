"""Recorded calls of kernels, walks and simulators, in builds with sanitizers: ``make sanitize``."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from lightmamba.arch.target import Target
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.sim import library
from lightmamba.device.sim.simulator import MemoryChannel, Stalls
from lightmamba.device.sim.tools import find_compiler
from lightmamba.engine import Engine
from lightmamba.hardware.estimate import estimate
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload, modes
from lightmamba.hardware.machine.faults import Fault
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.native import usable_isas
from lightmamba.numerics.model_formats import Formats
from tests.engine.models import CASES, case
from tests.sanitize.builds import ADDRESSES, RACES, Plant, kernels, replay, replayed
from tests.sanitize.recording import Recording
from tests.sim import copier
from tests.support import mixed
from tests.support.builders import random_model

pytestmark = pytest.mark.slow  # a minute each: everything is compiled again
OTHERS = {"attention and MLP": mixed.MIXED, "experts": mixed.EXPERTS}
NAMES = (*CASES, *OTHERS)


def model_of(name: str) -> QuantizedModel:
    """A model by its name."""
    return random_model(OTHERS[name]) if name in OTHERS else case(name)


def write(model: QuantizedModel, isa: str) -> None:
    """Passes of three sequences: alone and together, drafts of which some are replayed, one phase
    after the other."""
    engine, rng = Engine(model, threads=1, isa=isa), np.random.default_rng(1)
    state = engine.empty_state(3, undecided=3)

    def ids(count: int) -> np.ndarray:
        return rng.integers(0, model.config.vocab_size, count)

    for work in (
        (Slot(0, ids(5), fresh=True), Slot(2, ids(1), wanted=1, fresh=True)),
        (Slot(1, ids(40), wanted=2, fresh=True),),
        (Slot(0, ids(4), wanted=4, commit=1), Slot(1, ids(3), wanted=3, commit=1)),
        (Slot(0, ids(3), wanted=3, commit=1, replay=2), Slot(1, ids(1), replay=0)),
        tuple(Slot(n, ids(1), replay=2 * (n == 0)) for n in range(3)),
    ):
        engine.run(Pass(work), state)
    engine.forward(ids(4).reshape(2, 2), engine.empty_state(2), observe=lambda name, value: None)


def walks() -> None:
    """Tokens and passes of machines of all kinds of memory."""
    for name in ("tiny", "tiny-hybrid", "kv260"):
        estimate(
            mixed.MAMBA if name != "tiny-hybrid" else mixed.MIXED, Formats(), Target.load(name)
        )
    four = Workload.of(mixed.MAMBA, Formats(), Target.load("tiny-t4"), "reordered")
    for mode in modes(four.arch):
        estimate_pass(four.of_mode(mode), area={})


def recorded(path: Path, isa: str, threads: int, work: Callable[[], None]) -> Path:
    """A recording of some work of the kernels."""
    recording = Recording()
    with recording.of_kernels(threads):
        work()
    return recording.write(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Function that replays a recording with kernels that it builds once; status and text."""
    folder = tmp_path_factory.mktemp("sanitize")

    @cache
    def built(isa: str, sanitizers: tuple[str, ...], plant: Plant | None) -> tuple[Path, Path]:
        own = folder / str(len(list(folder.iterdir())))
        library = kernels(own, sanitizers, isa, plant)
        return replay(own, sanitizers), library

    def replays(
        recording: Path, isa: str, sanitizers: tuple[str, ...], plant: Plant | None = None
    ) -> tuple[int, str]:
        return replayed(*built(isa, sanitizers, plant), recording)

    return replays


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isa", usable_isas())
def test_kernels_stay_within_their_arrays(isa, name, run, tmp_path):
    recording = recorded(tmp_path / "r", isa, 1, lambda: write(model_of(name), isa))
    status, said = run(recording, isa, ADDRESSES)
    assert status == 0, said


def test_walks_stay_within_their_arrays(run, tmp_path):
    status, said = run(recorded(tmp_path / "r", "portable", 1, walks), "portable", ADDRESSES)
    assert status == 0, said


@pytest.mark.parametrize("name", ["w4a4", *OTHERS])
def test_threads_race_for_nothing(name, run, tmp_path):
    """Three of them, which do the work of one that is late."""
    recording = recorded(tmp_path / "r", "portable", 3, lambda: write(model_of(name), "portable"))
    status, said = run(recording, "portable", RACES)
    assert status == 0, said


@pytest.mark.parametrize(("plant", "sanitizers", "words"), [
    (
        Plant("native/quantize.hpp", "i < start + f.block; ++i) q", "i <= start + f.block; ++i) q"),
        ADDRESSES, "heap-buffer-overflow",
    ),
    (
        Plant(
            "native/pool.cpp", "arrived_.fetch_add(1, std::memory_order_acq_rel)",
            "arrived_.fetch_add(1, std::memory_order_relaxed)",
        ),
        RACES, "data race",
    ),
])  # fmt: skip
def test_what_is_planted_is_found(plant, sanitizers, words, run, tmp_path):
    threads = 3 if sanitizers == RACES else 1
    write_one = partial(write, case("w4a4"), "portable")
    recording = recorded(tmp_path / "r", "portable", threads, write_one)
    status, said = run(recording, "portable", sanitizers, plant)
    assert status != 0
    assert words in said


def test_a_simulator_stays_within_its_arrays(tmp_path, monkeypatch):
    """Copies under stalls, a reset, memory written and read, and what breaks the protocol."""
    recording = Recording()
    stalled = MemoryChannel("stalled", 5.5, latency=9, stalls=Stalls.all(0.3), refresh_every=90,
                            refresh_for=9)  # fmt: skip
    with recording.of_simulators():
        sim = copier.simulator(stalled, MemoryChannel("aux", 16))
        sim.write_memory("stalled", copier.SOURCE, bytes(range(256)) * 8)
        sim.host_stall(0.5, seed=2)
        for mode in (copier.WRITE, copier.WRITE | copier.HALF, copier.IGNORE_BORDERS):
            copier.copy(sim, 100, mode=mode)
            sim.take("beat")
            sim.counters("lane0")
        sim.plant("lane0", Fault.SLVERR, after=3)
        copier.copy(sim, 20, mode=copier.WRITE)
        sim.reset()
        copier.copy(sim, 20, mode=copier.WRITE, source=copier.SOURCE + (1 << 20) - 16)
        sim.read_memory("aux", copier.TARGET, 4096)
        sim.close()
    flags = (*ADDRESSES, "-fno-sanitize=function", "-g")
    monkeypatch.setattr(library, "COMPILER_FLAGS", (*library.COMPILER_FLAGS, *flags))
    program = replay(tmp_path, flags, find_compiler().program)
    recorded = recording.write(tmp_path / "r")
    status, said = replayed(program, copier.build(cache=tmp_path / "cache"), recorded)
    assert status == 0, said
    assert int(said.split()[0]) > 40  # calls
