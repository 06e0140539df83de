"""State machines of sequences on a pretended device and on simulated hardware."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lightmamba.device.sim import open_golden
from tests.host.states import MANY, Place, States
from tests.host.test_sequences import made, sharing
from tests.sim.machines import CONFIG, FOUR, HARDWARE
from tests.sim.machines import compiled as machine
from tests.sim.test_copies import anywhere
from tests.support.builders import sizes
from tests.support.tools import needs_verilator

# Of simulated machines, a token costs some milliseconds.
SIMULATED = settings(max_examples=3, stateful_step_count=20)


def run(place: Place, how: settings | None = None) -> Counter[str]:
    """Run state machines on a device."""
    kind = type("Machine", (States,), {"place": place})
    run_state_machine_as_test(kind, settings=how)
    return place.seen


@pytest.mark.parametrize(
    ("tokens", "copies", "ports"), [(2, 1, 1), (4, 2, 1), (8, 1, 1), (4, 2, 2)]
)
def test_hardware_of_several_tokens(tmp_path, tokens, copies, ports):
    device = made(tmp_path, sizes(), tokens, copies, ports)
    assert run(Place(device, device.model, 9))["accepted"] > 20


@pytest.mark.parametrize("copies", [1, 2])
def test_sequences_that_share_segments(tmp_path, copies):
    device = sharing(tmp_path, copies)
    seen = run(Place(device, device.model, 30))
    for what in ("pool full", "context full", "later segment", "refused over undecided tokens"):
        assert seen[what] > 1, what


@needs_verilator
def test_a_simulated_machine_of_several_tokens(tmp_path):
    path = machine(tmp_path, CONFIG, FOUR, hardware=HARDWARE)
    assert simulated(path, 9, SIMULATED)["accepted"] > 2


def simulated(path: Path, far: int, how: settings) -> Counter[str]:
    """Run state machines on a build in the simulator, with memory that stalls."""
    opened = open_golden(path, stalls=0.2, seed=5, placement=anywhere(4), sequences=MANY)
    with opened.device as device:
        device.simulator.probing(False)
        return run(Place(device, opened.model, far), how)
