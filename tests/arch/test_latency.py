"""What estimates know of the gates, against the gates."""

from dataclasses import fields

import pytest

from lightmamba.arch import latency
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.latency import Latency
from lightmamba.rtl import lanes, reader, sequencer, streams, writer
from lightmamba.rtl.activations import ActivationBuffer
from lightmamba.rtl.units import Units

MACHINES = (
    ArchConfig(),
    ArchConfig(lanes=1, port_bits=256, multiplier_bits=8, state_elements=32),
    ArchConfig(lanes=9, port_bits=512, state_elements=128),
    ArchConfig(lanes=2, weight_bits=8, act_bits=8, multiplier_bits=8, padded_state=64),
)


@pytest.mark.parametrize("config", MACHINES)
def test_latencies_are_those_of_the_units(config: ArchConfig) -> None:
    units = Units(config)
    wanted = {
        "lanes": units.lanes.latency,
        "epilogue": units.epilogue.latency,
        "ssm_y": units.ssm.y_latency,
        "embed": units.embed.latency,
        "residual": units.residual.latency,
        "residual_sum": units.residual.sum_latency,
        "rms": units.rms_in.latency,
        "quantizer": units.quant_in.latency,
        "activations": ActivationBuffer.latency,
        "discretize": units.discretize.latency,
        "conv": units.conv.latency,
        "blocks": units.blocks.latency,
        "ssm": units.ssm.latency,
        "gate": units.gate.latency,
        "gate_sum": units.gate.sum_latency,
        "hadamard": units.hadamard.latency,
        "head": units.head.latency,
        "queue": streams.StreamQueue.latency,
        "reader": reader.Reader.latency,
        "reader_data": reader.Reader.data_latency,
        "word_reader_data": reader.WordReader.data_latency,
        "writer": writer.Writer.latency,
    }
    assert {f.name: getattr(Latency.of(config), f.name) for f in fields(Latency)} == wanted


def test_depths_are_those_of_the_gates() -> None:
    assert latency.PARTS == lanes.OUTPUTS
    assert latency.FETCH == sequencer.WORDS + 2
    assert latency.OUTSTANDING == writer.OUTSTANDING
