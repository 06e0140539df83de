"""Several tokens in a pass: every observable of every token is that of single steps."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from bench.estimates import memory

from lightmamba.common.passes import Pass, Slot
from lightmamba.device.sim import Opened, open_device, open_golden, simulate
from lightmamba.hardware.machine.artifact import Artifact
from tests.support.tools import needs_verilator

from ..support.builders import made_up, sizes, two_ports
from ..support.layers import resized
from .machines import CONFIG, FOUR, HARDWARE, LARGE, SMALL, compiled
from .passes import random_passes
from .test_copies import anywhere

pytestmark = needs_verilator
VOCAB = CONFIG.vocab_size
STATE = resized(LARGE, d_model=CONFIG.d_model)  # shorter rows, which take half as long


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("builds"), CONFIG, FOUR, hardware=HARDWARE)


def ids(*values: int):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(("stalls", "seed", "config", "count"), [
    (0.0, 1, STATE, 15), (0.3, 2, CONFIG, 15),
    pytest.param(0.3, 2, CONFIG, 200, marks=pytest.mark.slow),
])  # fmt: skip
def test_random_passes_equal_single_steps(tmp_path, stalls, seed, config, count):
    """Passes of a model with the state that the hardware was made for, and of one with less."""
    build = compiled(tmp_path, config, FOUR, hardware=HARDWARE)
    opened = open_golden(build, stalls=stalls, seed=seed, placement=anywhere(4), sequences=3)
    golden, seen = opened.golden, Counter[int | str]()
    work = random_passes(np.random.default_rng(seed), opened.device, VOCAB)
    for n, each in enumerate(islice(work, count)):
        step = golden.step(each)
        assert step.difference is None, (n, each, str(step.difference))
        seen.update(slot.replay for slot in each.slots)
        seen[f"{len(each.slots)} slots"] += 1
    assert {0, 1, 2, 3} <= set(seen)
    assert {"1 slots", "2 slots", "3 slots"} <= set(seen)
    opened.device.close()


@pytest.mark.slow
@pytest.mark.board
@pytest.mark.parametrize(
    "target",
    [
        replace(two_ports(made_up(tokens=2, state_elements=64, **SMALL)), name="two ports"),
        replace(made_up(tokens=8, state_elements=16, **SMALL), name="eight tokens"),
    ],
    ids=lambda target: target.name,
)
def test_other_numbers_of_tokens(tmp_path, target):
    """Two tokens leave one undecided, eight leave five; replays of every length."""
    opened = open_golden(compiled(tmp_path, CONFIG, target), stalls=0.1, seed=3, sequences=3)
    golden, arch, replays = opened.golden, opened.golden.arch, set[int]()
    work = random_passes(np.random.default_rng(5), opened.device, VOCAB)
    for n, each in enumerate(islice(work, 40)):
        step = golden.step(each)
        assert step.difference is None, (n, each, str(step.difference))
        replays.update(slot.replay for slot in each.slots)
    assert replays == set(range(arch.undecided + 1))
    opened.device.close()


def test_a_chain_goes_on_from_a_pass(build):
    """Greedy decoding on the device itself, behind a chunk; then passes go on behind the chain."""
    opened = open_golden(build, sequences=2)
    golden, device = opened.golden, opened.device
    step = golden.step(Pass((Slot(1, ids(5, 6, 7, 8), fresh=True),)))
    assert step.difference is None
    state, token = golden.sequences[1].state, step.next_tokens[0]
    found = [token]
    for _ in range(3):
        logits, state = golden.engine.forward(ids(found[-1])[None], state)
        found.append(int(logits[0, -1].argmax()))
    device.submit(Pass((Slot(1, ids(token)),)), chain=2)
    device.wait()
    assert device.next_token() == found[-1]
    assert device.sequences[1].position == 7
    later = device.wanted_logits()[0]
    assert np.array_equal(later, logits[0, -1])
    opened.device.close()


def test_heads_are_asked_for_before_their_words_are_needed(build, tmp_path):
    """The state of four sequences, head by head, from memory that answers five times as late."""
    far = memory(FOUR, "state", latency_ns=600.0)
    cycles = []
    for path in (build, compiled(tmp_path, CONFIG, far, hardware=HARDWARE)):
        with open_device(Artifact.read(path), sequences=4) as device:
            device.submit(Pass(tuple(Slot(n, ids(3 + n), fresh=True) for n in range(4))))
            device.wait()
            device.submit(Pass(tuple(Slot(n, ids(3 + n)) for n in range(4))))
            cycles.append(device.wait())
    near, later = cycles
    assert later <= 1.01 * near


def test_a_simulation_feeds_its_prompt_in_chunks(build):
    """Seven tokens of a prompt in three passes, the last with logits; then one token in each."""
    opened = open_golden(build)
    assert isinstance(opened, Opened)
    seen: list[int] = []
    found = simulate(
        opened, [3, 4, 5, 6, 7, 8, 9], 9, watch=True, progress=lambda n, _: seen.append(n)
    )
    opened.device.close()
    assert (found.matches_engine, found.tokens, seen) == (True, 9, [4, 6, 7, 8, 9])
    engine, ids = opened.golden.engine, [3, 4, 5, 6, 7, 8, 9]
    for _ in found.token_ids:
        logits, _ = engine.forward(np.array([ids]), engine.empty_state(1))
        ids.append(int(logits[0, -1].argmax()))
    assert list(found.token_ids) == ids[7:]
    assert len(found.token_ids) == 3
    assert found.activity is not None
    assert found.activity.token.cycles > 0


def test_a_chain_reads_no_state_before_it_is_written(tmp_path):
    """The queues hold the whole state of four heads, so it could be asked for at once."""
    small = sizes(d_model=32, n_layer=1, vocab_size=53)
    slow = memory(FOUR, "state", latency_ns=2000.0)
    opened = open_golden(compiled(tmp_path, small, slow, hardware=HARDWARE))
    engine, device = opened.golden.engine, opened.device
    logits, state = engine.step(np.array([6]), engine.empty_state(1))
    for _ in range(4):
        logits, state = engine.step(logits[:, : engine.valid_vocab].argmax(-1), state)
    device.start(6, fresh=True, chain=4)
    device.wait()
    np.testing.assert_array_equal(device.logits(), logits[0])
    device.close()
