"""Reading y from the state, without streams, against ``numerics.ssm.SsmStep.read`` and ``skip``."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Signal, signed

from lightmamba.hardware.rtl.mamba2.ssm_read import add_words, contract, finish, skip
from lightmamba.hardware.rtl.mamba2.ssm_update import Updated
from lightmamba.hardware.rtl.pipe import Pipe
from lightmamba.numerics.ssm import SsmStep

from ..support.datapath import corners, flow

OP = SsmStep()


def hardware(h: Any, h_exp: Any, C: Any, C_exp: Any, gap: Any, shift: int) -> tuple[Any, int]:
    """y of (rows, words, blocks, elements), and overflows; ``gap`` cycles before each word."""
    rows, words, blocks, elements = h.shape
    m = Module()
    pipe = Pipe(m)
    issue, first, names = Signal(), Signal(), range(elements)
    q, c = (
        [[Signal(signed(8), name=f"{v}{b}_{n}") for n in names] for b in range(blocks)]
        for v in "hC"
    )
    e, f = ([Signal(bits, name=f"e{bits}_{b}") for b in range(blocks)] for bits in (5, 4))
    parts = [
        contract(
            pipe, Updated([pipe.input(v) for v in q[b]], pipe.input(e[b]), []),
            [pipe.input(v) for v in c[b]], pipe.input(f[b]),
        )
        for b in range(blocks)
    ]  # fmt: skip
    total = add_words(pipe, parts, issue, pipe.input(first), words)
    y, lost = finish(pipe, OP, total, Const(shift, 6))

    at = np.cumsum(gap.ravel() + 1) - 1  # cycle of each word; between them stands anything
    cycles = int(at[-1]) + 1

    def spread(values: Any) -> Any:
        out = np.random.default_rng(1).choice(values.ravel(), cycles)
        out[at] = values.ravel()
        return out

    feeds = [
        (issue, np.isin(np.arange(cycles), at)),
        (first, spread(np.arange(rows * words) % words == 0)),
    ]
    for b in range(blocks):
        feeds += [(e[b], spread(h_exp[:, :, b])), (f[b], spread(C_exp[:, :, b]))]
        for n in names:
            feeds += [(q[b][n], spread(h[:, :, b, n])), (c[b][n], spread(C[:, :, b, n]))]
    found = np.array(flow(m, feeds, [y, lost]))[:, at[words - 1 :: words]]
    return found[0], int(found[1].sum())


def equal(h: Any, h_exp: Any, C: Any, C_exp: Any, gap: Any, shift: int) -> tuple[Any, int]:
    rows, words, blocks, elements = h.shape
    op = SsmStep(8, elements)
    wide = words * blocks * elements
    theirs, lost = op.read(
        h.reshape(rows, 1, 1, wide), h_exp.reshape(rows, 1, 1, -1),
        C.reshape(rows, 1, wide), C_exp.reshape(rows, 1, -1), shift,
    )  # fmt: skip
    ours = hardware(h, h_exp, C, C_exp, gap, shift)
    np.testing.assert_array_equal(ours[0], theirs.ravel())
    assert ours[1] == lost
    return ours


@pytest.mark.parametrize(
    ("words", "blocks", "shift"), [(1, 1, 0), (1, 2, 20), (2, 1, 31), (3, 4, 40), (1, 1, 62)]
)
def test_equals_numerics(words: int, blocks: int, shift: int) -> None:
    rng, shape = np.random.default_rng(shift), (120, words, blocks)
    equal(
        corners(rng, (*shape, 3), 8), rng.integers(0, 25, shape), corners(rng, (*shape, 3), 8),
        rng.integers(0, 10, shape), rng.integers(0, 3, shape[:2]) * (rng.random(shape[:2]) < 0.5),
        shift,
    )  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_extremes(sign: int) -> None:
    """The largest sum there is, 2 words of 4 blocks of 32·127² at 2^33, exact to the last bit."""
    h, C = np.full((2, 2, 4, 32), 127), np.full((2, 2, 4, 32), sign * 127)
    h[1, 1, 3, 31] = 0
    top = [np.full((2, 2, 4), exp) for exp in (24, 9)]
    y, lost = equal(h, top[0], C, top[1], np.zeros((2, 2), dtype=np.int64), 33)
    assert y[0] == sign * 256 * 127**2
    assert y[1] == sign * 255 * 127**2
    assert lost == 0


@pytest.mark.parametrize(
    ("state", "shift", "expected", "overflows"),
    [
        ((3, 1, 0), 1, 2, 0),  # 3/2 goes up to 2
        ((-3, 1, 0), 1, -1, 0),  # -3/2 too, to -1
        ((1, 1, 24), 1, (1 << 23) - 1, 1),  # 2^23 does not fit
        ((-1, 1, 24), 1, -(1 << 23), 0),  # -2^23 does
        ((-1, 127, 24), 0, -(1 << 23), 1),
        ((127, 127, 24), 62, 0, 0),
        ((-127, 127, 24), 38, -1, 0),  # -0.98
    ],
)
def test_worked_values(
    state: tuple[int, int, int], shift: int, expected: int, overflows: int
) -> None:
    h, C, exp = (np.array(v).reshape(1, 1, 1, 1) for v in state)
    zero = np.zeros((1, 1, 1), dtype=np.int64)
    y, lost = equal(h, exp[..., 0], C, zero, zero[0], shift)
    assert (y.tolist(), lost) == ([expected], overflows)


def test_skip() -> None:
    """D·x at y's place, in 27 bits: what it adds to any y saturates or not as numerics says."""
    rng, count = np.random.default_rng(7), 600
    D, x, shift = corners(rng, count, 16), corners(rng, count, 8), rng.integers(-60, 90, count)
    shift[::2] = rng.integers(-26, 26, len(shift[::2]))
    D[:8], x[:8], shift[:8] = 1, [1, -1] * 4, [-23, -23, -24, -24, -31, -31, -60, -60]
    m = Module()
    pipe = Pipe(m)
    signals = Signal(signed(16)), Signal(signed(8)), Signal(signed(10))
    out = skip(pipe, OP, *(pipe.input(s) for s in signals))
    (found,) = flow(m, zip(signals, (D, x, shift), strict=True), [out])
    for y in (0, 1, OP.out.max, OP.out.min):
        for n in range(count):
            expected, lost = OP.skip(
                np.array([[[y]]]), D[n : n + 1], x[n].reshape(1, 1, 1), shift[n].reshape(1, 1, 1)
            )
            assert OP.out(np.array(y + found[n])) == expected.item()
            assert OP.out.overflows(np.array(y + found[n])) == lost
    assert found[:4] == [1 << 23, -1 << 23, 1 << 24, -1 << 24]
