"""The SSM unit and the store of B and C before it, against ``numerics.ssm.SsmStep``."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.arch.program import Kind
from lightmamba.rtl.bc import BCStore
from lightmamba.rtl.ssm import Ssm

from ..support.datapath import corners
from ..support.streams import Run, drive

TWO_WORDS = ArchConfig(state_elements=32, padded_state=64, groups=2)
TWO_BLOCKS = ArchConfig(state_elements=64, padded_state=64)
SSM = "submodules.ssm."
LOST_H, LOST_Y = SSM + "lost_h", SSM + "lost_y"


def machine(config: ArchConfig) -> Any:
    """The unit and its store, wired as in the machine."""
    m = Module()
    m.submodules.bc, m.submodules.ssm = bc, ssm = BCStore(config), Ssm(config)
    m.d.comb += [
        bc.address.eq(ssm.address),
        Value.cast(ssm.B).eq(Value.cast(bc.B)),
        Value.cast(ssm.C).eq(Value.cast(bc.C)),
        ssm.i_bc.valid.eq(bc.o_ready.valid),
        bc.o_ready.ready.eq(ssm.i_bc.ready),
    ]
    return m


class Job:
    """One layer of one token: random operands, what the unit is fed, and what must come out."""

    def __init__(
        self, config: ArchConfig, seed: int, *, groups: int, per_group: int, headdim: int,
        d_state: int, dithered: bool = True,
    ) -> None:  # fmt: skip
        self.config, self.d_state, self.groups, self.per_group = config, d_state, groups, per_group
        self.size, self.padded = config.state_elements, -(-d_state // BLOCK) * BLOCK
        rng, heads = np.random.default_rng(seed), groups * per_group
        blocks = self.padded // BLOCK
        self.heads, self.headdim, self.dithered = heads, headdim, dithered

        self.dt = abs(corners(rng, heads, 17))
        self.dt_shift = rng.integers(11, 40, heads)
        self.decay = abs(corners(rng, heads, 25))
        self.D = corners(rng, heads, 16)
        self.x = corners(rng, (heads, headdim), 8)
        self.x_exp = rng.integers(0, 10, (heads, headdim))
        self.B, self.C = corners(rng, (2, groups, self.padded), 8)
        self.B[:, d_state:], self.C[:, d_state:] = 0, 0
        self.B_exp, self.C_exp = rng.integers(0, 10, (2, groups, blocks))
        self.h = corners(rng, (heads, headdim, self.padded), 8)
        self.h[..., d_state:] = 0
        self.h_exp = rng.integers(0, 25, (heads, headdim, blocks))
        self.frame, self.y, self.D_shift = rng.integers((-40, 8, -10), (-10, 24, 30))

    def expected(self, token: int) -> tuple[Any, Any, Any, int, int]:
        """State, exponents, y, and both losses: as in ``engine.reference``."""
        op = replace(self.config.ssm, rounding="dither" if self.dithered else "half_up")
        B, B_exp, C, C_exp = (
            np.repeat(v[None], self.per_group, axis=1)
            for v in (self.B, self.B_exp, self.C, self.C_exp)
        )
        shift = (
            self.frame + self.dt_shift[:, None, None] - self.x_exp[..., None] - B_exp[:, :, None]
        )
        h, exp, lost_h = op.update(
            self.h[None], self.h_exp[None], self.decay[None], (self.dt[:, None] * self.x)[None], B,
            np.clip(shift, -31, 62), np.array([token]),
        )  # fmt: skip
        read, lost_read = op.read(h, exp, C, C_exp, self.y)
        y, lost_skip = op.skip(read, self.D, self.x[None], self.D_shift - self.x_exp[None])
        return h[0], exp[0], y[0], lost_h, lost_read + lost_skip

    def words(self, h: Any, exp: Any) -> list[Any]:
        """State as the unit's words, in order."""
        q = h.reshape(-1, self.size).tolist()
        e = exp.reshape(-1, self.size // BLOCK).tolist()
        return [{"q": a, "exp": b} for a, b in zip(q, e, strict=True)]

    def inputs(self) -> dict[str, list[Any]]:
        """What is fed to :func:`machine`."""
        elements = [
            {"kind": kind, "q": int(q[g, n]), "exp": int(exp[g, n // BLOCK])}
            for kind, q, exp in ((Kind.B, self.B, self.B_exp), (Kind.C, self.C, self.C_exp))
            for g in range(self.groups)
            for n in range(self.d_state)
        ]
        heads = zip(self.dt, self.dt_shift, self.decay, self.D, strict=True)
        return {
            "submodules.bc.command": [{"groups": self.groups, "d_state": self.d_state}],
            "submodules.bc.i": elements,
            "submodules.ssm.command": [
                {
                    "heads": self.heads,
                    "per_group": self.per_group,
                    "headdim": self.headdim,
                    "words": self.padded // self.size,
                    "stride": self.padded,
                    "frame": int(self.frame),
                    "y": int(self.y),
                    "D_shift": int(self.D_shift),
                    "dither": int(self.dithered),
                }
            ],
            "submodules.ssm.i_head": [
                dict(zip(("dt", "shift", "decay", "D"), map(int, head), strict=True))
                for head in heads
            ],
            "submodules.ssm.i_x": [
                {"kind": Kind.X, "q": int(q), "exp": int(e)}
                for q, e in zip(self.x.flat, self.x_exp.flat, strict=True)
            ],
            "submodules.ssm.i_state": self.words(self.h, self.h_exp),
        }


def run(
    dut: Any, jobs: list[Job], *, token: int = 0, stalls: float = 0.0,
    slow: dict[str, float] | None = None,
) -> Run:  # fmt: skip
    """Feed jobs back to back to a :func:`machine`."""
    inputs: dict[str, list[Any]] = {}
    for job in jobs:
        for name, values in job.inputs().items():
            inputs.setdefault(name, []).extend(values)
    return drive(
        dut, inputs,
        {SSM + "o_state": len(inputs[SSM + "i_state"]), SSM + "o_y": len(inputs[SSM + "i_x"])},
        stalls=stalls, slow=slow, seed=token,
        counts=(LOST_H, LOST_Y, SSM + "waiting", SSM + "busy"),
        hold={SSM + "token": token}, settle=40, limit=20_000,
    )  # fmt: skip


def check(result: Run, jobs: list[Job], token: int = 0) -> None:
    """Compare with the numerics."""
    states, ys, lost_h, lost_y = [], [], 0, 0
    for job in jobs:
        h, exp, y, h_overflows, y_overflows = job.expected(token)
        states += job.words(h, exp)
        ys += y.ravel().tolist()
        lost_h, lost_y = lost_h + h_overflows, lost_y + y_overflows
    assert result.out[SSM + "o_state"] == states
    assert result.out[SSM + "o_y"] == ys
    assert (result.counts[LOST_H], result.counts[LOST_Y]) == (lost_h, lost_y)


def test_equals_numerics() -> None:
    """Jobs back to back: groups, heads that share them, words left out, half up, dither."""
    jobs = [
        Job(TWO_WORDS, 1, groups=2, per_group=2, headdim=3, d_state=40, dithered=False),
        Job(TWO_WORDS, 2, groups=1, per_group=2, headdim=4, d_state=31),
        Job(TWO_WORDS, 3, groups=1, per_group=1, headdim=1, d_state=64),
        Job(TWO_WORDS, 4, groups=2, per_group=3, headdim=5, d_state=30),
        Job(TWO_WORDS, 5, groups=1, per_group=2, headdim=6, d_state=50),
    ]
    result = run(machine(TWO_WORDS), jobs, token=77, stalls=0.3)
    check(result, jobs, 77)
    elements = sum(job.h.size for job in jobs)
    assert 0 < result.counts[LOST_H] < elements / 2
    assert result.counts[LOST_Y] > 0


def test_two_blocks_per_word() -> None:
    dut = machine(TWO_BLOCKS)
    job = Job(TWO_BLOCKS, 5, groups=1, per_group=2, headdim=5, d_state=48)
    result = run(dut, [job], token=200)
    check(result, [job], 200)
    check_cycles(dut.submodules.ssm, result, words=1)


@pytest.mark.parametrize("port", ["o_state", "o_y"])
def test_one_slow_output(port: str) -> None:
    """An output that holds up everything else, its queue full: nothing is lost or doubled."""
    job = Job(TWO_WORDS, 6, groups=1, per_group=1, headdim=60, d_state=16)
    result = run(machine(TWO_WORDS), [job], slow={SSM + port: 0.7})
    check(result, [job])


def test_worked_values() -> None:
    """One element that decays by half, one that is new; y = 8·1 + 4·2 + 10·3."""
    job = Job(TWO_WORDS, 0, groups=1, per_group=1, headdim=1, d_state=2, dithered=False)
    job.decay[:], job.dt[:], job.dt_shift[:], job.D[:] = 1 << 23, 16, 11, 10
    job.x[:], job.x_exp[:], job.frame, job.y, job.D_shift = 3, 1, 0, 0, 1
    # dt·x·B: 48·B >> 0 + 11 - 1 - 6, so 4 is 12 and -8 is -24.
    job.B[0, :2], job.B_exp[:], job.C[0, :2], job.C_exp[:] = (4, -8), 6, (1, 2), 0
    job.h[0, 0, :2], job.h_exp[:] = (-8, 56), 0
    result = run(machine(TWO_WORDS), [job])
    (state,) = result.out[SSM + "o_state"]
    assert state == {"q": [8, 4, *[0] * 30], "exp": [0]}
    assert result.out[SSM + "o_y"] == [8 * 1 + 4 * 2 + 10 * 3]


def check_cycles(dut: Ssm, result: Run, words: int) -> None:
    """Latencies as stated, and a word in every cycle from the first to the last."""
    taken, out, y = (result.cycles[SSM + name] for name in ("i_state", "o_state", "o_y"))
    assert np.diff(taken[1:]).max() == np.diff(out).max() == dut.interval
    assert out[-1] - taken[-1] == dut.latency
    assert y[-1] - taken[-1] == dut.y_latency
    assert set(np.diff(y)) == {words * dut.interval}


def test_latency_and_throughput() -> None:
    """No cycle is lost from row to row, head to head, and group to group.

    The unit waits while B and C are loaded, and neither before the job nor after its operands.
    """
    dut = machine(TWO_WORDS)
    job = Job(TWO_WORDS, 8, groups=2, per_group=3, headdim=3, d_state=33)
    result = run(dut, [job])
    check_cycles(dut.submodules.ssm, result, words=2)
    begun, taken = result.cycles[SSM + "command"][0] + 1, result.cycles[SSM + "i_state"]
    assert result.counts[SSM + "waiting"] == taken[1] - begun
    assert result.counts[SSM + "busy"] == result.cycles[SSM + "o_y"][-1] + 2 - begun + 1
