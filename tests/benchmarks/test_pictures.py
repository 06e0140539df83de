"""The pictures of the docs show the graph, the diagrams and the stored rows of today."""

from xml.etree import ElementTree

import pytest
from bench.charts import CHARTS, GROUPS
from bench.diagrams import DIAGRAMS, DOCS
from bench.machine import MACHINES, described, mark


@pytest.mark.parametrize("name", MACHINES)
def test_the_machines_of_the_docs_are_those_of_the_graph(name):
    first = (DOCS / name).read_text(encoding="utf-8").splitlines()[0]
    assert first == mark(described(MACHINES[name])), "draw it again: python -m bench.machine"


@pytest.mark.parametrize("name", DIAGRAMS | CHARTS)
def test_diagrams_and_charts_are_drawn_by_their_scripts(name):
    script = "diagrams" if name in DIAGRAMS else "charts"
    found = (DOCS / name).read_text(encoding="utf-8")
    assert found == (DIAGRAMS | CHARTS)[name](), f"draw it again: python -m bench.{script}"
    ElementTree.fromstring(found)


def test_no_speed_is_above_its_bound_or_outside_the_picture():
    speeds = [speed for make in GROUPS.values() for speed in make()]
    assert len(speeds) >= 9
    for speed in speeds:
        assert 5 < speed.here < 1.001 * speed.bound < 1000, speed


def test_units_streams_and_clients_are_there_by_their_part():
    text = described(("mamba2",))
    assert 'residual [shape=box, style="rounded,filled", fillcolor="#dcebfb"' in text
    assert 'ssm [shape=box, style="rounded,filled", fillcolor="#dff3e3"' in text
    assert 'ssm -> gate [label=" y "];' in text
    assert '"memory.state" -> ssm [label=" state_ahead "];' in text
    assert '"memory.record" -> ssm [label=" replayed ", style="dashed"];' in text
    assert 'activations -> lanes [style="dotted"];' in text
