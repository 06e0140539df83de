"""Several sequences on one simulated device take turns, and each is what it is alone."""

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.sim import open_golden
from lightmamba.hardware.machine.artifact import Artifact
from tests.support.tools import needs_verilator

from .machines import CONFIG, TARGET, compiled, same
from .test_copies import TWO

pytestmark = needs_verilator


@pytest.fixture(scope="module", params=[TARGET, TWO], ids=["one copy", "two copies"])
def build(request, tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("builds"), CONFIG, request.param)


def test_a_chain_goes_on_from_its_own_state(build):
    """A chain on the device moves the copies of the sequence that it is of, and no other's."""
    opened = open_golden(build, sequences=2)
    device, golden = opened.device, opened.golden
    for sequence in (0, 1):
        same(golden.feed(4 + sequence, sequence=sequence))
    step = golden.feed(9, sequence=1)
    for length in (1, 2):
        ids, state = [step.next_token], golden.sequences[1].state.fork()
        for _ in range(length):
            logits, state = golden.engine.forward(np.array([ids[-1:]]), state)
            ids.append(int(logits[0, -1].argmax()))
        device.submit(Pass((Slot(1, np.array(ids[:1])),)), chain=length - 1)
        device.wait()
        assert device.next_token() == ids[-1]
        for token in ids[:-1]:
            golden.follow(Pass((Slot(1, np.array([token])),)))
        step = golden.feed(ids[-1], sequence=1)
        same(step)
        same(golden.feed(6, sequence=0))
    device.close()


def test_what_is_not_there_is_refused(build):
    opened = open_golden(build)
    with pytest.raises(InputError, match="sequence 1 is not on the device, which holds 1"):
        opened.device.submit(Pass((Slot(1, np.array([3])),)))
    with pytest.raises(InputError, match="a device holds 1 to 4096 sequences, not 0"):
        opened.device.load(Artifact.read(build), sequences=0)
    opened.device.close()
