"""Passes of several tokens against cycles of the gates.

Of each mode a steady run of passes on random weights, the mean of the last two; decoding as a chain
of ten tokens, the mean of the last four (`bench.estimates`, of one token, has the same way).
"""

from dataclasses import replace

import pytest
from bench.estimates import memory

from lightmamba.arch.target import Target
from lightmamba.config import SHAPES, mamba2_config
from lightmamba.estimate.model import estimate_pass
from lightmamba.estimate.workload import Workload, modes
from lightmamba.formats import Formats
from tests.support.builders import made_up

WITHIN = 0.01
DEMO = SHAPES["demo"]
TINY = Target.load("tiny-t4")


def two_ports() -> Target:
    """The state over two ports, on a channel each."""
    target = made_up(tokens=4, lanes=6, state_elements=256, state_fifo=256, state_port_bits=256)
    (state,) = (c for c in target.channels if "state_read" in c.ports)
    second = replace(state, name="state1", ports=("state_read1", "state_write1"))
    machine = replace(target.machine, state_ports=2)
    return replace(target, machine=machine, channels=(*target.channels, second))


TARGETS = {
    "tiny-t4": TINY,
    "tiny-t4, slow state": memory(TINY, "state", beats=0.25),
    "tiny-t4, slow aux": memory(TINY, "aux", beats=0.15),
    "tiny-t4, slow lanes": memory(TINY, "lane", beats=0.5),
    "tiny-t4, far memory": memory(TINY, latency_ns=1000.0),
    "two tokens": made_up(tokens=2, lanes=4, state_elements=64, state_fifo=512, x_queue=256),
    "heads of 16 words, two copies": made_up(
        tokens=4, lanes=5, state_elements=512, state_fifo=128, state_port_bits=512, copies=2,
        turn=8,
    ),
    "eight tokens": made_up(tokens=8, lanes=3, state_elements=64, state_port_bits=128, x_queue=64),
    "two ports of the state": two_ports(),
    "vck190-paper-t4": Target.load("vck190-paper-t4"),
}  # fmt: skip
CONFIGS = {
    "eight tokens": mamba2_config(192, 4, 2048, d_state=64, headdim=48, ngroups=2),
}
CYCLES = {  # decode, prefill, batch, verify
    "tiny-t4": (33295, 26182, 71807, 43731),
    "tiny-t4, slow state": (55719, 50717, 209669, 57512),
    "tiny-t4, slow aux": (39996, 32979, 89544, 51225),
    "tiny-t4, slow lanes": (52212, 43947, 78229, 53171),
    "tiny-t4, far memory": (33375, 26262, 72705, 43891),
    "two tokens": (33927, 26419, 43416, 40608),
    "heads of 16 words, two copies": (27228, 20927, 45698, 28132),
    "eight tokens": (29129, 22685, 83872, 38804),
    "two ports of the state": (23364, 18407, 43965, 27233),
    "vck190-paper-t4": (87833, 77527, 176460, 90312),
}


@pytest.mark.parametrize("name", TARGETS)
def test_passes(name):
    work = Workload.of(CONFIGS.get(name, DEMO), Formats(), TARGETS[name], "reordered")
    found = [estimate_pass(work.of_mode(mode), area={}).cycles for mode in modes(work.arch)]
    assert found == pytest.approx(CYCLES[name], rel=WITHIN)
