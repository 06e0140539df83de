"""One row of a pair: kind, value and losses, without the lanes' order around it."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.epilogue_row import ROW_BITS, EpilogueRow, finished
from lightmamba.hardware.rtl.layouts import RMS, command, i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.linear import Epilogue as Arithmetic
from tests.rtl.test_epilogue import SHIFTS, fields, kinds, sections
from tests.support.machine import Kind
from tests.support.streams import drive

LOSSES = "lost_in", "lost_out", "lost_head"


class Bench(wiring.Component):
    """The row with a stream of issues; it shows the finished ones, valid or not."""

    def __init__(self, config: ArchConfig, place: int, given: dict[str, int]) -> None:
        self.row, self.given = EpilogueRow(config, Arithmetic(), place), given
        count = len(range(place, config.lanes, 2))
        issue = {
            "there": 1, "first": 1, "last": 1, "row": ROW_BITS, "index": 5, "rms": RMS,
            "sums": data.ArrayLayout(signed(config.acc_bits), count),
        }  # fmt: skip
        super().__init__(
            {"i": i_stream(data.StructLayout(issue)), "o": o_stream(finished(ArchConfig()))}
            | {name: Out(2) for name in LOSSES}
        )

    def elaborate(self, platform: object) -> Module:
        m, row, given = Module(), self.row, self.i.payload
        m.submodules.row = row
        pipe, queue, issue = Pipe(m), Queue(m, self.o, latency=row.latency), Signal()
        rms = pipe.delay(pipe.input(Value.cast(given.rms)), 1)
        m.d.comb += [
            self.i.ready.eq(queue.room),
            issue.eq(self.i.valid & queue.room),
            row.issue.eq(issue & given.there),
            Value.cast(row.rms).eq(rms.value),
            row.fields.eq(command("epilogue").const(self.given)),
        ]
        for name in ("first", "last", "row", "index", "sums"):
            m.d.comb += Value.cast(getattr(row, name)).eq(Value.cast(given[name]))
        for name in LOSSES:
            m.d.comb += getattr(self, name).eq(getattr(row, name))
        emitted = row.issue & given.last
        queue.connect(emitted, pipe.valid(emitted, row.latency), row.o)
        return m


def loss(kind: Kind) -> str:
    return {Kind.OUT: "lost_out", Kind.LOGIT: "lost_head"}.get(kind, "lost_in")


def check(config: ArchConfig, place: int, given: dict[str, int], slots: Any, **options: Any) -> Any:
    """Slots of rows, (row, sums by part) by index, and (mantissa, j) by part, through the row."""
    every, shown, lost = kinds(given), [], dict.fromkeys(LOSSES, 0)
    beats, form = [], INT16 if given["narrow"] else INT32
    for rows, rms in slots:
        totals = [0] * len(rows)
        for part, (mantissa, j) in enumerate(rms):
            for index, (row, sums) in enumerate(rows):
                beats.append(
                    {
                        "there": 1, "first": int(part == 0), "last": int(part == len(rms) - 1),
                        "row": row, "index": index, "sums": sums[part],
                        "rms": {"mantissa": mantissa, "j": j},
                    }
                )  # fmt: skip
                if row + place >= len(every):
                    continue
                kind = every[row + place]
                value, losses = Arithmetic()(
                    np.array([sums[part][index]]), given["acc_shift"], np.array([mantissa]),
                    np.array([given[f"shift_{SHIFTS.get(kind, 0)}"] + j]), form,
                )  # fmt: skip
                totals[index] += int(value[0])
                lost[loss(kind)] += losses
            if place and config.lanes % 2:  # the last pair has no second row
                beats.append(beats[-1] | {"there": 0})
        for (row, _), total in zip(rows, totals, strict=True):
            known = row + place < len(every)
            kind = int(every[row + place]) if known else 0
            shown.append({"valid": 1, "kind": kind, "value": total} if known else None)
    dut = Bench(config, place, given)
    got = drive(dut, {"i": beats}, {"o": len(shown)}, counts=LOSSES, settle=20, **options)
    assert [o if o["valid"] else None for o in got.out["o"]] == shown
    assert got.counts == lost
    return got, dut


@pytest.mark.parametrize(
    ("lanes", "place", "parts", "narrow"),
    [
        (1, 0, 4, 0),
        (2, 1, 1, 1),
        (4, 0, 1, 1),
        (4, 1, 3, 0),
        (5, 1, 2, 0),
        (33, 0, 1, 1),
        (40, 1, 3, 0),
    ],
)
def test_equals_numerics(lanes, place, parts, narrow):
    config, rng = ArchConfig(lanes=lanes, in_channels=128), np.random.default_rng(lanes)
    runs = ((Kind.DT, 7), (Kind.XZ, 50), (Kind.B, 9), (Kind.XZ, 44), (Kind.C, 1),
            (Kind.LOGIT if place else Kind.OUT, 60))  # fmt: skip
    given = fields(acc_shift=7, narrow=narrow, **sections(*runs))
    given |= {f"shift_{name}": 25 + 2 * n for n, name in enumerate(SHIFTS.values())}
    count, bits, parts = len(range(place, lanes, 2)), config.acc_bits, range(parts)

    def sums() -> list[int]:
        low, top = -(1 << bits - 1), 1 << bits - 1
        return [int(v) >> int(rng.integers(0, bits)) for v in rng.integers(low, top, count)]

    numbers = [*range(given["rows"] + 3), *map(int, rng.integers(0, 1 << ROW_BITS, 2 * count))]
    slots = [
        (
            [(row, [sums() for _ in parts]) for row in numbers[at : at + count]],
            [(int(rng.integers(0, 1 << 16)), int(rng.integers(-32, 32))) for _ in parts],
        )
        for at in range(0, len(numbers), count)
    ]
    got, _ = check(config, place, given, slots, stalls=0.2, seed=lanes)
    assert sum(got.counts.values()) > len(numbers) // 8


def test_worked_kinds():
    """X and Z by turns from row 3 on, then from row 6; sections that are empty."""
    runs = ((Kind.DT, 3), (Kind.B, 0), (Kind.XZ, 3), (Kind.C, 0), (Kind.XZ, 3), (Kind.B, 1))
    given = fields(acc_shift=0, narrow=1, **sections(*runs))
    slots = [([(row, [[row]])], [(1, 0)]) for row in range(12)]
    got, _ = check(ArchConfig(lanes=1), 0, given, slots)
    found = [Kind(o["kind"]).name if o["valid"] else "" for o in got.out["o"]]
    assert found == ["DT", "DT", "DT", "X", "Z", "X", "X", "Z", "X", "B", "", ""]
    assert [o["value"] for o in got.out["o"]][:10] == list(range(10))


@pytest.mark.parametrize("lanes", [1, 16, 17])
def test_latency_and_throughput(lanes):
    config, given = (
        ArchConfig(lanes=lanes, in_channels=128),
        fields(narrow=1, **sections((Kind.XZ, 40))),
    )
    count = len(range(0, lanes, 2))
    slots = [([(n, [[n] * count])], [(3, 1)]) for n in range(40)]
    got, dut = check(config, 0, given, slots)
    apart = np.array(got.cycles["o"]) - np.array(got.cycles["i"])
    assert set(apart) == {dut.row.latency + 2}  # the queue takes two
    assert np.diff(got.cycles["o"]).tolist() == [dut.row.interval] * 39
