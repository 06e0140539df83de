"""The SSM unit and its stores of B and C against ``numerics.ssm.SsmStep``, token by token."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.passes import Share

from ..support.ssm import Bench, Layer


def config(tokens: int, size: int, padded: int, rows: int, groups: int = 1) -> ArchConfig:
    return ArchConfig(
        tokens=tokens, state_elements=size, padded_state=padded, head_rows=rows, groups=groups
    )


# Words below, as long as, and above a row; d_state below its padding; odd heads. Of one token, rows
# go through one by one, except where a word holds several of them. Words that are parts of a block.
SHAPES = {
    "one": (config(1, 32, 64, 6, 2), {"groups": 2, "per_group": 2, "headdim": 3, "d_state": 40}),
    "rows": (config(1, 64, 64, 6), {"groups": 1, "per_group": 2, "headdim": 5, "d_state": 48}),
    "heads": (config(1, 64, 32, 8), {"groups": 1, "per_group": 3, "headdim": 8, "d_state": 30}),
    "below": (config(2, 32, 64, 6, 2), {"groups": 2, "per_group": 2, "headdim": 5, "d_state": 34}),
    "equal": (config(4, 32, 32, 7), {"groups": 1, "per_group": 2, "headdim": 7, "d_state": 31}),
    "above": (config(4, 64, 32, 9, 3), {"groups": 2, "per_group": 1, "headdim": 8, "d_state": 20}),
    "half": (config(1, 16, 32, 6), {"groups": 1, "per_group": 3, "headdim": 5, "d_state": 30}),
    "quarter": (config(1, 8, 64, 6, 2), {"groups": 2, "per_group": 2, "headdim": 3, "d_state": 40}),
    "eighth": (config(1, 4, 32, 4), {"groups": 1, "per_group": 2, "headdim": 3, "d_state": 32}),
    "parts": (config(2, 8, 64, 6, 2), {"groups": 2, "per_group": 2, "headdim": 5, "d_state": 34}),
    "four": (config(2, 128, 32, 12), {"groups": 1, "per_group": 3, "headdim": 12, "d_state": 32}),
}  # fmt: skip


EIGHT = config(8, 64, 32, 8), {"groups": 1, "per_group": 2, "headdim": 6, "d_state": 30}


def slow(name: str) -> Any:
    """A case that ``make test`` leaves out."""
    return pytest.param(name, marks=pytest.mark.slow)


def bench(shape: Any, seed: int, sequences: int = 1, **changed: Any) -> Bench:
    layer = Layer(shape[0], seed, **(shape[1] | changed))
    return Bench(layer, [layer.state() for _ in range(sequences)])


def speculate(b: Bench, most: int) -> None:
    """Passes of one sequence that replay 0, 1, ... tokens; some commit nothing."""
    tokens, position = b.layer.config.tokens, 0
    b.run([Share(tokens, commit=1)])
    for replay in range(most + 1):
        position += 1 + replay
        b.run([Share(tokens, replay, position=position - replay, recorded=1)], base=replay)
    b.run([Share(tokens, 0, commit=0, position=position + 1)])
    b.run([Share(1, 1, commit=0, position=position + 1)], records=False)
    b.run([Share(1, 1, position=position + 2, recorded=tokens - 1)])


def test_worked_values() -> None:
    """One element that halves with each token and has dt·x·B added; y = h·C + D·x."""
    b = bench(SHAPES["below"], 0, groups=1, per_group=1, headdim=1, d_state=1, dithered=False)
    layer, v = b.layer, b.layer.vectors()
    layer.frame, layer.y, layer.D_shift = 0, 0, 0
    v.dt[:], v.shift[:], v.decay[:], v.D[:] = 1, 0, 1 << 23, 10
    v.x[:, 0, 0], v.x_exp[:], v.B[:, 0, 0], v.B_exp[:] = (3, 5), 0, (4, -2), 0
    v.C[:, 0, 0], v.C_exp[:] = (1, 2), 0
    b.states[0][0][...], b.states[0][1][...] = 0, 0
    b.states[0][0][..., 0] = 100
    b.run([Share(2)], new=v)  # 100/2 + 3·4 = 62; 62/2 - 5·2 = 21
    b.run([Share(1, 1, commit=0, position=1, recorded=1)], new=v)
    run, _ = b.check()
    assert [w["q"][0] for w in run.out["ssm.probe_h"][::2]] == [62, 21, 21, 23]
    assert [w["q"][0] for w in run.out["ssm.o_state"][::2]] == [62, 21]
    first, second = run.out["ssm.o_y"]
    assert first == [62 * 1 + 10 * 3, 21 * 2 + 10 * 5]
    assert second[0] == 23 * 1 + 10 * 3  # 21/2 is 11, and 3·4
    discrete = 1 << 22 + 23 | 10 << 22 + 24 | 1
    channel_b, x = 4 | (-2 & 255) << 12, 3 | 5 << 12
    assert run.out["ssm.o_record"] == [channel_b, discrete, discrete, x] * 2


def test_busy() -> None:
    """Until all of the record is taken."""
    b = bench(SHAPES["below"], 9, groups=1, per_group=1, headdim=4, d_state=3)
    b.run([Share(2)])
    run, _ = b.check(slow={"ssm.o_record": 0.97})
    assert run.counts["ssm.busy"] > run.cycles["ssm.o_record"][-1] - 5


ONE = ["one", "quarter", slow("rows"), slow("heads"), slow("half"), slow("eighth")]


@pytest.mark.parametrize("name", ONE)
def test_layers_of_one_token(name: str) -> None:
    """Layers back to back: groups, heads that share them, words left out, half up, dither."""
    lost = np.zeros(2, np.int64)
    cases: list[dict[str, Any]] = [
        {}, {"dithered": False, "d_state": 31}, {"groups": 1, "per_group": 1, "headdim": 2}
    ]  # fmt: skip
    for seed, changed in enumerate(cases):
        b = bench(SHAPES[name], seed, **changed)
        for base in (0, 77, 77, 200)[: 4 - seed]:
            b.run([Share(1)], base=base)
        b.check(stalls=0.3, seed=seed)
        lost += b.lost[:, 0]
    assert lost.all()


def test_worked_values_of_one_token() -> None:
    """One element that decays by half, one that is new; y = 8·1 + 4·2 + 10·3."""
    b = bench(SHAPES["one"], 0, groups=1, per_group=1, headdim=1, d_state=2, dithered=False)
    layer, v = b.layer, b.layer.vectors()
    layer.frame, layer.y, layer.D_shift = 0, 0, 1
    v.decay[:], v.dt[:], v.shift[:], v.D[:] = 1 << 23, 16, 11, 10
    v.x[:], v.x_exp[:] = 3, 1
    # dt·x·B: 48·B >> 0 + 11 - 1 - 6, so 4 is 12 and -8 is -24.
    v.B[0, 0], v.B_exp[:], v.C[0, 0], v.C_exp[:] = (4, -8), 6, (1, 2), 0
    b.states[0][0][0, 0, 0, :2], b.states[0][1][...] = (-8, 56), 0
    b.run([Share(1)], new=v)
    run, _ = b.check()
    assert run.out["ssm.o_state"][0] == {"q": [8, 4, *[0] * 30], "exp": [0]}
    assert run.out["ssm.o_y"] == [[8 * 1 + 4 * 2 + 10 * 3]]


@pytest.mark.parametrize(
    ("name", "words"),
    [("one", 2), ("rows", 1), ("half", 2),
     *(pytest.param(name, 8, marks=pytest.mark.slow) for name in ("quarter", "eighth"))],
)  # fmt: skip
def test_latency_and_throughput_of_one_token(name: str, words: int) -> None:
    """A word in every cycle, from row to row, head to head, and group to group.

    The unit waits while B and C are loaded, and neither before the job nor after its operands.
    """
    b = bench(SHAPES[name], 8, per_group=3)
    b.run([Share(1)])
    run, ssm = b.check()
    taken, out, y = (np.array(run.cycles[f"ssm.{n}"]) for n in ("i_state", "o_state", "o_y"))
    parts = b.layer.config.block_words
    assert np.diff(taken[2 * parts :]).max() == np.diff(out).max() == ssm.interval
    if parts == 1:
        assert out[-1] - taken[-1] == ssm.latency
        assert y[-1] - taken[-1] == ssm.y_latency
    assert set(np.diff(y)) == {words * ssm.interval}
    begun = taken[1] if parts == 1 else taken[2 * parts] - 1  # words that wait are taken before
    assert run.counts["ssm.busy"] == y[-1] + 2 - (begun - run.counts["ssm.waiting"]) + 1


@pytest.mark.parametrize("name", ["half", "quarter", "eighth"])
def test_latency_of_parts(name: str) -> None:
    """From the last word of each block, which the unit waits for, to the first that is new."""
    b = bench(SHAPES[name], 8)
    b.run([Share(1)])
    run, ssm = b.check(slow={"ssm.i_state": 0.8})
    config = b.layer.config
    taken, out, y = (np.array(run.cycles[f"ssm.{n}"]) for n in ("i_state", "o_state", "o_y"))
    last = taken[config.block_words - 1 :: config.block_words]
    begun = last[1:] > last[:-1] + config.block_words  # the unit waited
    assert begun.any()
    waits = out[:: config.block_words] - last
    assert min(waits) == ssm.latency
    assert set(waits[3:][begun[2:]]) == {ssm.latency}  # two blocks may come before the job
    blocks = config.row_words // config.block_words
    assert min(y - last[blocks - 1 :: blocks]) == ssm.y_latency + config.block_words - 1


@pytest.mark.parametrize(
    ("name", "port"),
    [*(("one", port) for port in ("o_state", "o_y")),
     *(("quarter", port) for port in ("o_state", "i_state", "i_head", "i_x"))],
)  # fmt: skip
def test_one_slow_port_of_one_token(name: str, port: str) -> None:
    """A port that holds up everything else, its queue full: nothing is lost or doubled."""
    b = bench(SHAPES[name], 6, groups=1, per_group=2, headdim=30, d_state=16)
    b.run([Share(1)])
    b.check(slow={f"ssm.{port}": 0.7})


PORTS = (
    "i",
    *(f"ssm.{n}" for n in ("i_head", "i_x", "i_state", "o_state", "o_record", "i_record")),
)


@pytest.mark.parametrize("port", ["ssm.o_y", *map(slow, PORTS)])
def test_one_slow_port(port: str) -> None:
    """A port that holds up everything else, its queue full: nothing is lost or doubled."""
    b = bench(SHAPES["below"], 5, groups=1, per_group=7, headdim=6, d_state=33)
    b.run([Share(2, commit=1)])
    b.run([Share(1, 1, position=1, recorded=1)], records=False)
    b.run([Share(1, position=3)], records=False)
    b.check(slow={port: 0.85})


def test_parameters_behind_the_rows_of_their_head() -> None:
    b = bench(SHAPES["below"], 5, groups=1, per_group=7, headdim=6, d_state=33)
    b.run([Share(1)], records=False)
    b.check(slow={"ssm.i_head": 0.97})


def test_latency() -> None:
    b = bench(SHAPES["four"], 8, per_group=1)
    b.run([Share(1)])
    run, ssm = b.check()
    taken, rows = run.cycles["ssm.i_state"], b.layer.headdim
    assert run.cycles["ssm.o_state"][-1] - taken[-1] == ssm.latency
    assert run.cycles["ssm.o_y"][-rows] - taken[-1] == ssm.y_latency
    assert run.counts["ssm.busy"] > run.counts["ssm.waiting"] > 0


@pytest.mark.parametrize(
    ("tokens", "size", "rows", "slack"),
    [
        (2, 32, 20, 0),
        pytest.param(4, 64, 64, 0, marks=pytest.mark.slow),
        pytest.param(2, 64, 64, 2, marks=pytest.mark.slow),
    ],
)
def test_throughput(tokens: int, size: int, rows: int, slack: int) -> None:
    """A word in every cycle, from step to step and from head to head.

    With two steps of half as many words as rows, a head takes as long as its x and y.
    """
    shape = config(tokens, size, 32, rows), {"groups": 1, "per_group": 5, "headdim": rows}
    b = bench(shape, 7, d_state=32)
    b.run([Share(tokens, commit=tokens)])
    run, _ = b.check()
    head, words = tokens * rows * 32 // size, rows * 32 // size
    begun = np.array(run.cycles["ssm.i_state"][1::words])
    y = np.array(run.cycles["ssm.o_y"])
    for cycles in (begun, y[::rows]):
        assert set(np.diff(cycles)[1:]) <= set(range(head, head + slack + 1))
    assert set(np.diff(y.reshape(-1, rows)).ravel()) == {1}


def test_replay_equals_new() -> None:
    """The state after tokens that were replayed is that after the same tokens as new ones."""
    b = bench(SHAPES["equal"], 6, 2)
    b.states[1] = b.states[0]
    one = b.layer.vectors()
    b.run([Share(4, commit=3)], slots=[0], new=one)
    b.run([Share(4, commit=1)], slots=[1], new=one)
    b.run([Share(1, 2, commit=0, position=1, recorded=1)], slots=[1])
    run, _ = b.check()
    words = len(run.out["ssm.o_state"]) // 3
    assert run.out["ssm.o_state"][:words] == run.out["ssm.o_state"][2 * words :]


@pytest.mark.parametrize("name", [slow("below"), slow("equal"), "above", slow("parts")])
def test_replay(name: str) -> None:
    """Accepted tokens of the pass before are applied again, as many as there may be."""
    b = bench(SHAPES[name], 2, headdim=2, dithered=name != "equal")
    speculate(b, b.layer.config.undecided)
    b.check(stalls=0.1, seed=4)
    assert b.lost.any(axis=1).all()


@pytest.mark.parametrize("name", [n if n == "equal" else slow(n) for n in SHAPES])
def test_prefill_and_batch(name: str) -> None:
    """Chunks, batches, and both in one pass; some passes are not full, some are not recorded.

    The first pass has three layers.
    """
    b = bench(SHAPES[name], 1, 4, per_group=1)
    tokens = b.layer.config.tokens
    for n in range(3):
        b.run([Share(tokens, commit=tokens)], slots=[n], base=250)
    b.run([Share(1, position=3)], slots=[1], records=False)
    b.run([Share(1, position=20 * n) for n in range(tokens)], base=9)
    if tokens > 1:
        b.run([Share(tokens - 1, commit=tokens - 1, position=77), Share(1)], slots=[2, 0])
    b.check(stalls=0.2, seed=3)


def test_replays_of_several_sequences() -> None:
    """Each has its own vectors in the record, and its own number of accepted ones."""
    b = bench(SHAPES["above"], 4, 2)
    b.run([Share(2, commit=1), Share(2, commit=0)])
    b.run([Share(1, 1, position=1, recorded=1), Share(3, 2, position=0, recorded=2)])
    b.run([Share(1, position=3), Share(3, 1, commit=0, position=3, recorded=2)])
    b.check(stalls=0.1, seed=6)


@pytest.mark.slow
def test_eight() -> None:
    """Two words of the record for a row."""
    b = bench(EIGHT, 3, 2)
    b.run([Share(5, commit=5), Share(3, commit=1)])
    b.run([Share(2, commit=2, position=5), Share(6, 2, position=1, recorded=6)])
    b.run([Share(8, 5, position=9, recorded=3)], slots=[1])
    b.check(stalls=0.1, seed=5)
