"""The picture of the machine is that of the graph."""

from bench.machine import OUT, described, mark

ALONE = ("mamba2",)


def test_the_picture_of_the_docs_was_drawn_from_this_machine():
    said = OUT.read_text(encoding="utf-8").splitlines()[0]
    assert said == mark(described(ALONE)), "draw it again: python -m bench.machine"


def test_units_streams_and_clients_are_there_by_their_part():
    text = described(ALONE)
    assert 'residual [shape=box, style="rounded,filled", fillcolor="#dcebfb"' in text
    assert 'ssm [shape=box, style="rounded,filled", fillcolor="#dff3e3"' in text
    assert 'ssm -> gate [label=" y "];' in text
    assert '"memory.state" -> ssm [label=" state_ahead "];' in text
    assert '"memory.record" -> ssm [label=" replayed ", style="dashed"];' in text
    assert 'activations -> lanes [style="dotted"];' in text
