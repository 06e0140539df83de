"""Jobs of the epilogue that keep the 1/rms of the job before them, as blocks of experts do."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.spine import SECTIONS
from lightmamba.hardware.rtl.epilogue import Epilogue
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.linear import Epilogue as Arithmetic
from tests.support.streams import Run, drive

KINDS = ("mamba2", "experts")
CONFIG = ArchConfig(kinds=KINDS, lanes=2, in_channels=128, added_channels=128)
MACHINE = machine(KINDS, wide=True)
PORTS = {"router": ["o_router"], "a|b": ["o_a", "o_b"], "dt": ["o_dt"], "out": ["o_out"]}
SHIFT = 20
Rms = tuple[int, int]


@dataclass
class Job:
    """Rows of one kind, two to a slot; without ``rms`` it says ``again``."""

    kind: str
    sums: list[list[int]]  # of a slot and part each
    rms: list[Rms] = field(default_factory=list)
    parts: int = 1

    @property
    def command(self) -> dict[str, int]:
        names = [f.name for f in MACHINE.own("epilogue")]
        rows = len(self.sums) // self.parts * 2
        found = dict.fromkeys(names, 0) | {
            "rows": rows, "parts": self.parts, "gated": int(self.kind == "out"),
            "narrow": int(self.kind != "out"), "again": int(not self.rms),
            "first_kind": MACHINE.kinds[self.kind],
        }  # fmt: skip
        return found | {
            name: rows if name.endswith("_end") else SHIFT
            for name in names
            if name.startswith("shift") or name.removesuffix("_end") in SECTIONS
        }

    def rows(self, stored: list[Rms]) -> list[int]:
        """Finished rows, their parts added."""
        found = np.zeros((len(self.sums) // self.parts, 2), np.int64)
        for part in range(self.parts):
            mantissa, j = stored[part]
            found += Arithmetic()(
                np.array(self.sums[part :: self.parts]), 0, np.array(mantissa),
                np.array(SHIFT + j), INT32 if self.kind == "out" else INT16,
            )[0]  # fmt: skip
        return found.ravel().tolist()


def run(jobs: list[Job], **options: Any) -> Run:
    """Do jobs one after another, and compare their rows."""
    wanted: dict[str, list[Any]] = {port: [] for ports in PORTS.values() for port in ports}
    stored = [(0, 0)] * 16
    for job in jobs:
        stored[: len(job.rms)] = job.rms
        rows, ports = job.rows(stored), PORTS[job.kind]
        for n, port in enumerate(ports):
            wanted[port] += rows[n :: len(ports)]
    pairs = zip(wanted["o_out"][::2], wanted["o_out"][1::2], strict=True)
    wanted["o_out"] = [{"first": a, "second": b, "both": 1} for a, b in pairs]
    given: dict[str, list[Any]] = {
        port: [
            {"mantissa": m, "j": j}
            for job in jobs
            for m, j in job.rms
            if gated == (job.kind == "out")
        ]
        for port, gated in (("i_rms_in", False), ("i_rms_out", True))
    }
    given["command"] = [job.command for job in jobs]
    given["i"] = [sums for job in jobs for sums in job.sums]
    counts = {port: len(rows) for port, rows in wanted.items()}
    got = drive(Epilogue(CONFIG), given, counts, settle=30, **options)
    assert got.out == wanted
    return got


def draw(rng: np.random.Generator, kind: str, slots: int, *, again: bool, parts: int = 1) -> Job:
    """Random sums, and 1/rms of any size."""
    sums = rng.integers(-(1 << 20), 1 << 20, (slots * parts, 2)).tolist()
    rms = [] if again else [
        (int(rng.integers(1, 1 << 16)), int(rng.integers(-8, 8))) for _ in range(parts)
    ]  # fmt: skip
    return Job(kind, sums, rms, parts)


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.4)])
def test_jobs_that_keep_it_are_mixed_with_others(seed, stalls):
    """Layers of experts and of Mamba2 in any order, with one slot and more."""
    rng, jobs = np.random.default_rng(seed), list[Job]()
    for _ in range(8):
        slots = int(rng.choice([1, 2, 5]))
        if rng.integers(3):
            jobs.append(draw(rng, "router", slots, again=False))
            jobs += [draw(rng, "a|b", slots, again=True) for _ in range(int(rng.integers(1, 5)))]
        else:
            jobs.append(draw(rng, "dt", slots, again=False))
        jobs.append(draw(rng, "out", slots, again=False, parts=int(rng.integers(1, 5))))
    run(jobs, stalls=stalls, seed=seed)


ONE, TWO, THREE, FOUR = (1 << 13, 0), (1 << 12, 0), (3 << 12, 1), (5 << 12, -1)
SUMS = [[1 << 15, -(1 << 15)]]


def test_worked_values():
    """The 1/rms is that of the job before, for as many jobs as say so."""
    again = Job("a|b", SUMS)
    got = run([Job("router", SUMS, [ONE]), again, again, Job("dt", SUMS, [TWO]), again])
    assert got.out["o_router"] == [256, -256]
    assert (got.out["o_a"], got.out["o_b"]) == ([256, 256, 128], [-256, -256, -128])


def test_the_one_of_out_proj_replaces_it():
    """After out_proj a job would keep its 1/rms, the first of its parts or all of them."""
    again = Job("a|b", SUMS)
    got = run([
        Job("router", SUMS, [ONE]), Job("out", SUMS, [TWO]), again,
        Job("out", 3 * SUMS, [THREE, FOUR, ONE], parts=3), again, Job("out", 3 * SUMS, parts=3),
    ])  # fmt: skip
    assert got.out["o_a"] == [128, 192]
    assert got.out["o_out"][1] == got.out["o_out"][2]


def test_it_waits_for_no_record():
    """Its first sums are taken as soon as it begins; the next 1/rms stays for the next job."""
    jobs = [Job("router", SUMS, [ONE]), Job("a|b", SUMS), Job("dt", SUMS, [TWO])]
    got = run(jobs)
    assert got.cycles["i"][1] == got.cycles["command"][1] + 1
    assert got.cycles["i_rms_in"][1] == got.cycles["command"][2] + 1
