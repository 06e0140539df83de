"""Tables of steps move the items that the graph says, no more and no fewer."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.arch.clients import MEMORY
from lightmamba.arch.hardware import cycles
from lightmamba.arch.steps import EMPTY, HELD, KEPT, NONE, SINGLY, Table, column, encode, joined
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.hardware.estimate.units import Run, Walkers, base
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.hardware.machine.steps import gathering, packer, sender, unpacker
from lightmamba.model.config import SHAPES, mamba2_config
from lightmamba.numerics.model_formats import Formats
from tests.estimate.walked import gone, moved, walkers
from tests.support.builders import made_up

DEMO = SHAPES["demo"]
ODD = mamba2_config(192, DEMO.n_layer, 53, d_state=48, headdim=48, ngroups=2)
CASES = {
    "demo": (DEMO, Formats(), Target.load("tiny")),
    "odd": (ODD, Formats(hadamard=16), made_up(lanes=5, state_elements=32, x_queue=512)),
    "one lane": (ODD, Formats(), made_up(lanes=1, state_elements=32, x_queue=512)),
}


@pytest.fixture(params=CASES)
def work(request):
    return Workload.of(*CASES[request.param], "reordered")


def test_a_pass_moves_all_items_of_its_streams(work):
    """At both ends; the lanes count in beats, the epilogue in slots."""
    found, sizes = walkers(work), work.sizes(work.config.layers[0])
    layers = work.config.n_layer
    taken, given = gone(found)
    once = {"embedded": 1, "embedding": 1, "logits": 1}
    ins = dict.fromkeys(("residual", "sum_in", "quant_in", "rms_in"), layers + 1)
    of_lanes = ("weights", "parts", "logit", "rms_in", "quant_in", "out", "rms_out")
    for stream in work.graph.of(work.arch):
        times = {**once, **ins}.get(stream.name, layers)
        if stream.giver == MEMORY and stream.name != "embedding":
            times = layers
        wanted = times * -(-stream.count(sizes) // cycles(stream.at_once, work.arch))
        if stream.name in of_lanes:
            continue
        both = [ends[stream.name] for ends in (taken, given) if stream.name in ends]
        assert both == [wanted] * len(both), stream.name
        assert both, stream.name
    assert taken["out"] == given["out"] == layers * work.config.d_model
    assert taken["logit"] == given["logit"] == work.config.vocab_size
    slots = [-(-rows // work.arch.lanes) for rows in (sizes["in_rows"], sizes["d_model"])]
    parts = slots[0] + slots[1] * sizes["ngroups"]
    head = -(-work.config.vocab_size // work.arch.lanes)
    assert taken["parts"] == given["parts"] == layers * parts + head
    beats = work.memory.stored_beats + work.memory.head_beats
    assert taken["weights"] == beats
    assert taken["rms_out"] == given["rms_out"] == layers * sizes["ngroups"]


def test_blocks_are_held_until_all_of_them_leave(work):
    held = {
        name: items
        for walker in walkers(work).values() for job in walker.jobs
        for name, items in job.gives.items() if np.max(items) >= HELD
    }  # fmt: skip
    assert {"quant_in", "quant_out", "x", "bc"} == {*held}
    for items in held.values():
        all_ = np.asarray(items)
        mine = all_[all_ >= HELD] - HELD
        assert mine.sum() == len(mine)
        assert mine[-1] > 0


def test_words_of_memory_are_those_of_the_compiler(work):
    layer = work.config.layers[0]
    own, rng = kind(layer.kind), np.random.default_rng(0)
    mixer = own.integers.random_mixer(rng, layer, work.formats)
    found = own.hardware.parameters(mixer, own.hardware.row_order(layer, work.order))
    assert list(found) == ["conv_params", "head_params", "gate_params"]
    assert [len(words) for words in found.values()] == [*map(work.words, found)]
    sizes = work.sizes(layer)
    assert work.graph.client("embedding").count(sizes) == work.memory.each("embedding")


def test_elements_gather_to_words():
    found = gathering(128, 32, "elements", "words")
    assert found.takes == {"elements": 1}
    assert np.flatnonzero(found.gives["words"]).tolist() == [31, 63, 95, 127]


@pytest.mark.parametrize(("words", "beats", "each"), [(64, 1, 1), (100, 1, 2), (16, 16, 1)])
def test_heads_go_through_the_port_in_whole_beats(words, beats, each):
    """Behind each beat of exponents up to 32 others."""
    data = -(-words // each) * beats
    all_ = data + -(-data // 32)
    read = unpacker("state", words, beats, each)
    assert moved(read.takes["memory.state"]) == all_
    assert moved(read.gives["state.beat"]) == words
    assert moved(read.gives["leave.state"]) == 1
    packed, sent = packer("state", "new", words, beats, each), sender("state", words, beats, each)
    assert moved(packed.takes["new"]) == words
    assert moved(packed.gives["state.packed"]) == moved(sent.takes["state.packed"]) == data
    assert moved(packed.gives["state.group"]) == moved(sent.takes["state.group"]) == all_ - data
    assert sent.steps == all_


def test_who_gives_acts_before_who_takes(work):
    """But for what comes round to the next projection."""
    order = list(walkers(work))
    takers, givers = dict[str, str](), dict[str, str]()
    for walker in walkers(work).values():
        for job in walker.jobs:
            takers |= dict.fromkeys(map(base, job.takes), walker.name)
            givers |= dict.fromkeys(map(base, job.gives), walker.name)
    later = {"words_in", "words_out", "rms_in", "rms_out"}
    # Room in them is seen in the same cycle.
    back = {"state.beat", "state.packed", "state.group"}
    both = takers.keys() & givers.keys() - later
    for name in (name for name in both if not name.startswith(f"{MEMORY}.")):
        before, behind = order.index(givers[name]), order.index(takers[name])
        assert before == behind or (before > behind) == (name in back), name


def test_tables_behind_each_other():
    one, other = (
        Table(2, {"a": 1}, {"b": column(2, 0)}),
        Table(1, {"c": KEPT}, {"b": EMPTY}, pause=3),
    )
    found = joined(one, other)
    assert found.steps == 3
    taken, given = ({n: np.asarray(v).tolist() for n, v in side.items()}
                    for side in (found.takes, found.gives))  # fmt: skip
    assert taken["a"] == [1, 1, NONE]
    assert taken["c"] == [NONE, NONE, KEPT]
    assert given["b"] == [0, 0, EMPTY]
    assert np.asarray(found.pause).tolist() == [1, 1, 3]


@pytest.mark.parametrize("largest", [2, 9999])
def test_numbers_of_steps(largest):
    """Equal steps have one number, different ones another; also where many could be."""
    rng = np.random.default_rng(0)
    takes = {str(n): rng.integers(NONE, 3, 500).astype(np.int16) for n in range(3)}
    for items in takes.values():
        items[0] = largest
    table = Table(500, takes, {"b": SINGLY})
    numbers, first = encode(table)
    rows = np.stack(list(takes.values()), axis=1)
    np.testing.assert_array_equal(rows[first][numbers], rows)
    assert len(first) == len(np.unique(rows, axis=0))


def test_layers_of_equal_sizes_have_one_table(work):
    for walker in Walkers(work, Run(work.config.n_layer, 48, 1, (0,))).each():
        assert len({id(job) for job in walker.jobs}) <= 3, walker.name
    longer = Walkers(replace(work, head=False), Run(2, 48, 1, (0,)))
    assert longer.pass_jobs == 4
