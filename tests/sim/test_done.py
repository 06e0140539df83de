"""A token is done when all that it writes lies in memory."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightmamba.device.sim import open_golden
from lightmamba.device.sim.simulator import Stalls, from_target
from tests.support.tools import needs_verilator

from .machines import CONFIG, TARGET, compiled

pytestmark = needs_verilator


@pytest.mark.parametrize("port", ["state_write", "aux"])
def test_done_waits_for_each_writer(tmp_path, monkeypatch, port):
    """Only one memory is slow to write: nothing else keeps the machine from being done."""

    def one_slow(*target: Any, **_: Any) -> Any:
        memory = from_target(*target)
        slow = memory[port][0]
        late = replace(slow, stalls=Stalls(aw=0.97, w=0.97, b=0.97))
        return {
            name: tuple(late if channel == slow else channel for channel in channels)
            for name, channels in memory.items()
        }

    path = compiled(tmp_path, CONFIG, TARGET)
    fast = open_golden(path).device
    monkeypatch.setattr("lightmamba.device.sim.device.from_target", one_slow)
    slow = open_golden(path).device
    saved = []
    for device in (fast, slow):
        found: dict[Any, Any] = {}
        for head in (False, True):
            device.start(4, fresh=True, head=head)
            device.wait()
            found |= {(name, head): part for name, part in device.save_state().memory.items()}
        saved.append(found | {"logits": device.logits()})
        device.simulator.close()
    for name, state in saved[0].items():
        np.testing.assert_array_equal(state, saved[1][name])
