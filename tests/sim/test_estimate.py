"""Estimates against RTL simulation, on a machine that other tests build too."""

import pytest

from lightmamba.device.sim import chained, open_device
from lightmamba.hardware.estimate import estimate
from lightmamba.hardware.estimate.quantities import Quantities
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.numerics.model_formats import Formats
from tests.support.tools import needs_verilator

from ..support.layers import resized
from .machines import CONFIG, TARGET, compiled

pytestmark = needs_verilator
DEEPER = resized(CONFIG, n_layer=6, vocab_size=401)  # of the same hardware


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Counts of a token of a chain, of one alone, of another without its logits."""
    path = compiled(tmp_path_factory.mktemp("builds"), DEEPER, TARGET)
    found = []
    with open_device(Artifact.read(path)) as device:
        device.start(1, fresh=True)
        device.wait()
        found.append(chained(device, 4, 2)[1])
        for how in ({}, {"head": False}):
            before = device.counters()
            device.start(2, **how)
            device.wait()
            found.append({name: n - before[name] for name, n in device.counters().items()})
    return found


def test_cycles(counted):
    found = estimate(DEEPER, Formats(), TARGET)
    token, alone, prompt = (sum(counts[name] for name in CYCLES) for counts in counted)
    assert found.cycles == pytest.approx(token, rel=0.01)
    assert token < alone  # which asks for its state when it begins
    assert found.prompt_cycles == pytest.approx(prompt, rel=0.01)
    for name in ("multiplying", "scale"):
        assert found.stalls[name] == counted[0][name]


def test_beats_of_every_port(counted):
    work = Workload.of(DEEPER, Formats(), TARGET, "reordered")
    counts = counted[0]
    for port, (read, written) in Quantities.of(work).port_beats.items():
        assert (counts[f"{port}.beats_read"], counts[f"{port}.beats_written"]) == (read, written)
