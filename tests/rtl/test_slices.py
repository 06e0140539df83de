"""Copies in step: every token is what a unit of its own makes of it."""

from functools import partial

import numpy as np
import pytest
from amaranth.hdl import Fragment

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.activations import ActivationBuffer
from lightmamba.hardware.rtl.residual import Residual
from lightmamba.hardware.rtl.rms import RmsUnit
from lightmamba.hardware.rtl.slices import Slices, wide

from ..support.streams import drive

TOKENS = 3


@pytest.mark.parametrize("tokens", [1, 4])
def test_a_payload_is_an_array(tokens):
    assert (wide(5, tokens).size, wide(5, tokens).length) == (5 * tokens, tokens)


@pytest.mark.parametrize(
    ("stalls", "seed", "tokens"), [(0.0, 1, TOKENS), (0.5, 2, TOKENS), (0.5, 3, 1)]
)
def test_each_token_equals_a_unit_alone(stalls, seed, tokens):
    rng, count = np.random.default_rng(seed), 24
    rows = rng.integers(-(1 << 31), 1 << 31, (tokens, count)).tolist()
    command = [{"count": count, "add": 0, "emit": 1}]
    make = partial(Residual, count)
    alone = [
        drive(make(), {"command": command, "i_embed": row}, {"o": count, "o_sum": 1})
        for row in rows
    ]
    together = drive(
        Slices(make, tokens),
        {"command": command, "i_embed": [list(item) for item in zip(*rows, strict=True)]},
        {"o": count, "o_sum": 1},
        stalls=stalls, seed=seed, counts=("busy",),
    )  # fmt: skip
    assert together.counts["busy"] >= count
    for name in ("o", "o_sum"):
        assert [list(item) for item in zip(*together.out[name], strict=True)] == [
            run.out[name] for run in alone
        ]
    if not stalls:
        assert together.cycles["o"] == alone[0].cycles["o"]


def test_shared_streams_and_other_ports():
    """Shared inputs keep their shape; of other outputs there is one for each token."""
    buffer = Slices(lambda: ActivationBuffer(ArchConfig()), 2)
    Fragment.get(buffer, None)
    members = buffer.signature.members
    assert members["q"].dimensions == members["code"].dimensions == (2,)
    assert members["filled"].dimensions == ()
    shared = Slices(RmsUnit, 2, shared=("o",))
    assert shared.o.payload.shape().size == 22
    run = drive(shared, {"command": [{"count": 1, "eps": 1}], "i": [[4096, 9]]}, {"o": 1})
    single = drive(RmsUnit(), {"command": [{"count": 1, "eps": 1}], "i": [4096]}, {"o": 1})
    assert run.out["o"] == single.out["o"]


def test_plain_outputs_are_each_tokens_own():
    """Only the second token saturates."""
    top, command = (1 << 31) - 1, {"count": 2, "add": 0, "emit": 0}
    added = [[1, 1], [1, 0]]
    run = drive(
        Slices(partial(Residual, 2), 2),
        {
            "command": [command, command | {"add": 1}],
            "i_embed": [[1, top], [2, top]],
            "i_row": [[{"first": row, "second": 0, "both": 0} for row in rows] for rows in added],
        },
        {},
        counts=("lost[0]", "lost[1]"),
        settle=60,
    )
    assert (run.counts["lost[0]"], run.counts["lost[1]"]) == (0, 1)


def test_plain_inputs_reach_every_copy():
    """Both read the same word of their own vectors."""
    config = ArchConfig(lanes=1, in_channels=128, out_channels=128)
    vectors = np.random.default_rng(3).integers(-7, 8, (2, 128))
    items = [[[{"q": int(q), "code": 1}] for q in each] for each in vectors.T]
    read = drive(
        Slices(lambda: ActivationBuffer(config), 2),
        {"i_in": items},
        {},
        hold={"address": 1, "enable": 1},
        counts=("q[0][3]", "q[1][3]", "filled"),
        settle=20,
    )
    wanted = vectors[:, config.products + 3]
    assert read.counts["filled"] > 0
    shown = [read.counts[f"q[{n}][3]"] for n in range(2)]
    assert [np.sign(value) for value in shown] == [np.sign(value) for value in wanted]
    assert shown[0] * int(wanted[1]) == shown[1] * int(wanted[0])
