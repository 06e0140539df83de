"""Parts of a machine are merged, and those that do not fit together are named."""

from dataclasses import replace

import pytest

from lightmamba.arch.clients import STATIC, Client
from lightmamba.arch.fields import KIND, Field
from lightmamba.arch.hardware import Counter, Hardware, Link, Row, Stream, Unit
from lightmamba.arch.merge import merge

OF = ("size",)
FRONT = Hardware(
    units=(Unit("first", "a:A", "", *OF),), sizes={"size": ""}, commands={"first": ()},
    records={"TAGGED": (Field("kind", KIND, ""), Field("value", 16, ""))},
)  # fmt: skip
BACK = Hardware(units=(Unit("last", "b:B", "", *OF),), commands={"last": (Field("n", 3, ""),)})


def kind(name: str, **more) -> Hardware:
    """A kind of one unit, between the first and the last."""
    found = Hardware(
        units=(Unit(name, "c:C", "", *OF),),
        streams=(Stream(f"to_{name}", "first.o", f"{name}.i", "s16", "", *OF),
                 Stream(f"from_{name}", f"{name}.o", "last.i", "s16", "", *OF)),
        commands={name: (Field("kind", KIND, ""),)},
        rows=(Row(f"{name}1", f"to_{name}", ""), Row("shared", f"to_{name}", "")),
    )  # fmt: skip
    return replace(found, **more)


U, V = kind("u"), kind("v", rows=(Row("w", "to_v", ""),))


def test_kinds_come_between_front_and_back():
    graph = merge(FRONT, {"u": U, "v": V}, BACK)
    assert [unit.name for unit in graph.units] == ["first", "u", "v", "last"]
    assert graph.starts == {"u": ("u",), "v": ("v",)}


def test_one_source_needs_no_choice():
    assert merge(FRONT, {"u": U}, BACK).commands["last"] == (Field("n", 3, ""),)


def test_a_command_chooses_of_the_sources_of_several_kinds():
    graph = merge(FRONT, {"u": U, "v": V, "x": kind("x", rows=())}, BACK)
    *_, added = graph.commands["last"]
    assert (added.name, added.bits) == ("i_from", 2)
    assert added.doc == "what i takes: 0 from_u, 1 from_v, 2 from_x"
    assert [each.name for each in graph.choices("last.i")] == ["from_u", "from_v", "from_x"]


def test_what_two_kinds_declare_alike_is_there_once():
    again = replace(V, units=(*V.units, *U.units), clients=(Client("c", STATIC, ""),))
    mine = replace(U, clients=(Client("c", STATIC, ""),))
    graph = merge(FRONT, {"u": mine, "v": again}, BACK)
    assert [unit.name for unit in graph.units] == ["first", "u", "v", "last"]
    assert graph.clients == (Client("c", STATIC, ""),)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"units": (Unit("u", "other:C", "", *OF),)}, "kind u and kind v declare u differently"),
        ({"units": (Unit("last", "other:C", "", *OF),)},
         "kind v and the spine declare last differently"),
        ({"units": (Unit("first", "other:C", "", *OF),)},
         "the spine and kind v declare first differently"),
        ({"sizes": {"size": "another"}}, "the spine and kind v declare size differently"),
        ({"commands": {"u": ()}}, "kind u and kind v declare u differently"),
        ({"rows": (Row("shared", "to_v", ""),)}, "kind u and kind v declare shared differently"),
        ({"rows": (Row("shared", "to_u", ""),)}, "kind u and kind v declare shared differently"),
        ({"counters": (Counter("lost", "loss", ("z.lost",)),)}, "there is no unit z for z.lost"),
    ],
)  # fmt: skip
def test_refusals(change, sentence):
    """A row of two kinds of layers has one stream, and one place among the rows of each."""
    with pytest.raises(ValueError, match=sentence):
        merge(FRONT, {"u": U, "v": replace(V, **change)}, BACK)


@pytest.mark.parametrize(("rows", "bits"), [(0, 1), (2, 2), (3, 3), (6, 3), (7, 4)])
def test_kinds_of_rows_have_the_bits_that_they_need(rows, bits):
    """Worked: two more are those of out_proj and of the head."""
    each = tuple(Row(f"r{n}", "to_u", "") for n in range(rows))
    graph = merge(FRONT, {"u": replace(U, rows=each)}, BACK)
    assert graph.commands["u"][0].bits == graph.records["TAGGED"][0].bits == bits
    assert graph.records["TAGGED"][1].bits == 16


def test_places_of_rows_are_those_among_their_own_kind():
    graph = merge(FRONT, {"u": U, "v": V}, BACK)
    assert graph.kinds == {"u1": 0, "shared": 1, "w": 2, "out": 3, "logit": 4}
    assert graph.places == {"u1": 0, "shared": 1, "w": 0}


def test_a_link_has_not_the_name_of_another_parts_stream():
    """The estimate would take its room for the stream's."""
    linked = kind("v", links=(Link("from_u", "", latency=1, room=1),), rows=())
    with pytest.raises(ValueError, match="kind v has a link from_u, and kind u a stream of that"):
        merge(FRONT, {"u": U, "v": linked}, BACK)
    own = kind("v", links=(Link("from_v", "", latency=1, room=1),), rows=())
    assert merge(FRONT, {"u": U, "v": own}, BACK).links == own.links
