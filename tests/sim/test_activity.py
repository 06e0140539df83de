"""Shares of time from made-up records."""

from dataclasses import asdict

import numpy as np
import pytest
from msgspec import convert

from lightmamba.device.sim.activity import Activity, Strip, activity, unit_cycles, works
from lightmamba.device.sim.observe import Record
from tests.support.machine import MACHINE, Kind

KINDS = ("mamba2",)


def record(*cycles, kinds=None):
    values = np.zeros(len(cycles), dtype=[("kind", "u1")])
    values["kind"] = Kind.X if kinds is None else kinds
    return Record(values, np.array(cycles, dtype=np.uint64))


def seen(**probes):
    """Two layers of a model: rows from cycle 1,000 on, everything else as given."""
    kinds = [Kind.B, Kind.X, Kind.X, Kind.Z, Kind.OUT] * 2 + [Kind.LOGIT] * 3
    cycles = [1000, 1001, 1002, 1010, 1100, 1200, 1201, 1202, 1210, 1300, 1400, 1401, 1402]
    every = record(*cycles, kinds=kinds)
    odd = np.arange(len(cycles)) % 2 == 1
    found = {probe: record() for _, probe, _ in works(MACHINE) if probe != "rows"}
    found |= {"rows_first": every.where(~odd), "rows_second": every.where(odd)}
    return found | probes


def test_rows_go_to_their_units():
    found = unit_cycles(seen(gate=record(7, 8)), KINDS)
    assert found["rows of x"].tolist() == [1001, 1002, 1201, 1202]
    assert found["rows of out_proj"].tolist() == [1100, 1300]
    assert found["rows of the head"].tolist() == [1400, 1401, 1402]
    assert found["gate"].tolist() == [7, 8]
    assert found["convolution"].tolist() == []


def test_shares_and_marks_counted_from_the_first_value():
    quantized = record(*range(990, 1000))
    found = activity(seen(quant_in=quantized), layers=[4, 4], kinds=KINDS, layer=0)
    assert (found.token.start, found.token.bin_cycles) == (0, 2)  # 413 cycles in 350 bins
    assert found.token.busy["quantizer of in_proj"][:6] == (1, 1, 1, 1, 1, 0)
    assert found.token.busy["rows of x"][5:7] == (0.5, 0.5)
    assert found.token.marks == {"layer 0": 10, "layer 1": 210, "head": 410}
    assert found.of_layer.marks == {"in_proj": 10, "out_proj": 110, "next layer": 210}
    assert (found.of_layer.start, found.of_layer.bin_cycles) == (10, 1)
    assert found.of_layer.cycles == 241  # the layer's 200, a fifth of the next, both ends
    assert found.of_layer.busy["rows of out_proj"][100] == 1
    assert sum(found.of_layer.busy["rows of x"]) == 4


def test_two_in_one_cycle_are_busy_once():
    found = activity(seen(gate=record(1050, 1050, 1051)), layers=[4, 4], kinds=KINDS, layer=0)
    assert sum(found.of_layer.busy["gate"]) == 2


def test_the_last_layer_ends_with_the_token():
    found = activity(seen(), layers=[4, 4], kinds=KINDS)
    assert found.layer == 1
    assert "next layer" not in found.of_layer.marks
    assert found.of_layer.start + found.of_layer.cycles == 403


def test_plain_values_come_back():
    found = activity(seen(), layers=[4, 4], kinds=KINDS)
    assert convert(asdict(found), Activity) == found


@pytest.mark.parametrize(
    ("layers", "layer", "sentence"),
    [
        ([4, 4], 2, "layer must be in 0..1, not 2"),
        ([4] * 3, 0, "8 rows of in_proj, not those of whole"),
    ],
)
def test_what_cannot_be(layers, layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        activity(seen(), layers, KINDS, layer)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0, 0, {"gate": (1.0,)}), "bin_cycles must be at least 1"),
        ((0, 1, {"gate": (1.0,), "conv": ()}), "as many bins for each"),
        ((0, 1, {"gate": (1.5,)}), "shares from 0 to 1, not 1.5"),
    ],
)
def test_strips_are_checked(values, sentence):
    start, bin_cycles, busy = values
    with pytest.raises(ValueError, match=sentence):
        Strip(start, bin_cycles, busy, marks={})
