"""The graph of the machine refuses what does not fit together, and says what it is."""

from dataclasses import replace

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field
from lightmamba.arch.graph import Graph
from lightmamba.arch.hardware import Counter, Row, Shown, Stream, Unit
from tests.docs.pages import ROOT
from tests.support.machine import COMMANDS, MACHINE

UNIT = Unit("a", "a:A", "", steps="d_model", latency=5)
STREAM = Stream("s", "a.o", "b.i", "s16", "", "d_model")
GRAPH = Graph((UNIT, replace(UNIT, name="b")), (STREAM,), sizes={"d_model": "", "group_dim": ""})
TWO = STREAM, replace(STREAM, name="t", source="a.p")  # to one port


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda: replace(UNIT, rtl="a"), "a: rtl must be file:class"),
        (lambda: replace(GRAPH, units=(replace(UNIT, steps="channels"), GRAPH.units[1])),
         "a: channels must be one of d_model"),
        (lambda: replace(UNIT, work="its work"), "a: nothing shows when it does its work"),
        (lambda: replace(STREAM, source="a"), "s: a must be unit.port"),
        (lambda: replace(GRAPH, streams=(replace(STREAM, items="many"),)),
         "s: many must be one of d_model, group_dim"),
        (lambda: replace(GRAPH, streams=(replace(STREAM, per="many"),)),
         "s: many must be one of d_model, group_dim"),
        (lambda: replace(STREAM, queue="q"), "s: ArchConfig has no q"),
        (lambda: replace(GRAPH, units=(UNIT, UNIT)), "there are two entries a"),
        (lambda: replace(GRAPH, units=(UNIT,)), "there is no unit b for b.i"),
        (lambda: replace(GRAPH, streams=TWO), "b.i is the end of two streams, of which no command"),
        (lambda: replace(GRAPH, streams=TWO, commands={"b": (Field("o_from", 1, ""),)}),
         "b.i is the end of two streams, of which no command"),
        (lambda: replace(GRAPH, streams=(replace(STREAM, payload="x16"),)),
         "there is no payload x16; try s16"),
        (lambda: replace(GRAPH, counters=(Counter("lost", "loss", ("c.lost",)),)),
         "there is no unit c for c.lost"),
        (lambda: replace(GRAPH, wires=(("a.o", "c.i"),)), "there is no unit c for c.i"),
        (lambda: replace(GRAPH, units=tuple(
            replace(u, shows=(Shown("seen", "o", ()),)) for u in GRAPH.units)),
         "there are two entries seen"),
    ],
)  # fmt: skip
def test_refusals(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        change()


def test_a_command_chooses_of_several_sources():
    chosen = replace(GRAPH, streams=TWO, commands={"b": (Field("i_from", 1, ""),)})
    assert chosen.choices("b.i") == TWO


def test_an_output_may_go_to_several_units():
    both = (STREAM, replace(STREAM, name="t", target="b.j"))
    assert replace(GRAPH, streams=both).streams == both


def test_a_stream_is_only_where_it_says():
    some = replace(STREAM, name="t", target="b.j", there=lambda config: config.tokens > 1)
    graph = replace(GRAPH, streams=(STREAM, some))
    assert graph.of(ArchConfig(tokens=1)) == graph.between(ArchConfig(tokens=1)) == (STREAM,)
    assert graph.of(ArchConfig(tokens=2)) == (STREAM, some)


def test_kinds_of_rows_are_numbered_before_sections_of_two():
    rows = tuple(Row(name, "s", "") for name in "pqr")
    graph = replace(GRAPH, rows=rows, turns=(("q", "r"),))
    assert graph.kinds == {"p": 0, "q": 1, "r": 2, "out": 3, "logit": 4, "q|r": 5}


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
