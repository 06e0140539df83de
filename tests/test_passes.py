"""A pass as passes of hardware: worked by hand, and against the engine."""

from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot, carry_out, split
from lightmamba.engine import Engine
from tests.host.test_device_passes import made
from tests.support.pretended import PASS


def slot(sequence: int, count: int, **given: Any) -> Slot:
    return Slot(sequence, np.arange(10 * sequence, 10 * sequence + count), **given)


def shown(work: Pass, most: int, origin: dict[int, str] | None = None) -> list[list[Any]]:
    """Sequence, tokens, wanted, fresh, replay and commit of the slots of each part."""
    return [
        [
            (s.sequence, s.tokens.tolist(), s.wanted, s.fresh, s.replay, s.committed)
            for s in part.slots
        ]
        for part, _ in split(work, most, lambda slot: (origin or {}).get(slot.sequence))
    ]


def test_what_fits_is_one_pass():
    work = Pass((slot(0, 2, commit=1), slot(1, 1, replay=2), slot(2, 1, wanted=0)))
    assert shown(work, 4) == [
        [
            (0, [0, 1], 1, False, 0, 1),
            (1, [10], 1, False, 2, 1),
            (2, [20], 0, False, 0, 1),
        ]
    ]


def test_a_prompt_is_cut_and_its_end_shares_a_pass():
    work = Pass((slot(0, 9, wanted=6, fresh=True), slot(1, 1), slot(2, 2)))
    assert shown(work, 4) == [
        [(0, [0, 1, 2, 3], 1, True, 0, 4)],
        [(0, [4, 5, 6, 7], 4, False, 0, 4)],
        [(0, [8], 1, False, 0, 1), (1, [10], 1, False, 0, 1), (2, [20, 21], 1, False, 0, 2)],
    ]


def test_tokens_that_stay_undecided_come_together():
    assert shown(Pass((slot(0, 6, wanted=6, replay=1, commit=3),)), 4, {0: "a"}) == [
        [(0, [0, 1, 2], 3, False, 1, 3)],
        [(0, [3, 4, 5], 3, False, 0, 0)],
    ]


def test_a_pass_accepts_tokens_of_one_pass():
    slots = (slot(0, 1, replay=1), slot(1, 1, replay=1), slot(2, 1, replay=1), slot(3, 1))
    parts = shown(Pass(slots), 4, {0: "a", 1: "b", 2: "a"})
    assert [[each[0] for each in part] for part in parts] == [[0, 2, 3], [1]]


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return made(tmp_path_factory.mktemp("build"), 4, sequences=6)


def carried_out(device: Any, work: Pass, cycles: list[int]) -> Any:
    """Logits of a pass on hardware for four tokens, and the cycles of each that it took."""

    def run(part: Pass) -> Any:
        device.submit(part)
        cycles.append(device.wait())
        return device.wanted_logits()

    return carry_out(work, 4, run, device.needs)


def test_random_passes_of_any_size(device):
    """More sequences and tokens than hardware takes at once; each accepts what it can."""
    engine, rng = Engine(device.model), np.random.default_rng(5)
    state = engine.empty_state(6, undecided=3)
    left, split_up = [0] * 6, 0
    for n in range(60):
        slots = []
        for sequence in range(6):
            if n and rng.random() < 0.3:
                continue
            count = int(rng.integers(1, 12 if rng.random() < 0.2 else 4))
            undecided = int(rng.integers(min(3, count - (n == 0)) + 1))
            slots.append(Slot(
                sequence, rng.integers(0, 61, count), wanted=int(rng.integers(count + 1)),
                fresh=n == 0, replay=int(rng.integers(left[sequence] + 1)),
                commit=count - undecided,
            ))  # fmt: skip
            left[sequence] = undecided
        if not slots:
            continue
        work = Pass(tuple(slots))
        cycles: list[int] = []
        logits = carried_out(device, work, cycles)
        np.testing.assert_array_equal(logits, engine.run(work, state))
        assert min(cycles) >= PASS
        assert len(cycles) >= -(-work.tokens // 4)
        split_up += len(cycles) > 1
    assert split_up > 20


def test_too_many_undecided_are_refused(device):
    with pytest.raises(InputError, match="leaves at most 3 tokens of a sequence undecided, not 6"):
        carried_out(device, Pass((slot(0, 6, commit=0),)), [])
