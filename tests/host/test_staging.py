"""Descriptions of passes for hardware of several tokens, by hand and at random."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import decode
from lightmamba.arch.passes import SLOT, STEP, VECTOR
from lightmamba.arch.place import Region
from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.resident import Resident
from lightmamba.device.host.staging import Staging


def slot(sequence: int, *tokens: int, **given: Any) -> Slot:
    return Slot(sequence, np.array(tokens), **given)


def places(count: int, copies: int, ports: int) -> list[Resident]:
    return [
        Resident(
            tuple(
                tuple(
                    Region(f"state{n}.{p}.{c}", "m", 1000 * n + 100 * c + p, 64)
                    for c in range(copies)
                )
                for p in range(ports)
            ),
            {"conv_state": Region(f"conv{n}", "m", 1000 * n + 500, 64)},
        )
        for n in range(count)
    ]


def staging(tokens: int = 4, sequences: int = 3, copies: int = 1, ports: int = 1) -> Staging:
    arch = ArchConfig(tokens=tokens, state_ports=ports)
    records = [Region(f"record{n}", "m", 9000 + 100 * n, 64) for n in range(sequences + 1)]
    return Staging(arch, places(sequences, copies, ports), records)


def run(stage: Staging, *slots: Slot) -> Any:
    """Stage a pass and say that it has run."""
    work = Pass(slots)
    for each in slots:
        if each.fresh:
            stage.sequences[each.sequence].begin()
    staged = stage.stage(work)
    stage.done(work, staged, 1)
    return staged


def unpacked(staged: Any) -> tuple[list[dict[str, int]], ...]:
    return (
        [decode(VECTOR, each) for each in staged.vectors],
        [decode(SLOT, each) for each in staged.slots],
        [decode(STEP, each) for each in staged.steps],
    )


def test_a_worked_pass():
    """Two sequences; then one accepts one of two drafted tokens, and the other begins again."""
    stage = staging()
    first = run(stage, slot(0, 7, fresh=True), slot(2, 5, 6, 8, fresh=True, commit=1))
    assert (first.tokens, first.read, first.written) == ((7, 5, 6, 8), None, stage.records[0])
    mine = stage.sequences[2]
    assert (mine.position, mine.undecided, mine.recorded) == (1, 2, 2)
    assert mine.record == first.written
    again = stage.stage(Pass((slot(0, 1, 2), slot(2, 3, 4, replay=1, commit=0))))
    vectors, slots, steps = unpacked(again)
    assert vectors == [
        {"used": 1, "slot": 0, "place": 0}, {"used": 1, "slot": 0, "place": 1},
        {"used": 1, "slot": 1, "place": 0}, {"used": 1, "slot": 1, "place": 1},
    ]  # fmt: skip
    assert slots == [
        {"used": 1, "fresh": 0, "store": 1, "first": 0, "replay": 0, "commit": 2},
        {"used": 1, "fresh": 0, "store": 1, "first": 2, "replay": 1, "commit": 0},
    ]
    assert [tuple(step.values()) for step in steps] == [
        # recorded, vector, load, store, position less that of the pass
        (0, 0, 1, 0, 0), (0, 1, 0, 1, 1),
        (1, 2, 1, 1, 0), (0, 2, 0, 0, 1), (0, 3, 0, 0, 2),
    ]  # fmt: skip
    assert again.shares[0].position == 1
    assert (again.read, again.written) == (stage.records[0], stage.records[1])


def test_what_is_written_to_registers():
    stage, seen = staging(copies=2, ports=2), dict[str, Any]()
    run(stage, slot(1, 4, fresh=True))
    work = Pass((slot(1, 9, 8, commit=1), slot(0, 3, fresh=True)))
    staged, steps = stage.stage(work), list[Any]()

    def write(name: str, value: Any) -> None:
        if name == "step_data":
            steps.append(value)
        else:
            seen[name] = value

    stage.write(staged, work, write, lambda region: region.address, lambda token: 100 + token)
    assert seen["later_row"] == [108, 103, 100]
    assert (seen["slot_read"], seen["slot_write"]) == ([1100, 0], [1000, 100])
    assert (seen["slot_read1"], seen["slot_write1"]) == ([1101, 1], [1001, 101])
    assert seen["slot_conv_state"] == [1500, 500]
    assert seen["vector"] == [*staged.vectors, 0]
    assert seen["slot"] == [*staged.slots, 0, 0]
    assert (seen["step_index"], steps, seen["last_step"]) == (0, list(staged.steps), 2)
    assert (seen["record"], seen["record_write"]) == (2, 9000)
    assert "record_read" not in seen


def test_a_state_that_is_not_written_stays_where_it_is():
    stage = staging(copies=2)
    mine = stage.sequences[0]
    run(stage, slot(0, 1, 2, fresh=True))
    assert (mine.position, mine.due) == (2, 1)
    staged = run(stage, slot(0, 3, 4, commit=0))
    assert unpacked(staged)[1][0]["store"] == 0
    assert (mine.position, mine.due, mine.undecided) == (2, 1, 2)
    run(stage, slot(0, 5, commit=0, replay=2))
    assert (mine.position, mine.due, mine.undecided) == (4, 0, 1)


def test_accepted_tokens_cost_nothing_where_the_state_lies_twice():
    """The state is written as if they were right, and the copy of before is there if not."""
    stage = staging(copies=2)
    mine = stage.sequences[0]
    run(stage, slot(0, 1, fresh=True))
    assert (mine.position, mine.due) == (1, 1)
    first = run(stage, slot(0, 2, 3, 4, 5, commit=1))
    assert [step["store"] for step in unpacked(first)[2]] == [0, 0, 0, 1]
    assert (mine.position, mine.due, mine.undecided, mine.behind) == (2, 0, 3, 1)

    right = run(stage, slot(0, 6, 7, commit=1, replay=3))
    assert right.read is None
    _, slots, steps = unpacked(right)
    assert (slots[0]["replay"], slots[0]["store"]) == (3, 1)
    assert [tuple(step.values()) for step in steps] == [
        # recorded, vector, load, store, position less that of the pass
        (0, 0, 1, 0, 0), (0, 1, 0, 1, 1),
    ]  # fmt: skip
    assert (mine.position, mine.due, mine.undecided, mine.behind) == (6, 1, 1, 1)

    work, seen = Pass((slot(0, 9, replay=0),)), dict[str, Any]()
    wrong = stage.stage(work)
    assert wrong.read == right.written
    _, slots, steps = unpacked(wrong)
    assert [tuple(step.values()) for step in steps] == [(1, 0, 1, 0, 0), (0, 0, 0, 1, 1)]
    assert (right.shares[0].position, wrong.shares[0].position) == (5, 5)
    stage.write(wrong, work, seen.__setitem__, lambda region: region.address, lambda token: token)
    assert (seen["slot_read"], seen["slot_write"]) == ([0], [100])  # over what was wrong
    stage.done(work, wrong, 1)
    assert (mine.position, mine.due, mine.undecided, mine.behind) == (7, 1, 0, 0)


def test_after_rejected_tokens_the_certain_ones_are_done_again():
    stage = staging(copies=2)
    run(stage, slot(1, 8, fresh=True), slot(0, 1, fresh=True))
    run(stage, slot(1, 7), slot(0, 2, 3, 4, commit=1))
    staged = run(stage, slot(0, 5, 6, commit=1, replay=1))
    assert [tuple(step.values()) for step in unpacked(staged)[2]] == [
        (1, 1, 1, 0, 0), (1, 2, 0, 0, 1), (0, 0, 0, 1, 2), (0, 1, 0, 0, 3),
    ]  # fmt: skip
    assert staged.shares[0].position == 1
    mine = stage.sequences[0]  # with a record to go through, nothing is written ahead
    assert (mine.position, mine.undecided, mine.behind) == (4, 1, 0)
    staged = run(stage, slot(0, 5, replay=1))
    assert unpacked(staged)[2][0] == {
        "recorded": 1, "vector": 1, "load": 1, "store": 0, "position": 0,
    }  # fmt: skip
    assert staged.shares[0].position == 4


@pytest.mark.parametrize("tokens", [2, 4, 8])
def test_steps_fit_their_memory(tokens):
    """The most that a pass can be told: every token of before again, then as many new ones."""
    stage = staging(tokens, sequences=1, copies=2)
    run(stage, slot(0, 1, fresh=True))
    certain = tokens - stage.arch.undecided
    run(stage, slot(0, *range(tokens), commit=certain))
    staged = run(stage, slot(0, *range(tokens), replay=stage.arch.undecided - 1))
    assert len(staged.steps) == 2 * tokens - 1 <= stage.arch.steps


def test_a_record_is_kept_as_long_as_it_is_needed():
    """Every sequence may hold one of its own, and a pass that reads one finds another."""
    stage, held = staging(sequences=3), dict[int, Region]()
    for n in range(3):
        held[n] = run(stage, slot(n, 1, 2, fresh=True, commit=1)).written
    assert len(set(held.values())) == 3
    for n in range(12):
        staged = run(stage, slot(n % 3, 1, 2, replay=1, commit=1))
        assert staged.read == held[n % 3]
        assert staged.written not in held.values()
        held[n % 3] = staged.written


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        (
            [slot(0, 1, 2, 3, 4, 5)],
            "has 5 tokens, but the hardware of this build takes 4 at most; ",
        ),
        ([slot(0, 1, replay=2)], "cannot accept 2 tokens: its last pass left 1 undecided"),
        ([slot(2, 1, replay=1)], "cannot accept 1 tokens: its last pass left 0 undecided"),
        ([slot(0, 1, replay=1), slot(1, 1, replay=1)], "accept tokens of different passes"),
        ([slot(2, 1, 2, fresh=True, commit=0)], "its first token must be certain; commit it"),
        ([slot(0, 1, 2, 3, 4, commit=0)], "leaves at most 3 tokens of a sequence undecided, not 4"),
    ],
)
def test_what_hardware_cannot_do(slots, sentence):
    stage = staging()
    for n in range(2):
        run(stage, slot(n, 1, 2, fresh=True, commit=1))
    with pytest.raises(InputError, match=sentence):
        stage.stage(Pass(tuple(slots)))


def test_eight_tokens_leave_five_undecided():
    stage = staging(tokens=8)
    run(stage, slot(0, *range(6), fresh=True, commit=1))
    with pytest.raises(InputError, match="at most 5"):
        stage.stage(Pass((slot(0, *range(7), commit=1),)))
