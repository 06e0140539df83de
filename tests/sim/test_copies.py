"""A state with two copies that take turns, on memories that begin anywhere."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.sim import GoldenModel, open_golden
from lightmamba.device.sim.device import open_device
from lightmamba.engine import Engine
from lightmamba.hardware.machine.artifact import Artifact
from tests.support.tools import needs_verilator

from ..support.builders import made_up
from .machines import CONFIG, compiled, run, same

pytestmark = needs_verilator
# The accelerator of TARGET, so that its simulator is used again.
TWO = replace(
    made_up(
        lanes=2, state_elements=32, state_port_bits=128, x_queue=2, z_queue=2, copies=2, turn=8
    ),
    name="two copies",
)  # fmt: skip


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("builds"), CONFIG, TWO)


def anywhere(seed: int):
    """Bases as a board's allocator may give them: page-aligned, different on every channel."""
    rng, free = np.random.default_rng(seed), 1 << 20

    def place(name: str, size: int, alignment: int) -> int:
        nonlocal free
        at = free + alignment * int(rng.integers(1, 1 << 24))
        free = at + size
        return -(-at // alignment) * alignment

    return place


def test_both_copies_are_in_the_build(build):
    artifact = Artifact.read(build)
    first, other = artifact.region("state"), artifact.region("state_other")
    assert (first.channel, other.channel) == ("state_read", "state_read_other")
    assert first.bytes == other.bytes


def test_states_move_between_copies_and_devices(build):
    """Saved where one copy is due, restored where the other is; on this device and another."""
    opened, second = open_golden(build), open_golden(build, placement=anywhere(9))
    device = opened.device
    first, fork = (GoldenModel(d.device, Engine(opened.model)) for d in (opened, second))
    same(first.feed(4))
    kept = device.save_state()  # the other copy is due
    assert device.sequences[0].due == 1
    same(first.feed(5))
    after = device.save_state()
    same(first.feed(6))
    device.restore_state(after)
    first = GoldenModel(device, Engine(opened.model))
    for golden in (first, fork):
        golden.restart()
    same(fork.feed(4))
    same(fork.feed(5))
    second.device.restore_state(kept)  # the first copy is due here
    assert second.device.sequences[0].due == 0
    second.device.start(5)
    second.device.wait()
    for name, memory in second.device.save_state().memory.items():
        np.testing.assert_array_equal(after.memory[name], memory)
    device.reset()
    device.restore_state(kept)
    device.start(5)
    device.wait()
    for name, memory in device.save_state().memory.items():
        np.testing.assert_array_equal(after.memory[name], memory)
    for one in (opened, second):
        one.device.simulator.close()


def test_a_change_of_direction_costs_time(tmp_path):
    """With one copy on a slow memory; with two, hardly: only where a token begins."""
    cycles = {}
    for copies in (1, 2):
        for turn in (0, 40):
            slow = made_up(
                lanes=2, state_elements=32, state_port_bits=128, x_queue=2, z_queue=2,
                copies=copies, turn=turn,
            )  # fmt: skip
            channels = tuple(
                replace(c, attainable_gb_per_s=c.gb_per_s / 16)
                if c.name.startswith("state") else c for c in slow.channels
            )  # fmt: skip
            target = replace(slow, channels=channels, name=f"{copies} {turn}")
            opened = open_golden(compiled(tmp_path, CONFIG, target))
            cycles[copies, turn] = run(opened, 6)[-1].cycles
            opened.device.simulator.close()
    assert cycles[2, 0] < cycles[1, 0]
    assert cycles[1, 40] - cycles[1, 0] > 2 * (cycles[2, 40] - cycles[2, 0])


@pytest.mark.parametrize(("base", "wanted"), [(100, "a multiple of 4096"), (1 << 44, "below 2")])
def test_an_allocator_that_gives_what_cannot_be(build, base, wanted):
    with pytest.raises(DeviceError, match=wanted):
        open_device(Artifact.read(build), placement=lambda *_: base)


def test_copies_need_both_ports_on_both_channels():
    one, two = TWO.channels[-2:]
    rest = TWO.channels[:-2]
    with pytest.raises(ValueError, match="must be on the same channels"):
        replace(TWO, channels=(*rest, one, replace(two, ports=("state_read",))))
    with pytest.raises(ValueError, match="hold a copy of the state"):
        replace(TWO, channels=(*rest, one, two, replace(two, name="third")))


def test_regions_begin_in_different_banks():
    from lightmamba.hardware.compiler.memory import Memory
    from lightmamba.hardware.compiler.plan import plan
    from lightmamba.model.config import SHAPES
    from lightmamba.numerics.model_formats import Formats

    target, config = Target.load("kv260"), SHAPES["mamba2-130m"]
    regions = Memory(config, Formats(), plan(config, Formats(), target), target).regions()
    lanes = [r.address % 65536 for r in regions if r.name.startswith("lane")]
    assert lanes == [0, 16384, 32768, 49152]
    assert all(r.address % 16384 == 0 for r in regions)
    small = replace(target, channels=(replace(target.channels[0], capacity_mib=16),))
    with pytest.raises(InputError, match=r"channel ddr4 would hold .* take a smaller model"):
        Memory(config, Formats(), plan(config, Formats(), small), small).regions()
