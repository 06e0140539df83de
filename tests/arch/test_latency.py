"""Numbers of the hardware that estimates use, against the RTL."""

from dataclasses import replace

import pytest
from amaranth._unused import MustUse
from amaranth.hdl import Value

from lightmamba.arch import latency
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.hardware import cycles
from lightmamba.device.sim.simulator import MemoryChannel
from lightmamba.hardware.rtl import lanes, sequencer
from lightmamba.hardware.rtl.activations import ActivationBuffer
from lightmamba.hardware.rtl.slices import Slices
from lightmamba.hardware.rtl.units import Units
from tests.support.machine import INSTRUCTIONS, MACHINE

MACHINES = (
    ArchConfig(),
    ArchConfig(lanes=1, port_bits=256, multiplier_bits=8, state_elements=32),
    ArchConfig(lanes=9, port_bits=512, state_elements=128),
    ArchConfig(lanes=2, weight_bits=8, act_bits=8, multiplier_bits=8, padded_state=64),
    ArchConfig(tokens=4, state_elements=256),
    ArchConfig(tokens=1, state_elements=256),
    ArchConfig(lanes=1, port_bits=64, multiplier_bits=8, state_elements=8),
    ArchConfig(tokens=2, port_bits=32, multiplier_bits=8, state_elements=4),
    ArchConfig(state_elements=16),
)
NEW = MustUse.__new__


def asked(cls, *args, **kwargs):
    """Make what is only asked, and not built: amaranth must not complain."""
    made = NEW(cls, *args, **kwargs)
    made._MustUse__used = True
    return made


@pytest.fixture(scope="module", params=MACHINES, ids=range(len(MACHINES)))
def both(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MustUse, "__new__", asked)
        yield request.param, Units(request.param)


@pytest.mark.parametrize("name", ["conv", "ssm.o_y", "residual.o_sum"])
def test_a_graph_with_another_latency_is_refused(both, monkeypatch, name) -> None:
    units = both[1]
    unit, stream = MACHINE.unit(name.split(".")[0]), name.split(".o_")[1:]
    changed = (
        {"streams": tuple(
            replace(each, latency=99) if each.source == name else each for each in MACHINE.streams
        )}
        if stream else
        {"units": tuple(replace(u, latency=99) if u is unit else u for u in MACHINE.units)}
    )  # fmt: skip
    monkeypatch.setattr(units, "graph", replace(MACHINE, **changed))
    with pytest.raises(ValueError, match=rf"{name} has a latency of \d+ cycles, but 99 in the"):
        units._check_latencies()


@pytest.mark.parametrize(("port_bits", "packed"), [(128, False), (128, True), (512, True)])
def test_latency_of_lanes_of_several_tokens(monkeypatch, port_bits, packed) -> None:
    monkeypatch.setattr(MustUse, "__new__", asked)
    config = ArchConfig(tokens=4, port_bits=port_bits, packed=packed)
    unit = lanes.Lanes(config, Slices(lambda: ActivationBuffer(config), 4))
    assert cycles(MACHINE.unit("lanes").latency, config) == unit.latency


def test_streams_are_as_wide_as_their_payloads(both) -> None:
    _, units = both
    for stream in MACHINE.of(units.config):
        for end in (stream.source, stream.target):
            if not end.startswith("memory.") and stream.payload not in MACHINE.apart:
                found = len(Value.cast(units.port(end).payload))
                each = 1 if stream.shared else units.config.tokens
                each *= cycles(stream.at_once, units.config)
                assert found == each * MACHINE.bits(stream.name), stream.name


def test_depths_are_those_of_the_hardware() -> None:
    assert INSTRUCTIONS.fetch == sequencer.Sequencer(ArchConfig()).words + 2
    assert MemoryChannel.__dataclass_fields__["outstanding"].default == latency.OPEN_BURSTS
