"""The pictures of the docs show the graph and the stored rows of today."""

from xml.etree import ElementTree

import pytest
from bench.charts import CHARTS, speeds
from bench.machine import MACHINES, described
from bench.pictures import DOCS, is_current, mark, text_of, write


@pytest.mark.parametrize("name", MACHINES)
def test_the_machines_of_the_docs_are_those_of_the_graph(name):
    assert is_current(name, described(MACHINES[name])), "draw it again: python -m bench.machine"


@pytest.mark.parametrize("name", CHARTS)
def test_charts_show_the_stored_rows(name):
    shown, draw = CHARTS[name]
    found = shown()
    assert is_current(name, found), "draw it again: python -m bench.charts"
    again = text_of(draw(found))
    assert (DOCS / name).read_text(encoding="utf-8").endswith(again[again.index("<svg") :])


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.svg")), ids=lambda path: path.name)
def test_a_picture_is_xml(path):
    ElementTree.parse(path)


def test_a_picture_of_something_else_is_not_current(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.pictures.DOCS", tmp_path)
    assert not is_current("a.svg", 1)
    write("a.svg", 1, "<?xml?><svg/>")
    assert (tmp_path / "a.svg").read_text() == f"{mark(1)}\n<svg/>"
    assert is_current("a.svg", 1)
    assert not is_current("a.svg", 2)


def test_no_speed_is_above_its_bound():
    found = [speed for group in speeds().values() for speed in group]
    assert len(found) >= 9
    for speed in found:
        assert speed.here < 1.001 * speed.bound, speed


def test_units_streams_and_clients_are_there_by_their_part():
    text = described(("mamba2",))
    assert 'residual [shape=box, style="rounded,filled", fillcolor="#dcebfb"' in text
    assert 'ssm [shape=box, style="rounded,filled", fillcolor="#dff3e3"' in text
    assert 'ssm -> gate [label=" y "];' in text
    assert '"memory.state" -> ssm [label=" state_ahead "];' in text
    assert '"memory.record" -> ssm [label=" replayed ", style="dashed"];' in text
    assert 'activations -> lanes [style="dotted"];' in text
