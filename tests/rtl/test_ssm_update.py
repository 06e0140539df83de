"""The datapath of state elements, without streams, against ``numerics.ssm.SsmStep.update``."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import C, Module, Signal, signed

from lightmamba.hardware.rtl.mamba2.ssm_update import (
    UPDATE,
    Parts,
    dither_of,
    normalize,
    row_of,
    shift_right,
    update,
)
from lightmamba.hardware.rtl.pipe import Pipe
from lightmamba.numerics.primitives import bit_length
from lightmamba.numerics.ssm import SsmStep

from ..support.datapath import corners, flow

ELEMENTS = 4  # of a block, to keep it small; ours is the second block of its row
OP = SsmStep(8, ELEMENTS)
SHAPES = {
    "decay": 24, "dtx": signed(24), "shift": signed(10), "head": 8, "dither": 8,
    "h_exp": 5, "B_exp": 4,
}  # fmt: skip


def hardware(values: dict[str, Any], dithered: bool, words: int) -> tuple[Any, Any, int]:
    """Elements, exponents and saturated exponents of one block in as many cycles as words."""
    m, size = Module(), ELEMENTS // words
    named: dict[str, Any] = {name: Signal(shape, name=name) for name, shape in SHAPES.items()}
    h, B = ([Signal(signed(8), name=f"{v}{n}") for n in range(size)] for v in "hB")
    begins, ends = Signal(), Signal()
    pipe = Pipe(m)
    row = row_of(
        pipe,
        decay=pipe.input(named["decay"]),
        dtx=pipe.input(named["dtx"]),
        shift=pipe.input(named["shift"]),
        head=pipe.input(named["head"]),
        dither=pipe.input(named["dither"]),
        dithered=C(dithered),
    )
    B_exp = pipe.delay(pipe.input(named["B_exp"]), row.dtx.stage - 1)
    new = update(
        pipe, OP, row, [pipe.input(v) for v in h], pipe.input(named["h_exp"]),
        [pipe.input(v) for v in B], B_exp, ELEMENTS,
        Parts(words, pipe.input(begins), pipe.input(ends)) if words > 1 else None,
    )  # fmt: skip
    stage = row.dtx.stage + UPDATE + (words if words > 1 else 0)
    assert {t.stage for t in (*new.q, new.exp)} == {stage}
    parts = {name: values[name].reshape(-1, size) for name in "hB"}
    feeds = [(signal, np.repeat(values[name], words)) for name, signal in named.items()]
    feeds += [(v, parts["h"][:, n]) for n, v in enumerate(h)]
    feeds += [(v, parts["B"][:, n]) for n, v in enumerate(B)]
    place = np.arange(len(parts["h"])) % words
    feeds += [(begins, place == 0), (ends, place == words - 1)]
    found = flow(m, feeds, [*new.q, new.exp, *new.over])
    q, exp, over = found[:size], np.reshape(found[size], (-1, words)), found[size + 1 :]
    lost = np.reshape(over, (-1, words))
    assert (exp == exp[:, :1]).all()
    assert (lost == lost[:, :1]).all()
    return np.array(q).T.reshape(-1, ELEMENTS), exp[:, 0], int(lost[:, 0].sum())


def equal(values: dict[str, Any], dithered: bool = True, words: int = 1) -> tuple[Any, Any, int]:
    """Outputs, which must be those of the numerics; ``shift`` is without B's exponent."""
    count = len(values["decay"])
    token = np.arange(count) * 7
    seeds = {"dither": dither_of(0, 1) * token & 255, "head": dither_of(1) * token & 255}
    ours = hardware(values | seeds, dithered, words)
    op = replace(OP, rounding="dither" if dithered else "half_up")
    h, B = np.zeros((2, count, 1, 1, 2 * ELEMENTS), dtype=np.int64)
    h[..., ELEMENTS:], B[..., ELEMENTS:] = (values[v][:, None, None] for v in "hB")
    exp, shift = (
        np.repeat(v[:, None, None, None], 2, axis=3)
        for v in (values["h_exp"], np.clip(values["shift"] - values["B_exp"], -31, 62))
    )
    decay, dtx, before = values["decay"][:, None], values["dtx"][:, None, None], slice(ELEMENTS)
    q, e, lost = op.update(h, exp, decay, dtx, B[:, :, 0], shift, token)
    _, _, others = op.update(
        h[..., before], exp[..., :1], decay, dtx, B[:, :, 0, before], shift[..., :1], token
    )
    theirs = q[:, 0, 0, ELEMENTS:], e[:, 0, 0, 1], lost - others
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert ours[2] == theirs[2]
    return ours


@pytest.mark.parametrize(("dithered", "words"), [(True, 1), (False, 1), (False, 2), (False, 4)])
def test_equals_numerics(dithered: bool, words: int) -> None:
    """Also of a block whose words come one after the other, and share its exponent."""
    rng, count = np.random.default_rng(dithered), 1500 // words
    blank = rng.random((2, count)) < 0.2  # the old state alone, or dt·x·B alone
    values = {
        "decay": abs(corners(rng, count, 25)),
        "dtx": corners(rng, count, 24) * ~blank[0],
        "shift": rng.integers(-40, 72, count),
        "h_exp": rng.integers(0, 25, count),
        "B_exp": rng.integers(0, 10, count),
        "h": corners(rng, (count, ELEMENTS), 8) * ~blank[1][:, None],
        "B": corners(rng, (count, ELEMENTS), 8),
    }
    # Half of the shifts near where the exponent just fits, and where the product vanishes.
    size = bit_length(abs(values["dtx"] * abs(values["B"]).max(1)))
    near = size - 31 + rng.integers(-2, 32, count) + values["B_exp"]
    values["shift"] = np.where(rng.random(count) < 0.5, np.clip(near, -40, 80), values["shift"])
    q, exp, lost = equal(values, dithered, words)
    assert count / 15 < lost < count / 2
    assert set(exp) == set(range(25))
    assert q.min() == -127
    assert q.max() == 127


@pytest.mark.parametrize("dithered", [True, False])
def test_a_decay_at_its_threshold(dithered: bool) -> None:
    """And one below: a factor of 128 leaves one of an element of 1, and 127 nothing."""
    row = np.arange(512)
    threshold = 2 * (dither_of(1) * 7 * row & 255) + 1 if dithered else 256
    below = row & 1
    blank = np.zeros_like(row)
    values = {
        "decay": (128 << 9) - threshold - below, "dtx": blank, "shift": blank, "B_exp": blank,
        "h_exp": blank + 13, "h": np.array([[1, 0, 0, 0]] * 512), "B": np.zeros((512, 4), int),
    }  # fmt: skip
    q, _, _ = equal(values, dithered)
    assert (q[:, 0] == np.where(below, 0, 64)).all()


def worked(**values: int) -> tuple[list[int], int, int]:
    """One block, half up, its first element as given and the others zero."""
    base = {"decay": 0, "dtx": 0, "shift": 0, "h_exp": 0, "B_exp": 0, "h": 0, "B": 0} | values
    arrays = {name: np.array([value]) for name, value in base.items()}
    for name in "hB":
        arrays[name] = np.array([[base[name], 0, 0, 0]])
    q, exp, lost = equal(arrays, dithered=False)
    return q[0].tolist(), int(exp[0]), lost


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Half of 100 at its own exponent: 50.
        ({"decay": 1 << 23, "h": 100, "h_exp": 0}, (50, 0, 0)),
        # 3/2 rounds up to 2, -3/2 to -1.
        ({"decay": 1 << 23, "h": 3}, (2, 0, 0)),
        ({"decay": 1 << 23, "h": -3}, (-1, 0, 0)),
        # 1/2 + 1/2 is exact in the unit of the block.
        ({"decay": 1 << 23, "h": 1, "dtx": 1, "B": 1, "shift": 1}, (1, 0, 0)),
        # 128 needs an exponent; -128 is held at -127 instead.
        ({"dtx": 128, "B": 1}, (64, 1, 0)),
        ({"dtx": -128, "B": 1}, (-127, 0, 0)),
        ({"dtx": 127, "B": 1}, (127, 0, 0)),
        # 255/2 rounds up to 128 and is held at 127.
        ({"dtx": 255, "B": 64, "shift": 6}, (127, 1, 0)),
        # The exponent is 24 at most; beyond it the block is scaled down, and counted.
        ({"dtx": 1, "B": 1, "shift": -30}, (64, 24, 0)),
        ({"dtx": 1, "B": 1, "shift": -31}, (64, 24, 1)),
        ({"dtx": -1, "B": 1, "shift": -31}, (-127, 24, 0)),
        # A shift is clipped to -31 before anything else: 2^31 less 63.5·2^24 is about 96·2^24.
        ({"dtx": 1, "B": 1, "shift": -40, "decay": 1 << 23, "h": -127, "h_exp": 24}, (64, 24, 0)),
        # dt·x = 0 moves nothing, wherever its shift is.
        ({"decay": 1 << 23, "h": 100, "h_exp": 3, "shift": -40}, (100, 2, 0)),
        # Old elements that are far below new ones vanish, and new ones far below old ones.
        ({"decay": (1 << 24) - 1, "h": 127, "dtx": 1, "B": 1, "shift": -23}, (64, 17, 0)),
        ({"decay": (1 << 24) - 1, "h": 127, "h_exp": 24, "dtx": 1, "B": 1}, (127, 24, 0)),
    ],
)
def test_worked_values(values: dict[str, int], expected: tuple[int, int, int]) -> None:
    q, exp, lost = worked(**values)
    assert (q[0], exp, lost) == expected
    assert q[1:] == [0, 0, 0]


def test_normal_form() -> None:
    """Every power of two and its neighbours: the two top bits differ, and nothing is lost."""
    values = [s * ((1 << k) + d) for k in range(23) for d in (-1, 0, 1) for s in (1, -1)]
    m, x = Module(), Signal(signed(24))
    pipe = Pipe(m)
    normal, places = normalize(pipe, pipe.input(x))
    found, moved = flow(m, [(x, values)], [normal, places])
    for value, up, n in zip(values, found, moved, strict=True):
        assert up == value << n
        assert value == 0 or (1 << 22) <= abs(up) <= 1 << 23


def test_shift_right() -> None:
    m, x, a = Module(), Signal(signed(42)), Signal(6)
    pipe = Pipe(m)
    moved = shift_right(pipe, pipe.input(x), pipe.input(a))
    assert moved.stage == 2
    values = [-1 << 41, (1 << 41) - 1, -1, 0, *(5 << n for n in range(38))]
    pairs = [(v, n) for v in values for n in (0, 1, 2, 4, 8, 16, 31, 32, 41)]
    (found,) = flow(m, [(x, [v for v, _ in pairs]), (a, [n for _, n in pairs])], [moved])
    assert found == [v >> n for v, n in pairs]
