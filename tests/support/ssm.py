"""Passes through the SSM unit for any number of tokens, and the results that must come.

The numerics is :class:`numerics.ssm.SsmStep`, token by token.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from amaranth.hdl import Module, Value
from amaranth.lib import data, wiring

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, RECORD_BITS, WORD_BITS
from lightmamba.arch.fields import encode
from lightmamba.arch.passes import STEP, Share, steps
from lightmamba.hardware.rtl.layouts import command, i_stream, payload
from lightmamba.hardware.rtl.mamba2.bc import BCStore
from lightmamba.hardware.rtl.mamba2.ssm import Ssm
from lightmamba.hardware.rtl.streams import Fork, join
from tests.support.machine import MACHINE, Kind

from . import streams
from .datapath import corners

__all__ = ["Bench", "Layer", "Machine", "Vectors"]


class Machine(wiring.Component):
    """The unit and its stores of B and C, wired as in the machine."""

    def __init__(self, config: ArchConfig) -> None:
        self.config, self.ssm = config, Ssm(config)
        self.stores = [BCStore(config) for _ in range(config.tokens)]
        self.item = data.ArrayLayout(payload("BLOCKED"), config.tokens)
        super().__init__({"command": i_stream(command("bc")), "i": i_stream(self.item)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ssm = ssm = self.ssm
        m.submodules += self.stores
        first, given = self.stores[0], self.i
        if self.config.undecided:
            m.submodules.fork = fork = Fork(self.item, 2)
            join(m, self.i, fork.i)
            join(m, fork.o1, ssm.i_b)
            given = fork.o0
        m.d.comb += [
            self.command.ready.eq(first.command.ready),
            given.ready.eq(first.i.ready),
            ssm.i_bc.valid.eq(first.o_ready.valid),
        ]
        for n, store in enumerate(self.stores):
            m.d.comb += [
                store.command.valid.eq(self.command.valid),
                store.command.payload.eq(self.command.payload),
                store.i.valid.eq(given.valid),
                store.i.payload.eq(given.payload[n]),
                store.o_ready.ready.eq(ssm.i_bc.ready),
                store.address.eq(ssm.address),
                Value.cast(ssm.B[n]).eq(Value.cast(store.B)),
                Value.cast(ssm.C[n]).eq(Value.cast(store.C)),
            ]
        return m


@functools.lru_cache(maxsize=3)
def compiled(config: ArchConfig) -> streams.Bench:
    """The unit and its stores, compiled once for tests that follow each other."""
    return streams.Bench(Machine(config))


@dataclass
class Vectors:
    """Operands of T vectors in one layer: what a pass brings, and what its record keeps."""

    dt: Any  # (T, heads), as shift, decay, D
    shift: Any
    decay: Any
    D: Any
    x: Any  # (T, heads, headdim)
    x_exp: Any
    B: Any  # (T, groups, d_state), blocks for the exponents
    B_exp: Any
    C: Any
    C_exp: Any


class Layer:
    """A layer's shape and constants."""

    def __init__(
        self, config: ArchConfig, seed: int, *, groups: int, per_group: int, headdim: int,
        d_state: int, dithered: bool = True,
    ) -> None:  # fmt: skip
        self.config, self.groups, self.per_group = config, groups, per_group
        self.headdim, self.d_state, self.heads = headdim, d_state, groups * per_group
        self.padded = -(-d_state // BLOCK) * BLOCK
        self.row = config.row_words * config.bc_elements  # elements of a row in memory
        self.rng = np.random.default_rng(seed)
        self.frame, self.y, self.D_shift = map(int, self.rng.integers((-30, 8, -10), (-10, 24, 30)))
        self.op = replace(config.ssm, rounding="dither" if dithered else "half_up")

    def vectors(self) -> Vectors:
        """Random operands."""
        rng, tokens = self.rng, self.config.tokens
        heads = tokens, self.heads
        bc, blocks = (2, tokens, self.groups, self.d_state), self.padded // BLOCK
        (B, C), (B_exp, C_exp) = corners(rng, bc, 8), rng.integers(0, 10, (*bc[:3], blocks))
        return Vectors(
            abs(corners(rng, heads, 17)), rng.integers(11, 40, heads), abs(corners(rng, heads, 25)),
            corners(rng, heads, 16), corners(rng, (*heads, self.headdim), 8),
            rng.integers(0, 10, (*heads, self.headdim)), B, B_exp, C, C_exp,
        )  # fmt: skip

    def state(self) -> tuple[Any, Any]:
        """Random state of one sequence."""
        shape = 1, self.heads, self.headdim
        h = corners(self.rng, (*shape, self.padded), 8)
        h[..., self.d_state :] = 0
        return h, self.rng.integers(0, 25, (*shape, self.padded // BLOCK))

    def words(self, state: tuple[Any, Any], head: int) -> list[Any]:
        """One head's state as the unit's words, in order."""
        (h, exp), size = state, self.config.state_elements
        q = np.zeros((self.headdim, self.row), np.int64)
        e = np.zeros((self.headdim, self.row // BLOCK), np.int64)
        shared = self.config.block_words
        q[:, : self.padded], e[:, : self.padded // BLOCK] = h[0, head], exp[0, head]
        pairs = zip(
            q.reshape(-1, size).tolist(),
            e.repeat(shared, axis=1).reshape(-1, max(1, size // BLOCK)).tolist(),
            strict=True,
        )
        return [{"q": a, "exp": b} for a, b in pairs]

    def command(self) -> dict[str, int]:
        return {
            "heads": self.heads, "per_group": self.per_group, "headdim": self.headdim,
            "words": self.config.row_words, "stride": self.padded, "frame": self.frame, "y": self.y,
            "D_shift": self.D_shift, "dither": int(self.op.rounding == "dither"),
        }  # fmt: skip

    def advance(
        self, v: Vectors, n: int, state: tuple[Any, Any], position: int
    ) -> tuple[tuple[Any, Any], Any, int, int]:
        """One token: new state, y, losses of both; as in ``engine.reference``."""

        def spread(values: Any) -> Any:
            wide = np.zeros((self.groups, self.padded), np.int64)
            wide[:, : self.d_state] = values[n]
            return np.repeat(wide[None], self.per_group, axis=1)

        B_exp, C_exp = (np.repeat(e[n][None], self.per_group, axis=1) for e in (v.B_exp, v.C_exp))
        shift = self.frame + v.shift[n][:, None, None] - v.x_exp[n][..., None] - B_exp[:, :, None]
        h, exp, lost_h = self.op.update(
            *state, v.decay[n][None], (v.dt[n][:, None] * v.x[n])[None], spread(v.B),
            np.clip(shift, -31, 62), np.array([position]),
        )  # fmt: skip
        read, lost = self.op.read(h, exp, spread(v.C), C_exp, self.y)
        y, more = self.op.skip(read, v.D[n], v.x[n][None], self.D_shift - v.x_exp[n][None])
        return (h, exp), y[0], lost_h, lost + more

    def heads_of(self, v: Vectors, head: int) -> list[dict[str, int]]:
        names = ("dt", "shift", "decay", "D")
        return [{k: int(getattr(v, k)[n, head]) for k in names} for n in range(len(v.dt))]

    def record(self, v: Vectors) -> list[int]:
        """The words of a record."""

        def channel(q: Any, exp: Any) -> list[int]:
            bits = sum(
                ((int(a) & 255) | int(e) << 8) << RECORD_BITS * n
                for n, (a, e) in enumerate(zip(q, exp, strict=True))
            )
            return [
                bits >> WORD_BITS * n & (1 << WORD_BITS) - 1
                for n in range(self.config.record_words)
            ]

        out = []
        for g in range(self.groups):
            for n in range(self.d_state):
                out += channel(v.B[:, g, n], v.B_exp[:, g, n // BLOCK])
        for head in range(self.heads):
            out += [encode(MACHINE.records["DISCRETE"], one) for one in self.heads_of(v, head)]
            for row in range(self.headdim):
                out += channel(v.x[:, head, row], v.x_exp[:, head, row])
        return out


@dataclass
class Bench:
    """Passes through one layer, one after the other: what is fed, and what must come out."""

    layer: Layer
    states: list[Any]
    inputs: dict[str, list[Any]] = field(default_factory=dict)
    out: dict[str, list[Any]] = field(default_factory=dict)
    fields: list[dict[str, int]] = field(default_factory=list)  # by pass, the plain inputs
    steps: list[list[int]] = field(default_factory=list)
    lost: Any = 0
    record: Vectors | None = None  # of the last pass

    def __post_init__(self) -> None:
        self.inputs = {n: [] for n in ("command", "i", *(f"ssm.i_{x}" for x in ("head", "x")))}
        self.inputs |= {"ssm.i_state": []}
        self.out = {f"ssm.{n}": [] for n in ("o_state", "o_y", "probe_h")}
        if self.layer.config.undecided:
            self.inputs["ssm.i_record"], self.out["ssm.o_record"] = [], []
        self.lost = np.zeros((2, self.layer.config.tokens), np.int64)

    def run(
        self, shares: Sequence[Share], *, slots: Sequence[int] | None = None, base: int = 0,
        records: bool = True, new: Vectors | None = None,
    ) -> None:  # fmt: skip
        """Add a pass; ``slots`` says which states its shares are of, else all in order.

        ``base`` is added to the positions of all shares.
        """
        layer, config = self.layer, self.layer.config
        new, old, records = new or layer.vectors(), self.record, records and config.undecided > 0
        todo, states = steps(shares), [self.states[n] for n in slots or range(len(shares))]
        base += shares[0].position
        made, y = [], np.zeros((config.tokens, layer.heads, layer.headdim), np.int64)
        used, slot, state = set(), -1, states[0]
        stored = list(states)
        for step in todo:
            if step["load"]:
                slot += 1
                state = states[slot]
            source = old if step["recorded"] else new
            assert source is not None
            n = step["vector"]
            state, value, *lost = layer.advance(source, n, state, step["position"] + base)
            made.append(state)
            if step["store"]:
                stored[slot] = state
            if not step["recorded"]:
                used.add(n)
                y[n] = value
                self.lost[:, n] += lost
        for head in range(layer.heads):
            for before in states:
                self.inputs["ssm.i_state"] += layer.words(before, head)
            for step, state in zip(todo, made, strict=True):
                words = layer.words(state, head)
                self.out["ssm.probe_h"] += words
                self.out["ssm.o_state"] += words * step["store"]
            for row in range(layer.headdim):
                values = [int(y[n, head, row]) if n in used else None for n in range(len(y))]
                self.out["ssm.o_y"].append(values)
        for n, state in zip(slots or range(len(shares)), stored, strict=True):
            self.states[n] = state
        replays = any(step["recorded"] for step in todo)
        if replays and old:
            self.inputs["ssm.i_record"] += layer.record(old)
        if records:
            self.out["ssm.o_record"] += layer.record(new)
            self.record = new
        self._feed(new)
        self.steps.append([encode(STEP, step) for step in todo])
        self.fields.append(
            {
                "last_step": len(todo) - 1, "position": base % 256, "records": int(records),
                "replays": int(replays), "d_state": layer.d_state,
                "b_channels": layer.groups * layer.d_state,
            }
        )  # fmt: skip

    def _feed(self, v: Vectors) -> None:
        layer = self.layer

        def blocked(kind: Kind, q: Any, exp: Any) -> list[dict[str, int]]:
            return [{"kind": kind, "q": int(a), "exp": int(e)} for a, e in zip(q, exp, strict=True)]

        self.inputs["command"].append({"groups": layer.groups, "d_state": layer.d_state})
        for kind, q, exp in ((Kind.B, v.B, v.B_exp), (Kind.C, v.C, v.C_exp)):
            for g in range(layer.groups):
                for n in range(layer.d_state):
                    self.inputs["i"].append(blocked(kind, q[:, g, n], exp[:, g, n // BLOCK]))
        for head in range(layer.heads):
            self.inputs["ssm.i_head"].append(layer.heads_of(v, head))
            for row in range(layer.headdim):
                x = blocked(Kind.X, v.x[:, head, row], v.x_exp[:, head, row])
                self.inputs["ssm.i_x"].append(x)

    async def host(self, ctx: Any, ssm: Any) -> None:
        """Between passes steps are written, then a command is given.

        One like the one before is taken for another layer of the same pass: it follows at once.
        """
        before = None
        for fields, words in zip(self.fields, self.steps, strict=True):
            if (fields, words) != before:
                await ctx.tick().until(~ssm.busy)
                for name, value in fields.items():
                    if hasattr(ssm, name):
                        ctx.set(getattr(ssm, name), value)
                for n, word in enumerate(words if hasattr(ssm, "step_write") else ()):
                    ctx.set(ssm.step_write, 1)
                    ctx.set(ssm.step_index, n)
                    ctx.set(ssm.step_data, word)
                    await ctx.tick()
                    ctx.set(ssm.step_write, 0)
            before = fields, words
            ctx.set(ssm.command.payload, self.layer.command())
            ctx.set(ssm.command.valid, 1)
            await ctx.tick().until(ssm.command.ready)
            ctx.set(ssm.command.valid, 0)

    def check(
        self, *, stalls: float = 0.0, slow: dict[str, float] | None = None, seed: int = 0,
        settle: int = 60,
    ) -> tuple[streams.Run, Ssm]:  # fmt: skip
        """Simulate, and compare everything that comes out."""
        unit = compiled(self.layer.config)
        dut: Any = unit.dut

        async def host(ctx: Any) -> None:
            await self.host(ctx, dut.ssm)

        tokens = range(self.layer.config.tokens)
        lost = [f"ssm.{name}.{n}" for name in ("lost_h", "lost_y") for n in tokens]
        outputs = {n: len(v) for n, v in self.out.items() if n != "ssm.probe_h"}
        run = unit.drive(
            self.inputs, outputs, stalls=stalls, slow=slow, seed=seed,
            counts=[*lost, "ssm.waiting", "ssm.busy"], probes=["ssm.probe_h"], settle=settle,
            limit=12_000, beside=[host],
        )  # fmt: skip
        for values, wanted in zip(run.out["ssm.o_y"], self.out["ssm.o_y"], strict=True):
            for n, value in enumerate(wanted):  # a vector without a token has anything
                values[n] = None if value is None else values[n]
        for name, expected in self.out.items():
            assert run.out[name] == expected, name
        assert [run.counts[name] for name in lost] == self.lost.ravel().tolist()
        return run, dut.ssm
