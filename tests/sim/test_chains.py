"""Chains of tokens on one device: whose they are, and what the probes keep of them."""

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.sim import chained, library, open_device, open_golden
from lightmamba.engine import Engine
from lightmamba.text import DeviceDecoder
from tests.support.tools import needs_verilator

from .machines import CONFIG, TARGET, compiled, run

pytestmark = needs_verilator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def opened(folder):
    found = open_golden(compiled(folder, CONFIG, TARGET))
    yield found
    found.device.simulator.close()


def test_two_sequences_on_one_device_are_told_apart(opened):
    """Equally many tokens do not make them the same."""
    decoder = DeviceDecoder(opened.device, opened.model)
    _, first = decoder.forward(np.array([[3, 1]]), decoder.empty_state(1))
    _, second = decoder.forward(np.array([[4, 2]]), decoder.empty_state(1))
    assert first != second
    with pytest.raises(InputError, match="goes on from its own last token only"):
        decoder.forward(np.array([[5]]), first)
    wanted, _ = Engine(opened.model).forward(
        np.array([[4, 2, 5]]), Engine(opened.model).empty_state(1)
    )
    got, third = decoder.forward(np.array([[5]]), second)
    np.testing.assert_array_equal(got, wanted)
    assert third is second
    assert third.tokens == 3


def test_a_chain_keeps_no_records(opened):
    """They would fill memory: nobody looks at them. The token after it is observed again."""
    device = opened.device
    run(opened, 2)
    chained(device, 2, 3)
    assert {len(record.records) for record in device.probes().values()} == {0}
    device.start(4)
    device.wait()
    seen = device.probes()
    assert min(len(seen[name].records) for name in ("rows_first", "residual")) > 0


def test_a_chain_that_fails_leaves_the_probes_on(opened, monkeypatch):
    device = opened.device
    monkeypatch.setattr(device, "wait", lambda: device._settled())
    with pytest.raises(DeviceError, match="a token is running"):
        chained(device, 2, 3)
    monkeypatch.undo()
    device.wait()
    device.probes()
    device.start(4)
    device.wait()
    assert len(device.probes()["rows_first"].records) > 0


def test_a_device_without_probes_needs_no_other_simulator(opened, monkeypatch):
    """`simulate`, then `generate --device sim`: built once; and nothing is recorded."""
    monkeypatch.setattr(library, "run", lambda *_: pytest.fail("a tool was called"))
    with open_device(opened.device.artifact, observed=False) as device:
        device.start(3)
        device.wait()
        assert device.probes() == {}
        assert len(device.simulator.take("residual")[0]) == 0
