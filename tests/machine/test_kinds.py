"""The machine of some kinds of layers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.hardware import Row
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine import kinds as made
from lightmamba.hardware.machine.counters import losses
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.spine import BACK, FRONT

from .grown import BOTH, GROWN, pretended


def test_it_is_the_spine_and_the_hardware_of_the_kinds():
    found = {unit.name for unit in machine(("mamba2",)).units}
    mine = kind("mamba2").hardware.graph
    assert found == {unit.name for each in (FRONT, mine, BACK) for unit in each.units}


def test_a_kind_without_hardware_is_refused(monkeypatch):
    def known(name):
        return SimpleNamespace(has_hardware=False) if name == "new" else kind(name)

    monkeypatch.setattr(made, "kind", known)
    with pytest.raises(InputError, match=r"does not support new layers, only .*mamba2.*; run the"):
        machine.__wrapped__(("mamba2", "new"))


def test_two_kinds_meet_at_the_spine(both):
    graph = machine(both.kinds)
    assert [stream.name for stream in graph.choices("hadamard.i")] == ["mixed_in", "gated"]
    assert graph.commands["hadamard"][-1].name == "i_from"
    assert graph.kinds == {
        "p": 0, "q": 1, "dt": 2, "B": 3, "C": 4, "x": 5, "z": 6, "out": 7, "logit": 8, "x|z": 9,
    }  # fmt: skip
    assert (graph.places["q"], graph.places["dt"], graph.places["z"]) == (1, 0, 4)


def test_losses_are_those_of_all_kinds(both):
    assert set(losses(both.kinds)) == {*losses(("mamba2",)), "mix"}


def test_a_client_is_wired_at_both_ends(both):
    assert machine(BOTH).ends("history") == ("mix.i_history", "mix.o_history")


def test_what_is_recorded_is_only_where_tokens_may_be_undecided():
    names = [{s.name for s in machine(c.kinds).of(c)} for c in (ArchConfig(), ArchConfig(tokens=2))]
    assert names[1] - names[0] == {"b", "replayed", "recorded"}


def test_more_kinds_of_rows_than_an_epilogue_has_shifts_for(monkeypatch):
    rows = tuple(Row(f"r{n}", "p", "") for n in range(6))
    many = pretended(replace(GROWN, rows=rows))
    monkeypatch.setattr(made, "kind", lambda name: many)
    with pytest.raises(
        InputError, match="layers of kind many have 6 kinds of rows of in_proj, but"
    ):
        machine.__wrapped__(("many",))
