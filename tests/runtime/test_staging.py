"""Descriptions of passes for hardware of several tokens, by hand and at random."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import decode
from lightmamba.arch.passes import SLOT, STEP, VECTOR
from lightmamba.arch.place import Region
from lightmamba.compiler import build
from lightmamba.engine import Engine
from lightmamba.errors import InputError
from lightmamba.passes import Pass, Slot
from lightmamba.runtime.resident import Resident
from lightmamba.runtime.staging import Staging
from tests.support.builders import made_up, random_model, sizes
from tests.support.pretended import Pretended


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


@pytest.fixture(scope="module", params=[(2, 1, 1), (4, 2, 1), (8, 1, 1), (4, 2, 2)], ids=str)
def device(request, tmp_path_factory):
    """So many tokens, copies of the state, and ports of it."""
    tokens, copies, ports = request.param
    model, folder = random_model(sizes()), tmp_path_factory.mktemp("build")
    target = made_up(tokens=tokens, copies=copies, state_elements=64)
    state = [each for each in target.channels if "state_read" in each.ports]
    more = [
        replace(each, name=f"{each.name}{n}", ports=(f"state_read{n}", f"state_write{n}"))
        for n in range(1, ports) for each in state
    ]  # fmt: skip
    machine = replace(target.machine, state_ports=ports)
    target = replace(target, machine=machine, channels=(*target.channels, *more))
    found = Pretended(model)
    found.load(build(model, target, folder / "b"), sequences=5)
    return found


def test_random_passes_give_the_engines_logits(device):
    """Any sequences, ragged, drafting, going back, beginning again, saved and restored."""
    device.load(device.artifact, 5)
    engine, rng = Engine(device.model), np.random.default_rng(3)
    arch = device.artifact.arch
    state = engine.empty_state(5, undecided=arch.undecided)
    mine, saved = device.sequences, list[Any]()
    for _ in range(150):
        slots, room, record = [], arch.tokens, None
        for sequence in rng.permutation(5)[: rng.integers(1, 6)]:
            count = int(rng.integers(1, room + 1)) if room else 0
            if not count:
                break
            begins = mine[sequence].position == 0 or rng.random() < 0.1
            most = 0 if begins else mine[sequence].undecided
            replay = int(rng.integers(most + 1))
            if most and rng.random() < 0.4:
                replay = most
            needed = device.needs(slot(int(sequence), 0, replay=replay, fresh=bool(begins)))
            if record is not None and needed not in (None, record):
                continue
            record = needed or record
            least = max(int(begins), count - arch.undecided)
            slots.append(Slot(
                int(sequence), rng.integers(0, 61, count), wanted=int(rng.integers(count + 1)),
                fresh=bool(begins), replay=replay, commit=int(rng.integers(least, count + 1)),
            ))  # fmt: skip
            room -= count
        work = Pass(tuple(slots))
        device.submit(work)
        assert device.wait() > 0
        wanted = engine.run(work, state)
        np.testing.assert_array_equal(device.wanted_logits(), wanted)
        assert device.next_tokens() == wanted[:, : engine.valid_vocab].argmax(1).tolist()
        positions = state.position.tolist()
        assert [each.position for each in mine] == positions
        one = int(rng.integers(5))
        if rng.random() < 0.2:
            state.record.accept(one, 0)
            saved.append((device.save_state(one), state.take(slice(one, one + 1), undecided=0)))
        elif rng.random() < 0.2 and saved:
            kept = saved[rng.integers(len(saved))]
            device.restore_state(kept[0], one)
            state.put(one, kept[1])
    assert saved
    for name, lost in engine.counters.items():
        assert device.counters()[name] >= lost, "what was given up is counted too"


def test_what_is_saved_is_what_is_certain(device):
    device.load(device.artifact, 2)
    engine = Engine(device.model)
    device.submit(Pass((slot(0, 3, 4, fresh=True, commit=1),)))
    device.wait()
    device.fork_state(0, 1)
    device.submit(Pass((slot(1, 5),)))
    device.wait()
    wanted, _ = engine.forward(np.array([[3, 5]]), engine.empty_state(1))
    np.testing.assert_array_equal(device.logits(), wanted[0, -1])
    with pytest.raises(InputError, match="left 0 undecided"):  # given up
        device.submit(Pass((slot(0, 6, replay=1),)))
    device.submit(Pass((slot(0, 6),)))
    device.wait()
    wanted, _ = engine.forward(np.array([[3, 6]]), engine.empty_state(1))
    np.testing.assert_array_equal(device.logits(), wanted[0, -1])
    assert device.next_token() == wanted[0, -1, : engine.valid_vocab].argmax()


def test_a_chain_does_not_begin_after_rejected_tokens(device):
    device.load(device.artifact, 1)
    device.submit(Pass((slot(0, 3, fresh=True),)))
    device.wait()
    device.submit(Pass((slot(0, 4, 5, commit=1),)))
    device.wait()
    if len(device.sequences[0].states[0]) == 1:
        device.submit(Pass((slot(0, 6),)), chain=1)
        device.wait()
        return
    with pytest.raises(InputError, match="submit one token without a chain first"):
        device.submit(Pass((slot(0, 6),)), chain=1)
    device.submit(Pass((slot(0, 6),)))
    device.wait()
    device.submit(Pass((slot(0, 7),)), chain=1)
    device.wait()
    assert device.sequences[0].position == 5


def test_a_chain_goes_on_from_one_token(device):
    device.load(device.artifact, 2)
    engine = Engine(device.model)
    ids, state = [7], engine.empty_state(1)
    for _ in range(4):
        logits, state = engine.forward(np.array([ids[-1:]]), state)
        ids.append(int(logits[0, -1, : engine.valid_vocab].argmax()))
    device.start(7, fresh=True, chain=3, sequence=1)
    device.wait()
    assert (device.next_token(), device.sequences[1].position) == (ids[-1], 4)
    logits, _ = engine.forward(np.array([ids[-1:]]), state)
    device.submit(Pass((slot(1, ids[-1]),)))
    device.wait()
    np.testing.assert_array_equal(device.logits(), logits[0, -1])
    for wrong in (slot(1, 1, 2, commit=1), slot(1, 1, commit=0)):
        with pytest.raises(ValueError, match="begins with one token alone, which is certain"):
            device.submit(Pass((wrong,)), chain=1)


def test_a_reset_forgets_what_was_undecided(device):
    device.load(device.artifact, 2)
    device.submit(Pass((slot(0, 3, 4, fresh=True, commit=1),)))
    device.wait()
    device.reset()
    assert device.next_tokens() == []
    with pytest.raises(InputError, match="left 0 undecided"):
        device.submit(Pass((slot(0, 5, replay=1),)))
