"""The graph of the machine refuses what does not fit together, and says what it is."""

from dataclasses import replace

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.graph import Counter, Graph, Shown, Stream, Unit
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.program import COMMANDS
from tests.docs.pages import ROOT

UNIT = Unit("a", "a:A", "", steps="d_model", latency=5)
STREAM = Stream("s", "a.o", "b.i", "s16", "", "d_model")
GRAPH = Graph((UNIT, replace(UNIT, name="b")), (STREAM,))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda: replace(UNIT, rtl="a"), "a: rtl must be file:class"),
        (lambda: replace(UNIT, steps="channels"), "a: steps must be one of d_model"),
        (lambda: replace(UNIT, work="its work"), "a: nothing shows when it does its work"),
        (lambda: replace(STREAM, source="a"), "s: a must be unit.port"),
        (lambda: replace(STREAM, items="many"), "s: many must be one of d_model"),
        (lambda: replace(STREAM, per="many"), "s: many must be one of d_model"),
        (lambda: replace(STREAM, queue="q"), "s: ArchConfig has no q"),
        (lambda: replace(GRAPH, units=(UNIT, UNIT)), "there are two entries a"),
        (lambda: replace(GRAPH, units=(UNIT,)), "there is no unit b for b.i"),
        (lambda: replace(GRAPH, streams=(STREAM, replace(STREAM, name="t", target="b.j"))),
         "a.o is the end of two streams"),
        (lambda: replace(GRAPH, streams=(STREAM, replace(STREAM, name="t", source="a.p"))),
         "b.i is the end of two streams"),
        (lambda: replace(GRAPH, streams=(replace(STREAM, payload="x16"),)),
         "there is no payload x16; try s16"),
        (lambda: replace(GRAPH, counters=(Counter("lost", "loss", ("c.lost",)),)),
         "there is no unit c for c.lost"),
        (lambda: replace(GRAPH, units=tuple(
            replace(u, shows=(Shown("seen", "o", ()),)) for u in GRAPH.units)),
         "there are two entries seen"),
    ],
)  # fmt: skip
def test_refusals(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        change()


def test_items_latency_and_room():
    sizes = {"d_model": 10, "group_dim": 4}
    assert STREAM.count(sizes) == 10
    assert replace(STREAM, per=4).count(sizes) == 3
    assert replace(STREAM, per="group_dim").count(sizes) == 3
    config = ArchConfig(x_queue=7, heads=1)
    assert GRAPH.latency(STREAM, config) == 5
    assert GRAPH.room(STREAM, config) == 5 + 2
    own = replace(STREAM, latency=lambda c: c.lanes, queue="x_queue")
    assert (GRAPH.latency(own, config), GRAPH.room(own, config)) == (4, 4 + 2 + 7)
    assert GRAPH.room(replace(own, room=1), config) == 1 + 7
    assert replace(STREAM, queue="heads").depth(config) == 3  # a queue holds three at least


def test_every_unit_with_a_command_is_there():
    assert set(COMMANDS) == {unit.name for unit in MACHINE.units} - {"activations"}


def test_observables_are_those_of_the_docs():
    text = (ROOT / "docs/reference/observables.md").read_text(encoding="utf-8")
    for shown in MACHINE.shown:
        for element in shown.elements:
            name = element.observable.replace("{kind}", "B").rpartition(".")[2]
            assert f"{name}`" in text, element
