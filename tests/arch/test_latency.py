"""Numbers of the hardware that estimates use, against the RTL."""

import pytest
from amaranth._unused import MustUse
from amaranth.hdl import Value

from lightmamba.arch import latency
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.hardware import cycles
from lightmamba.device.sim.simulator import MemoryChannel
from lightmamba.hardware.machine import spine
from lightmamba.hardware.rtl import lanes, sequencer, streams
from lightmamba.hardware.rtl.activations import ActivationBuffer
from lightmamba.hardware.rtl.head import Head
from lightmamba.hardware.rtl.memory import prefetch, reader, writer
from lightmamba.hardware.rtl.memory.slot_walk import SlotWalk
from lightmamba.hardware.rtl.residual import Residual
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
# The attributes of units that say the latency of a stream of its own; others have `latency`.
OWN = {"sum_in": "sum_latency", "sum_out": "sum_latency", "y": "y_latency"}


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


def test_latencies_are_those_of_the_units(both) -> None:
    config, units = both
    said = {u.name: cycles(u.latency, config) for u in MACHINE.units if u.latency}
    assert said == {name: units.parts[name].latency for name in said}
    assert set(units.parts) - set(said) == {"bc", "heads_queue", "x_queue", "z_queue"}
    for name, attribute in OWN.items():
        stream = MACHINE.stream(name)
        unit = units.parts[stream.giver]
        unit = unit if MACHINE.unit(stream.giver).whole else unit.copies[0]
        assert MACHINE.latency(stream, config) == getattr(unit, attribute)


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
                assert found == each * MACHINE.bits(stream.name), stream.name


def test_depths_are_those_of_the_hardware() -> None:
    assert spine.PARTS == lanes.OUTPUTS
    assert INSTRUCTIONS.fetch == sequencer.Sequencer(ArchConfig()).words + 2
    assert latency.OUTSTANDING == writer.OUTSTANDING
    assert streams.StreamQueue.latency == latency.QUEUE
    assert reader.Reader.latency == latency.READER
    assert reader.Reader.data_latency == latency.READER_DATA
    assert reader.WordReader.data_latency == latency.WORD_READER_DATA
    assert writer.Writer.latency == latency.WRITER
    assert latency.BEGIN == prefetch.Segments.latency == prefetch.LayerWalk.latency
    assert SlotWalk.latency - prefetch.LayerWalk.latency == latency.STATE_WALK
    assert Head.done_latency == latency.DRAIN
    assert MemoryChannel.__dataclass_fields__["outstanding"].default == latency.OPEN_BURSTS
    assert ActivationBuffer.latency == spine.STORED
    assert Residual.sum_latency == spine.RESIDUAL_SUM
