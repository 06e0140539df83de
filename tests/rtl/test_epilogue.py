"""Rows from the lanes' sums: values, order, kinds, losses."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.spine import SECTIONS, rows_per_cycle
from lightmamba.hardware.rtl.epilogue import Epilogue
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.linear import Epilogue as Arithmetic
from tests.support.machine import COMMANDS, Kind
from tests.support.streams import drive

IN, OUT, LOGIT = "in", "out", "head"
PORTS = {
    Kind.DT: "o_dt", Kind.B: "o_conv", Kind.C: "o_conv", Kind.X: "o_conv", Kind.Z: "o_z",
    Kind.OUT: "o_out", Kind.LOGIT: "o_logit",
}  # fmt: skip
TOGETHER = "o_out", "o_logit"  # ports of rows that leave in pairs
LOSSES = {**dict.fromkeys(Kind, "lost_in"), Kind.OUT: "lost_out", Kind.LOGIT: "lost_head"}
PROBES = "rows_first", "rows_second"
SHIFTS = {Kind.DT: 0, Kind.B: 1, Kind.C: 2, Kind.X: 3, Kind.Z: 4}  # places


def machine(lanes: int, *, pairs: bool = True, **more: Any) -> ArchConfig:
    """Hardware whose rows are finished in pairs, if it has two lanes, or one by one."""
    config = ArchConfig(
        lanes=lanes, in_channels=(128 if lanes < 4 else 256) if pairs else 4096, **more
    )
    assert rows_per_cycle(config) == (2 if pairs and lanes > 1 else 1)
    return config


def fields(**given: int) -> dict[str, int]:
    """Command with zeros for what is not said."""
    unknown = set(given) - {field.name for field in COMMANDS["epilogue"]}
    assert not unknown, unknown
    return {field.name: given.get(field.name, 0) for field in COMMANDS["epilogue"]}


def sections(*runs: tuple[Kind, int]) -> dict[str, int]:
    """Kind and end of each section, the rest empty, and the rows."""
    found, end = dict[str, int](), 0
    whole = [*runs, *[(Kind.DT, 0)] * (len(SECTIONS) - len(runs))]
    for name, (kind, count) in zip(SECTIONS, whole, strict=True):
        end += count
        found |= {f"{name}_kind": int(kind), f"{name}_end": end}
    return found | {"rows": end}


def kinds(command: dict[str, int]) -> list[Kind]:
    """Kind of every row."""
    found: list[Kind] = []
    for name in SECTIONS:
        kind, count = Kind(command[f"{name}_kind"]), command[f"{name}_end"] - len(found)
        run = [Kind.X, Kind.Z] if kind == Kind.XZ else [kind]
        found += (run * count)[:count]
    return found


def expected(
    jobs: list[Any], lanes: int, width: int
) -> tuple[dict[str, list[Any]], dict[str, int], list[Any]]:
    """Rows by port (in pairs by transfer), losses by name, and what the two probes show."""
    out: dict[str, list[Any]] = {port: [] for port in dict.fromkeys(PORTS.values())}
    lost = dict.fromkeys(LOSSES.values(), 0)
    shown: list[list[Any]] = [[], []]
    for command, sums, rms in jobs:
        for row, kind in enumerate(kinds(command)):
            static, total = command[f"shift_{SHIFTS.get(kind, 0)}"], 0
            for part, (mantissa, j) in enumerate(rms):
                acc = sums[row // lanes * len(rms) + part][row % lanes]
                value, losses = Arithmetic()(
                    np.array([acc]), command["acc_shift"], np.array([mantissa]),
                    np.array([static + j]), INT16 if command["narrow"] else INT32,
                )  # fmt: skip
                total += int(value[0])
                lost[LOSSES[kind]] += losses
            conv, second = PORTS[kind] == "o_conv", row % lanes % width
            if PORTS[kind] in TOGETHER and second:
                out[PORTS[kind]][-1].append(total)
            elif PORTS[kind] in TOGETHER:
                out[PORTS[kind]].append([total])
            else:
                out[PORTS[kind]].append({"kind": int(kind), "value": total} if conv else total)
            shown[second].append({"kind": int(kind), "value": total})
    return out, lost, shown


def run(dut: Epilogue, jobs: list[Any], **options: Any) -> Any:
    """Do ``jobs`` of (command, sums, rms), and check all that comes out."""
    out, lost, shown = expected(jobs, dut.config.lanes, len(dut.rows))
    inputs: dict[str, list[Any]] = {
        "command": [command for command, _, _ in jobs],
        "i": [sums for _, rows, _ in jobs for sums in rows],
        "i_rms_in": [], "i_rms_out": [],
    }  # fmt: skip
    for command, _, rms in jobs:
        port = "i_rms_out" if command["gated"] else "i_rms_in"
        inputs[port] += [{"mantissa": m, "j": j} for m, j in rms]
    got = drive(
        dut, inputs, {port: len(rows) for port, rows in out.items()},
        counts=(*lost, "busy"), probes=PROBES, settle=30, **options,
    )  # fmt: skip
    for port in TOGETHER:
        got.out[port] = [[x["first"], x["second"]][: 1 + x["both"]] for x in got.out[port]]
    for port, rows in out.items():
        assert got.out[port] == rows, port
    assert [got.out[probe] for probe in PROBES] == shown
    assert {name: got.counts[name] for name in lost} == lost
    return got


def draw(config: ArchConfig, rng: np.random.Generator, what: str, **given: int) -> Any:
    """Random job: sums of every size, some of them too large for the formats."""
    command = fields(
        gated=int(what == OUT), narrow=int(what == IN), acc_shift=int(rng.choice([0, 1, 9, 62])),
        **{f"shift_{name}": int(rng.integers(5, 64)) for name in SHIFTS.values()},
        **given,
    )  # fmt: skip
    command["parts"] = command["parts"] or 1
    transfers = -(-command["rows"] // config.lanes) * command["parts"]
    top = (1 << (config.acc_bits - 1)) - 1
    size = rng.integers(0, config.acc_bits, (transfers, config.lanes))
    sums = rng.integers(-top - 1, top, (transfers, config.lanes), endpoint=True) >> size
    sums = np.where(rng.random(sums.shape) < 0.1, rng.choice([-top - 1, top, 0], sums.shape), sums)
    mantissas = rng.choice([0, 1, 1 << 15, 65535, 40000], command["parts"])
    j = rng.integers(-32, 32, command["parts"])
    return command, sums.tolist(), [(int(m), int(k)) for m, k in zip(mantissas, j, strict=True)]


def small(job: Any) -> Any:
    """The same with rows so small that two parts of 16 bits add up to no more."""
    command, sums, rms = job
    shifts = {f"shift_{name}": 41 for name in SHIFTS.values()} | {"acc_shift": 5}
    return command | shifts, sums, [(m, abs(j) % 4) for m, j in rms]


def in_proj(heads: int, headdim: int) -> dict[str, int]:
    """Sections of a small in_proj, reordered."""
    turns = 2 * (heads - 1) * headdim
    return sections((Kind.DT, heads), (Kind.B, 5), (Kind.C, 1), (Kind.X, headdim),
                    (Kind.XZ, turns), (Kind.Z, headdim))  # fmt: skip


@pytest.mark.parametrize(("lanes", "pairs", "stalls"), [
    (1, True, 0.3), (2, True, 0.2), (3, True, 0.0), (4, True, 0.5), (9, True, 0.1), (32, True, 0.1),
    (2, False, 0.2), (9, False, 0.1),
])  # fmt: skip
def test_equals_numerics(lanes, pairs, stalls):
    config = machine(lanes, pairs=pairs)
    rng = np.random.default_rng(lanes)
    naive = sections((Kind.Z, 4), (Kind.X, 6), (Kind.B, 2), (Kind.C, 2), (Kind.DT, 1))
    turns = sections((Kind.XZ, 6), (Kind.B, 1), (Kind.XZ, 2 * lanes))
    jobs = [
        job
        for _ in range(2)
        for job in (
            draw(config, rng, IN, **in_proj(3, 5)),
            draw(config, rng, OUT, parts=3, **sections((Kind.OUT, 7))),
            draw(config, rng, IN, **naive),
            draw(config, rng, OUT, **sections((Kind.OUT, 2 * lanes))),
            draw(config, rng, LOGIT, **sections((Kind.LOGIT, 10))),
            small(draw(config, rng, IN, parts=2, **in_proj(1, 6))),
            draw(config, rng, IN, **turns),
            draw(config, rng, OUT, parts=15, **sections((Kind.OUT, 1))),
        )
    ]
    got = run(Epilogue(config), jobs, stalls=stalls, seed=lanes)
    rows = sum(command["rows"] * command["parts"] for command, _, _ in jobs)
    lost = sum(got.counts[name] for name in set(LOSSES.values()))
    assert rows // 10 < lost < rows


def test_worked_values():
    """Two roundings of halves up, both saturations, a shift that is cut at 0 and at 62."""
    base = fields(parts=1, acc_shift=1, narrow=1, shift_0=4, **sections((Kind.DT, 3)))
    wide = base | sections((Kind.OUT, 3)) | {"narrow": 0, "gated": 1, "parts": 2}
    top = 1 << 39
    jobs = [
        # (5 / 2 -> 3) * 8 / 16 = 1.5 -> 2; -5 / 2 -> -2, * 8 / 16 = -1; 200001 -> 50001, too large
        (base, [[5, -5], [200001, 7]], [(8, 0)]),
        # A shift of 4 - 30 is 0: 2 * 8; of 63 + 31 is 62. 2^39 is one too many for 40 bits.
        (base, [[3, -3], [1, 7]], [(8, -30)]),
        (base | {"shift_0": 63}, [[1 << 40, -(1 << 40)], [1, 7]], [(65535, 31)]),
        # Parts: 3 + (3·5); each part alone is saturated to int32, their sum is not.
        (
            wide | {"shift_0": 0},
            [[6, 1 << 44], [6, 1 << 44], [-(1 << 44), 9], [-(1 << 44), 9]],
            [(1, 0), (5, 0)],
        ),
        # Just inside of 40 bits, and just outside.
        (wide | {"parts": 1, "shift_0": 23}, [[2 * top - 2, 2 * top], [-2 * top, 0]], [(64, 0)]),
    ]
    got = run(Epilogue(machine(2, out_channels=1 << 15)), jobs)
    assert got.out["o_dt"] == [2, -1, 32767, 16, -8, 8, 0, 0, 0]
    highest, lowest = (1 << 31) - 1, -(1 << 31)
    assert got.out["o_out"] == [
        [18, 2 * highest], [2 * lowest], [(1 << 22), (1 << 22)], [-(1 << 22)],
    ]  # fmt: skip
    # 2^44 / 2 is too large for 40 bits too: two losses a part.
    assert got.counts["lost_in"] == 2
    assert got.counts["lost_out"] == 4 + 4 + 1


@pytest.mark.parametrize(("second", "passed"), [(Kind.Z, [2]), (Kind.X, [])])
def test_a_blocked_row_holds_the_rest(second, passed):
    """The second of a pair passes the first on the way to another unit; no later row does."""
    runs = (Kind.B, 1), (second, 1), (Kind.X, 2), (Kind.Z, 30)
    command = fields(parts=1, narrow=1, **sections(*runs))
    outputs = {"o_z": len(passed)} if passed else {}
    taken = drive(
        Epilogue(machine(3)),
        {"command": [command], "i_rms_in": [{"mantissa": 1, "j": 0}], "i": [[1, 2, 3]] * 6},
        outputs,
        counts=("o_z.valid",),
        settle=60,
    )
    assert taken.out == dict.fromkeys(outputs, passed)
    assert taken.counts["o_z.valid"] == len(passed)


@pytest.mark.parametrize(
    ("lanes", "pairs"), [(1, True), (2, True), (9, True), (32, True), (9, False)]
)
@pytest.mark.parametrize("kind", [Kind.LOGIT, Kind.OUT])
def test_rows_of_one_unit_leave_in_pairs(lanes, pairs, kind):
    """Both of a pair in one transfer, the last of an odd slot or job alone; a pair per cycle."""
    rows, port = 3 * lanes + 1, PORTS[kind]
    command = fields(parts=1, acc_shift=3, **sections((kind, rows)))
    sums = np.arange(4 * lanes).reshape(4, lanes).tolist()
    dut = Epilogue(machine(lanes, pairs=pairs))
    got, width = run(dut, [(command, sums, [(1000, 1)])]), len(dut.rows)
    sizes = [len(x) for x in got.out[port]]
    assert sizes == 3 * ([width] * (lanes // width) + [1] * (lanes % width)) + [1]
    assert np.ptp(got.cycles[port]) == len(sizes) - 1


@pytest.mark.parametrize(("lanes", "pairs"), [
    (1, True), (4, True), (9, True), (32, True), (4, False), (32, False)
])  # fmt: skip
@pytest.mark.parametrize("kind", [Kind.XZ, Kind.X])
def test_latency_and_throughput(lanes, pairs, kind):
    """A pair in every cycle where its rows part, else a row; across transfers and sections."""
    command = fields(parts=1, narrow=1, acc_shift=3, **sections((kind, 4 * lanes), (Kind.XZ, 2)))
    transfers = -(-command["rows"] // lanes)
    sums = np.arange(transfers * lanes).reshape(transfers, lanes).tolist()
    dut = Epilogue(machine(lanes, pairs=pairs))
    got, count = run(dut, [(command, sums, [(1000, 1)])]), -(-lanes // len(dut.rows))
    leaving = sorted(c for port in set(PORTS.values()) for c in got.cycles.get(port, []))
    slot = count if kind == Kind.XZ else lanes  # cycles
    first = leaving[0]
    assert leaving[4 * lanes - 1] - first == 4 * slot * dut.interval - 1
    assert first - got.cycles["i"][0] == dut.latency - (count - 1)
    ended = got.counts["busy"] + got.cycles["command"][0]
    assert leaving[-1] + 1 < ended <= leaving[-1] + 3 + count  # dropped pairs pass too


def test_waits_for_its_rms():
    """Nothing of a job is issued before all its records are there."""
    command = fields(parts=9, gated=1, **sections((Kind.OUT, 2)))
    job = command, [[n + 1, -n] for n in range(9)], [(1 << n, -n) for n in range(9)]
    got = run(Epilogue(machine(2)), [job], stalls=0.8)
    assert got.cycles["i"][0] > got.cycles["i_rms_out"][-1]
