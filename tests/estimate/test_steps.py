"""Tables of steps move the items that the graph says, no more and no fewer."""

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.config import SHAPES, mamba2_config
from lightmamba.estimate.places import HELD, INPUTS, SPECIAL, UNITS
from lightmamba.estimate.steps import columns, gathering, inputs, outputs, table
from lightmamba.estimate.workload import Workload
from lightmamba.formats import Formats
from tests.support.builders import made_up
from tests.support.machine import MACHINE

DEMO = SHAPES["demo"]
ODD = mamba2_config(192, DEMO.n_layer, 53, d_state=48, headdim=48, ngroups=2)
CASES = {
    "demo": (DEMO, Formats(), Target.load("tiny")),
    "odd": (ODD, Formats(hadamard=16), made_up(lanes=5, state_elements=32, x_queue=512)),
    "one lane": (ODD, Formats(), made_up(lanes=1, state_elements=32, x_queue=512)),
}
PLAIN = [unit.name for unit in MACHINE.units if unit.name not in SPECIAL]


@pytest.fixture(params=CASES)
def work(request):
    return Workload.of(*CASES[request.param], "reordered")


@pytest.mark.parametrize("unit", PLAIN)
def test_a_job_moves_all_items_of_its_streams(unit, work):
    found, sizes = table(unit, work, work.config.vocab_size), work.sizes
    takes, gives = columns(unit, work)
    assert {stream.name for stream in inputs(unit)} <= {*takes}
    assert {stream.name for stream in outputs(unit)} <= {*gives}
    for stream in inputs(unit):
        column = takes.index(stream.name)
        taken = np.maximum(found[:, column], 0)
        assert taken.sum() == stream.count(sizes), stream.name
    for stream in outputs(unit):
        column = INPUTS + gives.index(stream.name)
        given = np.maximum(found[:, column], 0).astype(int)
        held = given >= HELD
        assert given[~held].sum() + held.sum() == stream.count(sizes), stream.name
        if held.any():  # all of them leave in the end, and the last one does at once
            assert (given[held] - HELD).sum() == held.sum()
            assert given[held][-1] > HELD


def test_words_of_memory_are_those_of_the_compiler(work):
    words = dict(work.memory.stream_words)
    for name in ("embedding", "conv_params", "head_params", "gate_params"):
        assert MACHINE.client(name).count(work.sizes) == words[name]


def test_elements_gather_to_words():
    found = gathering(128, 32)
    assert (found[:, 0] == 1).all()
    assert np.flatnonzero(found[:, INPUTS]).tolist() == [31, 63, 95, 127]


def test_who_gives_acts_before_who_takes():
    """But for what comes round to the next projection."""
    for stream in MACHINE.between(ArchConfig()):
        if stream.taker != "activations" and stream.name not in ("rms_in", "rms_out"):
            assert UNITS[stream.giver] < UNITS[stream.taker], stream.name
