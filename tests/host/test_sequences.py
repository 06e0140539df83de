"""Sequences on a device of several tokens: saved states, ends, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmamba.blocks import kind
from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build
from lightmamba.model.config import ModelConfig
from tests.sim.passes import damaged
from tests.support.builders import made_up, random_model, sizes
from tests.support.pretended import Pretended

CONTEXT = 32


def slot(sequence: int, *tokens: int, **given: Any) -> Slot:
    return Slot(sequence, np.array(tokens), **given)


@pytest.fixture(scope="module", params=[(2, 1, 1), (4, 2, 1), (8, 1, 1), (4, 2, 2)], ids=str)
def device(request, tmp_path_factory):
    """Device with a number of tokens, copies of the state, and ports of it."""
    return made(tmp_path_factory.mktemp("build"), sizes(), *request.param)


@pytest.fixture(params=[1, 2], ids=["one copy", "two copies"])
def shared(request, tmp_path):
    return sharing(tmp_path, request.param)


def sharing(folder: Path, copies: int) -> Pretended:
    """Device with memory for one whole sequence among five, in segments of four tokens."""
    config = sizes()
    layers = (config.layers[0], kind("attention").Sizes(2, 1, 16), config.layers[1])
    config = replace(config, layers=layers)
    device = made(folder, config, 4, copies, 1, lanes=2, segment=4)
    assert device.sequences[0].segments["kv"].pool.count == CONTEXT // 4
    return device


def made(
    folder: Path, config: ModelConfig, tokens: int, copies: int, ports: int, **machine: Any
) -> Pretended:
    model = random_model(config)
    target = made_up(tokens=tokens, copies=copies, state_elements=64, **machine)
    state = [each for each in target.channels if "state_read" in each.ports]
    more = [
        replace(each, name=f"{each.name}{n}", ports=(f"state_read{n}", f"state_write{n}"))
        for n in range(1, ports) for each in state
    ]  # fmt: skip
    machine_ = replace(target.machine, state_ports=ports)
    target = replace(target, machine=machine_, channels=(*target.channels, *more))
    room: dict[str, Any] = {"context": CONTEXT, "sequences": 1} if machine else {}
    found = Pretended(model)
    found.load(build(model, target, folder / "b", **room), sequences=5)
    return found


def test_a_refused_state_leaves_undecided_tokens_their_memory(shared):
    (mine, other), ids = shared.sequences[:2], [3, 4, 5, 6]
    shared.submit(Pass((slot(0, *ids, fresh=True),)))
    shared.wait()
    saved = shared.save_state(0)
    shared.submit(Pass((slot(0, 7, 8, 9, commit=0),)))
    shared.wait()
    held, key = [*mine.segments["kv"].held], mine.key
    assert (mine.position, mine.undecided, len(held)) == (4, 3, 2)
    for seed in range(12):
        wrong, reason = damaged(np.random.default_rng(seed), saved)
        with pytest.raises(InputError, match=reason):
            shared.restore_state(wrong, 0)
    assert (mine.position, mine.undecided, mine.segments["kv"].held, mine.key) == (
        4, 3, held, key,
    )  # fmt: skip
    shared.submit(Pass((slot(1, *range(4), fresh=True),)))
    shared.wait()
    assert not set(other.segments["kv"].held) & set(held)
    shared.submit(Pass((slot(0, 10, replay=3),)))
    shared.wait()
    engine = Engine(shared.model)
    wanted, _ = engine.forward(np.array([[*ids, 7, 8, 9, 10]]), engine.empty_state(1))
    np.testing.assert_array_equal(shared.logits(), wanted[0, -1])


def test_what_ends_leaves_nothing(shared):
    """No undecided tokens and no segments, after its end and after a reset."""
    mine = shared.sequences[0]
    for over in (lambda: shared.end_sequence(0), shared.reset):
        shared.submit(Pass((slot(0, 3, fresh=True),)))
        shared.wait()
        shared.submit(Pass((slot(0, 4, 5, 6, commit=1),)))
        shared.wait()
        over()
        assert (mine.position, mine.undecided, mine.record, mine.behind) == (0, 0, None, 0)
        assert mine.segments["kv"].held == []
        with pytest.raises(InputError, match="left 0 undecided"):
            shared.submit(Pass((slot(0, 7, replay=1),)))


def test_a_state_that_was_written_in_part_is_not_gone_on_with(shared, monkeypatch):
    shared.submit(Pass((slot(0, 3, fresh=True),)))
    shared.wait()
    saved, key = shared.save_state(0), shared.sequences[0].key

    def fail(*given: Any) -> None:
        raise DeviceError("gone")

    monkeypatch.setattr(shared, "write_memory", fail)
    with pytest.raises(DeviceError, match="gone"):
        shared.restore_state(saved, 0)
    assert shared.sequences[0].key != key


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
