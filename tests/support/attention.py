"""Jobs of the attention unit: what goes in, and what ``numerics.attention`` makes of it."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.passes import Share, slots, vectors
from lightmamba.blocks import kind
from lightmamba.blocks.attention.arithmetic import Exponents, Mixer
from lightmamba.blocks.attention.steps import position_words
from lightmamba.hardware.rtl.attention.unit import Attention
from lightmamba.numerics.attention import Attention as Arithmetic
from lightmamba.numerics.model_formats import Formats
from tests.support.streams import Bench

__all__ = ["SIZES", "SOME", "case", "check", "machine_of"]

SIZES = kind("attention").Sizes
HARDWARE = kind("attention").hardware
OP = Arithmetic()
LARGEST = -128, 9  # value and exponent of a block
SOME = SIZES(4, 2, 32)  # of most tests, whose hardware is compiled once


def machine_of(
    sizes: Any, *, channels: int = 32, rows: int = 2, tokens: int = 1, lanes: int = 4,
    port: int = 128,
) -> ArchConfig:  # fmt: skip
    """Hardware that is just large enough."""
    return ArchConfig(
        kinds=("attention",), attention_channels=channels, attention_rows=rows, tokens=tokens,
        lanes=lanes, port_bits=port,
        kv_heads=sizes.n_kv_heads, per_group=sizes.per_group, head_dim=sizes.head_dim,
    )  # fmt: skip


@functools.lru_cache(maxsize=4)
def bench(config: ArchConfig) -> Bench:
    """The unit, compiled once for tests that follow each other."""
    return Bench(Attention(config))


@dataclass
class Case:
    """One job: what goes in, what must come out."""

    command: dict[str, int]
    rows: list[Any]  # of every vector
    kv: list[int]  # rows of earlier positions
    before: list[int]
    shares: list[Share]
    written: list[int]
    means: list[Any]
    lost: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))


def blocks_of(rng: np.random.Generator, count: int, heads: int, size: int, spread: float) -> Any:
    """int8 values and exponents of positions, as ``Pow2Block`` makes them."""
    wide = -(-size // 32)
    real = np.clip(rng.standard_normal((count, heads, size)) * spread, -32768, 32767)
    x = np.pad(real.round().astype(np.int64), [(0, 0), (0, 0), (0, wide * 32 - size)])
    return OP.scale(x)


def rows_of(sizes: Any, state: dict[str, Any], at: slice, config: ArchConfig) -> Any:
    """Rows of some positions of every head as they lie in memory, (heads, rows, bytes)."""
    part_ = {name: values[at] for name, values in state.items()}
    image = HARDWARE.state_bytes(sizes, "reordered", part_, config)
    lanes = [each.reshape(sizes.n_kv_heads, -1, config.port_bits // 8) for each in image.values()]
    return np.stack(lanes, axis=2).reshape(sizes.n_kv_heads, -1, config.row_bytes)


def words_of(sizes: Any, state: dict[str, Any], at: int, config: ArchConfig) -> list[int]:
    """Words of one position: of every head its exponents, then keys and values."""
    count = position_words(sizes, config)
    found = rows_of(sizes, state, slice(at, at + 1), config)
    return [
        word
        for head in found
        for word in (*head[0, :8].view(np.uint64), *head[1:].ravel().view(np.uint64)[:count])
    ]


def case(
    rng: np.random.Generator, sizes: Any, config: ArchConfig, given: list[tuple[int, int]],
    *, score: int = 9, mean: int = 7, spread: float = 2000.0, rises: float = 0.0,
    extreme: bool = False,
) -> Case:  # fmt: skip
    """Random job; ``given`` are earlier positions and new tokens of each slot.

    The last key has a score of about ``rises`` with the first query of its group. If ``extreme``,
    the last query and key, and all keys and values of the last head, have the largest products.
    """
    exponents = Exponents(q=-12, k=-4 - score, v=-12, mean=mean - 12, hadamard_shift=0)
    mixer = Mixer(sizes, exponents)
    assert (mixer.score, mixer.mean) == (score, mean)
    heads, size, per = sizes.n_kv_heads, sizes.head_dim, sizes.per_group
    rows: list[list[Any]] = []
    kv, written, means = [], list[int](), []
    lost: tuple[list[int], list[int]] = ([], [])
    for before, new in given:
        state = {}
        for name in ("k", "v"):
            state[name], state[f"{name}_exp"] = blocks_of(rng, before + new, heads, size, spread)
        q, q_exp = blocks_of(rng, new, heads * per, size, spread)
        if rises:
            real = q[-1, ::per].reshape(heads, -1, 32) << q_exp[-1, ::per, :, None]
            real = real.reshape(heads, -1)
            scale = rises * 2.0 ** (16 + score) / np.sum(real**2, axis=1, keepdims=True)
            state["k"][-1], state["k_exp"][-1] = OP.scale((real * scale).round().astype(np.int64))
        if extreme:
            for values, exps in ((q, q_exp), (state["k"], state["k_exp"])):
                values[-1], exps[-1] = LARGEST
            for name in ("k", "v"):
                state[name][:, -1], state[f"{name}_exp"][:, -1] = LARGEST
        kv.append(rows_of(sizes, state, slice(before), config))
        for t in range(new):
            written += map(int, words_of(sizes, state, before + t, config))
        for t in range(new):
            at = before + t
            line = [(0, q[t], q_exp[t])] + [
                (n + 1, state[name][at], state[f"{name}_exp"][at])
                for n, name in enumerate(("k", "v"))
            ]
            rows.append([
                {"kind": kind, "q": int(values[h, c]), "exp": int(exps[h, c // 32])}
                for kind, values, exps in line
                for h in range(len(values)) for c in range(size)
            ])  # fmt: skip
            seen = [
                np.repeat(state[name][: at + 1].swapaxes(0, 1).astype(np.int64), per, 0)
                for name in ("k", "k_exp", "v", "v_exp")
            ]
            scores, over = OP.scores(q[t], q_exp[t], seen[0], seen[1], score)
            out, over_mean = OP.divide(*OP.weigh(scores, seen[2], seen[3]), mean)
            means.append(out[:, :size].ravel())
            lost[0].append(over)
            lost[1].append(over_mean)
    idle = config.tokens - len(rows)
    rows += [[{"kind": 0, "q": 0, "exp": 0}] * len(rows[0])] * idle
    ahead = [n for n, _ in given] + [0] * (config.tokens - len(given))
    command = HARDWARE.commands(mixer, Formats(), config)["attention"]
    shares = [Share(new, commit=new, fresh=not at) for at, new in given]
    taken = [int.from_bytes(row.tobytes(), "little")
             for head in range(heads) for slot in kv for row in slot[head]]  # fmt: skip
    return Case(command, rows, taken, ahead, shares, written, means, lost)


def joined(lists: Iterable[list[int]]) -> list[int]:
    """One list of several."""
    return list(chain.from_iterable(lists))


def check(config: ArchConfig, *cases: Case, **options: Any) -> Any:
    """Run jobs of one pass, as many as it has layers, and compare everything."""
    one = cases[0]
    inputs: dict[str, list[Any]] = {
        "command": [each.command for each in cases],
        "i": [list(channels) for each in cases for channels in zip(*each.rows, strict=True)],
        "i_kv": joined(each.kv for each in cases),
    }
    written = joined(each.written for each in cases)
    outputs = {"o": sum(len(each.means[0]) for each in cases), "o_kv": len(written)}
    hold: dict[str, Any] = {f"kv_before[{n}]": count for n, count in enumerate(one.before)}
    if config.tokens > 1:
        for name, records in (("slot", slots(one.shares)), ("vector", vectors(one.shares))):
            hold |= {f"{name}[{n}]": each for n, each in enumerate(records)}
    counts = [f"{name}[{n}]" for name in ("lost_score", "lost_mean") for n in range(config.tokens)]
    got = bench(config).drive(
        inputs, outputs, hold=hold, counts=[*counts, "busy"], settle=20,
        **{"limit": 20_000} | options,
    )  # fmt: skip
    found = np.array(got.out["o"])
    for n in range(len(one.means)):
        means = np.concatenate([each.means[n] for each in cases])
        np.testing.assert_array_equal(found[:, n], means, err_msg=f"vector {n}")
    assert got.out["o_kv"] == written
    for k, name in enumerate(("lost_score", "lost_mean")):
        wanted: list[int] = np.sum([each.lost[k] for each in cases], axis=0).tolist()
        assert [got.counts[f"{name}[{n}]"] for n in range(len(wanted))] == wanted
    return got
