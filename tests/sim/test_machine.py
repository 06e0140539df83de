"""The whole machine against the engine: every observable of every token, and the counters."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from lightmamba.arch.artifact import Artifact
from lightmamba.compiler import plan
from lightmamba.config import Mamba2Config
from lightmamba.engine import Engine
from lightmamba.qmodel import Formats
from lightmamba.qmodel.synthetic import random_model
from lightmamba.runtime.device import DeviceError
from lightmamba.sim import DeviceDecoder, Twin, open_twin

from .machines import CONFIG, TARGET, compiled, run, same

pytestmark = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def opened(folder):
    found = open_twin(compiled(folder, CONFIG, TARGET))
    yield found
    found.device.simulator.close()


def test_every_observable_equals_the_engines(opened):
    steps = run(opened, 8, prompt=(3, 5, 7))
    assert [step.next_token < 0 for step in steps[:3]] == [True, True, False]
    assert len({step.cycles for step in steps[3:]}) == 1, "cycles do not depend on the position"


def test_random_stalls_of_memory_change_nothing_but_time(folder, opened):
    path = compiled(folder, CONFIG, TARGET)
    plain = run(opened, 4)
    stalled = open_twin(path, stalls=0.4, seed=11)
    slow = run(stalled, 4)
    assert [s.next_token for s in slow] == [s.next_token for s in plain]
    assert sum(s.cycles for s in slow) > sum(s.cycles for s in plain)
    stalled.device.simulator.close()


def test_a_fresh_start_forgets_a_used_state(opened):
    first = run(opened, 3)
    opened.twin.restart()
    again = run(opened, 3)
    assert [s.next_token for s in again] == [s.next_token for s in first]


def test_two_sequences_interleaved_by_saving_and_restoring(opened):
    device, twin = opened.device, opened.twin
    engines = [Twin(device, Engine(opened.model), twin.rows) for _ in range(2)]
    kept = [None, None]
    for n in range(6):
        which = n % 2
        if kept[which] is not None:
            device.restore_state(kept[which])
        same(engines[which].step(4 + n))
        kept[which] = device.save_state()


def test_reset_in_the_middle_and_go_on_from_a_saved_state(opened):
    run(opened, 2)
    saved = opened.device.save_state()
    opened.device.start(9)
    opened.device.reset()
    opened.device.restore_state(saved)
    same(opened.twin.step(9))


def test_another_model_is_loaded_without_rebuilding(folder, opened):
    """One layer only: its state is read back one token later."""
    run(opened, 2)
    one = replace(CONFIG, n_layer=1)
    path = compiled(folder, one, TARGET, seed=5)
    artifact = Artifact.read(path)
    opened.device.load(artifact)
    twin = Twin(opened.device, Engine(random_model(one, seed=5)), opened.twin.rows)
    token = 1
    for _ in range(5):
        step = twin.step(token)
        same(step)
        token = step.next_token


def test_a_smaller_model_runs_on_the_gates_of_a_larger_one(folder, opened):
    gates = Artifact.read(compiled(folder, CONFIG, TARGET)).arch
    small = Mamba2Config(d_model=40, n_layer=3, vocab_size=31, d_state=16, headdim=16)
    path = compiled(folder, small, TARGET, gates=gates)
    artifact = Artifact.read(path)
    assert artifact.arch == gates != plan(small, Formats(), TARGET)
    other = open_twin(path)
    run(other, 5)
    other.device.simulator.close()


def test_logits_in_memory_and_a_chain_on_chip(opened):
    """What the host reads is what the engine computes; a chain needs no host between tokens."""
    engine, device = Engine(opened.model), opened.device
    logits, state = engine.step(np.array([6]), engine.empty_state(1))
    ids = [6]
    for _ in range(4):
        ids.append(int(np.argmax(logits[0, : engine.valid_vocab])))
        logits, state = engine.step(np.array([ids[-1]]), state)
    device.start(6, fresh=True, chain=4)
    device.wait()
    assert device.position == 5
    np.testing.assert_array_equal(device.logits(), logits[0])
    assert device.next_token() == int(np.argmax(logits[0, : engine.valid_vocab]))


def test_the_decoder_gives_the_engines_logits(opened):
    decoder, engine = DeviceDecoder(opened.device, opened.model), Engine(opened.model)
    ids = np.array([[3, 1, 4]])
    got, _ = decoder.forward(ids, decoder.empty_state(1), last_only=False)
    want, _ = engine.forward(ids, engine.empty_state(1), last_only=False)
    np.testing.assert_array_equal(got, want)


def test_what_saturates_is_counted_alike(folder):
    """A model whose exponents leave no room overflows in engine and gates, equally often."""
    model = random_model(CONFIG, seed=2)
    layers = []
    for layer in model.layers:
        e = layer.exponents
        tight = replace(
            e, z=e.z - 3, x=e.x - 3, B=e.B - 3, C=e.C - 3, conv_x=e.conv_x - 3, state=e.state - 11,
            y=e.y - 12, gate=e.gate - 14, weighted=e.weighted - 16,
        )  # fmt: skip
        layers.append(replace(layer, exponents=tight))
    model = replace(model, layers=tuple(layers), residual_exp=model.residual_exp)
    opened = open_twin(compiled(folder, CONFIG, TARGET, model=model, seed=2))
    steps = run(opened, 4)
    counted = {k: sum(s.counters[k] for s in steps) for k in steps[0].counters}
    for kind in ("in_proj", "conv", "ssm.h", "ssm.y", "gate"):
        assert counted[kind] > 0, kind
    opened.device.simulator.close()


def test_the_watchdog_names_the_units_that_wait(opened):
    """The gate's parameters never come: it waits for them, and in the end the others for it."""
    device = opened.device
    device.watchdog = 2_000
    device.write("control", 0)
    device.write("gate_params_words", 0)
    device.write("control", 1)
    device.start(1, fresh=True, head=False)
    with pytest.raises(DeviceError, match=r"nothing moved for 2000 cycles; .*lanes, .*gate, "):
        device.wait()


@pytest.mark.slow
def test_waves_have_readable_names(folder, tmp_path):
    file = tmp_path / "waves.fst"
    opened = open_twin(compiled(folder, CONFIG, TARGET), waves=file)
    run(opened, 1)
    opened.device.simulator.close()
    assert file.stat().st_size > 10_000
