"""The whole machine against the engine: every observable of every token, and the counters."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from lightmamba.device.host.device import Device, DeviceError, Flags
from lightmamba.device.sim import GoldenModel, SimDevice, open_golden
from lightmamba.device.sim.simulator import Stalls
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.program import Op
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import random_model, sizes
from tests.support.machine import COMMANDS, LOSSES
from tests.support.tools import needs_verilator

from ..support.layers import mixer_of, resized, with_mixer
from .machines import CONFIG, FOUR, HARDWARE, LARGE, TARGET, compiled, run, same
from .passes import random_passes

pytestmark = needs_verilator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def opened(folder):
    found = open_golden(compiled(folder, CONFIG, TARGET))
    yield found
    found.device.simulator.close()


def test_every_observable_equals_the_engines(opened):
    steps = run(opened, 8, prompt=(3, 5, 7))
    assert [step.next_token < 0 for step in steps[:3]] == [True, True, False]
    assert len({step.cycles for step in steps[3:]}) == 1, "cycles do not depend on the position"


def test_a_fresh_start_forgets_a_used_state(opened):
    first = run(opened, 3)
    opened.golden.restart()
    again = run(opened, 3)
    assert [s.next_token for s in again] == [s.next_token for s in first]


def test_reset_in_the_middle_and_go_on_from_a_saved_state(opened):
    run(opened, 2)
    saved = opened.device.save_state()
    opened.device.start(9)
    opened.device.reset()
    opened.device.restore_state(saved)
    same(opened.golden.feed(9))


def test_another_model_is_loaded_without_rebuilding(folder, opened):
    """One layer only: its state is read back one token later."""
    run(opened, 2)
    one = CONFIG.first(1)
    path = compiled(folder, one, TARGET, seed=5)
    artifact = Artifact.read(path)
    opened.device.load(artifact)
    golden = GoldenModel(opened.device, Engine(random_model(one, seed=5)))
    token = 1
    for _ in range(5):
        step = golden.feed(token)
        same(step)
        token = step.next_token


def test_a_smaller_model_runs_on_the_hardware_of_a_larger_one(folder, opened):
    hardware = Artifact.read(compiled(folder, CONFIG, TARGET)).arch
    small = sizes(d_model=40, n_layer=3, vocab_size=31)
    path = compiled(folder, small, TARGET, hardware=hardware)
    artifact = Artifact.read(path)
    assert artifact.arch == hardware != plan(small, Formats(), TARGET)
    other = open_golden(path)
    run(other, 5)
    other.device.simulator.close()


def test_a_smaller_model_behind_a_larger_one(folder):
    """Tokens do not depend on what the larger model left in the memories of B and C."""
    small = sizes(d_model=64, vocab_size=53, ngroups=2, d_state=16)
    path = compiled(folder, resized(LARGE, n_layer=2), FOUR, hardware=HARDWARE)
    artifact = Artifact.read(compiled(folder, small, FOUR, seed=7, hardware=HARDWARE))
    larger = open_golden(path, sequences=3)
    with larger.device as device:
        for work in islice(random_passes(np.random.default_rng(1), device, 53), 4):
            assert larger.golden.step(work).difference is None
        device.load(artifact, 3)
        golden = GoldenModel(device, Engine(random_model(small, seed=7)))
        for work in islice(random_passes(np.random.default_rng(2), device, 53), 10):
            assert golden.step(work).difference is None, work


def test_what_saturates_is_counted_alike(folder):
    """A model whose exponents leave no room overflows in engine and hardware, equally often."""
    model = random_model(CONFIG, seed=2)
    layers = []
    for layer in model.layers:
        mixer = mixer_of(layer)
        e = mixer.exponents
        tight = replace(
            e, z=e.z - 3, x=e.x - 3, B=e.B - 3, C=e.C - 3, conv_x=e.conv_x - 3, state=e.state - 11,
            y=e.y - 12, gate=e.gate - 14, weighted=e.weighted - 16,
        )  # fmt: skip
        layers.append(
            with_mixer(
                layer.with_linears(out_proj=replace(layer.out_proj, base=layer.out_proj.base + 1)),
                exponents=tight,
                conv_in_shift=mixer.conv_in_shift - 3,
                dt_bias=np.maximum(mixer.dt_bias, np.arange(8, dtype=np.int16) % 2 * 32767),
            )
        )
    model = replace(
        model, layers=tuple(layers),
        residual_exp=model.residual_exp - 12, logit_exp=model.logit_exp - 12,
    )  # fmt: skip
    opened = open_golden(compiled(folder, CONFIG, TARGET, model=model, seed=2))
    steps = run(opened, 4)
    counted = {k: sum(s.counters[k] for s in steps) for k in steps[0].counters}
    # 128 values of 24 bits never fill the 32 bits of the transform's result.
    assert [kind for kind in LOSSES if not counted[kind]] == ["hadamard"]
    opened.device.simulator.close()


def test_traffic_and_the_work_of_the_ssm_are_counted(opened):
    """From the sizes: what every port moves, and the words of state that the SSM updates."""
    device = opened.device
    told = device.artifact.registers
    layers, heads = told["layers"], told["state_heads"]
    words, beats = heads * told["head_words"], heads * told["state_head_beats"]
    conv, logits = -(-told["conv_state_words"] // 2), -(-told["logits_words"] // 2)
    for n, head in enumerate((False, True, True)):
        step = opened.golden.feed(n, head=head)
        same(step)
        counted = step.counters
        assert counted["state_read.beats_read"] == (beats if n else 0)  # fresh: zeros
        assert counted["state_write.beats_written"] == beats
        assert counted["aux.beats_written"] == layers * conv + head * logits
        assert counted["state_write.wait"] == 0 < counted["aux.wait"] < step.cycles // 4
        assert 0 <= counted["ssm_busy"] - words < 100  # what the pipeline still holds
        # It has a job for most of a token, and mostly waits for the lanes.
        with_job = counted["ssm_waiting"] + counted["ssm_busy"]
        assert step.cycles // 2 < with_job < step.cycles
        if not head:
            assert counted["multiplying"] + counted["scale"] == told["layers_beats"]
    device.simulator.run(2000)  # reading goes on between tokens, until the queues are full
    read = 3 * told["layers_beats"] + 2 * told["head_beats"] + TARGET.machine.weight_fifo
    counted = device.counters()
    assert counted["lane0.beats_read"] == counted["lane1.beats_read"] == read


def test_every_cycle_counts_once(opened):
    """The counted cycles of a token against the clock, from the start to the interrupt."""
    device = opened.device
    for head in (False, True):
        device.start(3, head=head)
        begin = device.simulator.cycle
        device.wait_interrupt()
        assert abs(device.simulator.cycle - begin - device.wait()) < 20


@pytest.mark.parametrize("register", ["embedding_base", "logits_base"])
def test_a_bus_fault_shows_until_the_machine_stops(opened, register, monkeypatch):
    """One of a read, one of a write; a board cannot reset its hardware, it only stops them."""
    monkeypatch.setattr(SimDevice, "reset_machine", Device.reset_machine)
    device = opened.device
    device.write(register, 1 << 30)
    device.start(1, fresh=True)
    with pytest.raises(DeviceError, match="asked for what it does not have"):
        device.wait()
    assert Flags.BUS_FAULT in device.status
    device.reset()
    assert Flags.BUS_FAULT not in device.status


def test_an_unknown_instruction_is_reported(opened):
    device = opened.device
    device.write("program_index", 0)
    device.write("program_data", max(Op) + 1)
    device.start(1, fresh=True)
    with pytest.raises(DeviceError, match="an instruction that the hardware does not know"):
        device.wait()


def test_what_is_on_its_way_is_not_drained(folder):
    """On a slow memory, bursts that were asked for come long after the machine is stopped."""
    opened = open_golden(compiled(folder, CONFIG, TARGET), stalls=0.9, seed=4)
    device = opened.device
    device.simulator.run(50)
    device.write("control", 0)
    assert Flags.DRAINED not in device.status
    device.reset()
    assert opened.device.sequences[0].position == 0
    opened.device.simulator.close()


def test_a_chain_waits_for_the_state_of_its_last_token(folder, monkeypatch):
    """One layer, and only writes are slow: the next token could read its state too early."""
    monkeypatch.setattr(Stalls, "all", lambda p: Stalls(aw=p, w=p, b=p))
    one = CONFIG.first(1)
    opened = open_golden(compiled(folder, one, TARGET, seed=6), stalls=0.9, seed=2)
    engine, device = Engine(opened.model), opened.device
    logits, state = engine.step(np.array([6]), engine.empty_state(1))
    for _ in range(4):
        best = int(np.argmax(logits[0, : engine.valid_vocab]))
        logits, state = engine.step(np.array([best]), state)
    device.start(6, fresh=True, chain=4)
    device.wait()
    assert device.sequences[0].position == 5
    assert device.next_token() == int(np.argmax(logits[0, : engine.valid_vocab]))
    np.testing.assert_array_equal(device.logits(), logits[0])
    device.simulator.close()


def test_the_watchdog_names_the_units_that_wait(opened):
    """The gate's parameters never come: it waits for them, and in the end the others for it."""
    device = opened.device
    device.watchdog = 2_000
    device.write("control", 0)
    device.write("gate_params_words", 0)
    device.write("control", 1)
    device.start(1, fresh=True, head=False)
    waiting = ", ".join(unit for unit in COMMANDS if unit not in ("embed", "head"))
    with pytest.raises(DeviceError, match=f"nothing moved for 2000 cycles; .*: {waiting}$"):
        device.wait()


@pytest.mark.slow
def test_waves_have_readable_names(folder, tmp_path):
    file = tmp_path / "waves.fst"
    opened = open_golden(compiled(folder, CONFIG, TARGET), waves=file)
    run(opened, 1)
    opened.device.simulator.close()
    assert file.stat().st_size > 10_000
