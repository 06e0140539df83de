"""Several sequences on a device of several tokens, which the engine stands in for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.serve import Served
from lightmamba.serve.backend import DeviceBackend, EngineBackend
from lightmamba.text import ModelDrafter, NgramDrafter
from lightmamba.text.model import Model
from tests.serve.running import LIST, Eager, Running, expected, request, running
from tests.support.builders import shipped
from tests.support.pretended import Pretended


@pytest.fixture(scope="module")
def builds(model, tmp_path_factory) -> dict[int, Artifact]:
    folder = tmp_path_factory.mktemp("builds")
    return {n: build(model, shipped(tokens=n), folder / f"{n}") for n in (2, 4, 8)}


MADE: list[Pretended] = []


@pytest.fixture(autouse=True)
def given_back() -> Iterator[None]:
    """Release the states of all devices, which reference cycles in the servers would keep."""
    yield
    for device in MADE:
        device.close()
    MADE.clear()


def backend(model: Any, artifact: Artifact, slots: int | None = None) -> DeviceBackend:
    device = Pretended(model)
    MADE.append(device)
    device.load(artifact, slots or artifact.arch.tokens)
    return DeviceBackend(lambda: device, model, "pretended")


def hardware(server: Running) -> Pretended:
    backend: Any = server.served.backend
    found: Pretended = backend._device
    return found


@contextmanager
def server(
    model: Any, artifact: Artifact, slots: int | None = None, drafter: Any = None
) -> Iterator[Running]:
    served = Served("demo", backend(model, artifact, slots), Model(model), "f" * 64, drafter)
    with running(served) as found:
        yield found


@pytest.mark.parametrize("slots", [None, 1, 7])
def test_clients_share_passes(model, builds, wanted, slots):
    """As many slots as the operator says, or as the hardware takes tokens."""
    with server(model, builds[4], slots) as found, ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda n: found.ask(**request(n)).text, range(8)))
        assert found.http().get("/health").json()["slots"] == (slots or 4)
        passes, tokens = found.total("passes"), found.total("computed_tokens")
        ran = hardware(found).passes
    assert texts == [wanted(n) for n in range(8)]
    assert passes == len(ran)
    assert max(len(each) for each in ran) == min(slots or 4, 4)
    assert max(sum(each) for each in ran) == 4
    assert slots == 1 or passes < 0.5 * tokens


def test_more_choices_than_tokens_in_a_pass(model, builds):
    """Seven sequences take two passes for a token of each, and both are counted."""
    asked = {"prompt": "It was", "max_tokens": 9, "temperature": 0.8, "seed": 2}
    with server(model, builds[4], 7) as found:
        texts = found.ask(**asked, n=7).texts
        passes, ran = found.total("passes"), hardware(found).passes
    assert texts == [expected(model, **asked, stream=n).text for n in range(7)]
    assert passes == len(ran)
    assert {3, 4} <= {len(slots) for slots in ran}


@pytest.mark.parametrize("tokens", [2, 4])
@pytest.mark.parametrize("drafter", ["ngram", "itself"])
def test_drafts_change_no_answer(model, builds, wanted, tokens, drafter):
    engine = Engine(model)
    made: Any = {
        "ngram": lambda: NgramDrafter(2, 1), "itself": lambda: ModelDrafter(engine, engine),
    }[drafter]  # fmt: skip
    with server(model, builds[tokens], drafter=made) as found:
        found.scheduler.batch.drafts = Eager(made, found.served.backend.undecided)
        with ThreadPoolExecutor(tokens) as pool:
            texts = list(pool.map(lambda n: found.ask(**request(n)).text, range(6)))
        alone = found.total("passes"), found.total("generated_tokens")
        texts.append(found.ask(**request(6)).text)
        passes, drawn = (now - then for now, then in zip(
            (found.total("passes"), found.total("generated_tokens")), alone, strict=True
        ))  # fmt: skip
        drafts, right = found.total("drafted_tokens"), found.total("accepted_tokens")
    assert texts == [wanted(n) for n in range(7)]
    assert 0 <= right <= drafts > 0
    if drafter == "itself":
        assert right == drafts
        prompt = len(found.served.tokenizer.encode(request(6)["prompt"]))
        assert passes <= prompt / tokens + drawn / tokens + 3


@pytest.mark.parametrize(("tokens", "most"), [(4, 4), (8, 6)])
def test_drafts_pay_by_the_clock_of_the_device(model, builds, tokens, most):
    """As many as the hardware may leave undecided, as soon as they were seen to be right."""
    engine = Engine(model)
    with server(model, builds[tokens], drafter=lambda: ModelDrafter(engine, engine)) as found:
        asked = {"prompt": "It was", "max_tokens": 60, "temperature": 0}
        text = found.ask(**asked).text
        sizes = {sum(each) for each in hardware(found).passes}
    assert text == expected(model, **asked).text
    assert max(sizes) == most


@pytest.mark.parametrize("tokens", range(33, 37))
def test_the_state_after_an_answer_is_kept(model, builds, tokens):
    """With the tokens accepted at its end, wherever that is."""
    engine = Engine(model)
    with server(model, builds[4], drafter=lambda: ModelDrafter(engine, engine)) as found:
        found.scheduler.batch.drafts = Eager(lambda: ModelDrafter(engine, engine), 3)
        messages = [{"role": "user", "content": LIST}]
        said = found.ask(messages=messages, max_tokens=tokens, temperature=0)
    prompt = found.served.tokenizer.encode(f"user: {LIST}\nassistant:")
    text = expected(model, prompt, tokens, temperature=0)
    assert said.text == text.text
    ids = np.array([*prompt, *text.token_ids])
    length, saved = found.scheduler.batch.cache.longest(ids) or (0, None)
    assert length == len(ids) - 1
    ours = found.served.backend
    ours.restore(2, saved, len(ids))
    logits, _ = engine.forward(ids[None], engine.empty_state(1))
    np.testing.assert_array_equal(ours.run(Pass((Slot(2, ids[-1:]),))), logits[0])


def test_a_state_is_saved_and_restored_by_slot(model, builds):
    """The same passes and copies on the device and on the engine."""
    ours, theirs = backend(model, builds[4]), EngineBackend(Engine(model), 4, undecided=3)
    rng = np.random.default_rng(1)
    draft: dict[int, list[int]] = {}
    kept: list[Any] = []
    for slot in range(4):
        for each in (ours, theirs):
            each.begin(slot, 99)
    for _ in range(60):
        slots = []
        for slot in rng.permutation(4)[: rng.integers(1, 3)].tolist():
            ids, right = rng.integers(5, 900, 2), int(rng.integers(len(draft.get(slot, [])) + 1))
            slots.append(Slot(slot, ids, wanted=2, replay=right, commit=1))
            draft[slot] = ids[1:].tolist()
        np.testing.assert_array_equal(ours.run(Pass(tuple(slots))), theirs.run(Pass(tuple(slots))))
        slot = int(rng.integers(4))
        if rng.random() < 0.3 and slot in draft:
            accepted = draft.pop(slot)[: rng.integers(2)]
            kept.append((ours.save(slot, accepted), theirs.save(slot, accepted)))
        elif rng.random() < 0.3 and kept:
            mine, other = kept[rng.integers(len(kept))]
            ours.restore(slot, mine, 0)
            theirs.restore(slot, other, 0)
            draft.pop(slot, None)
        elif rng.random() < 0.1:
            for each in (ours, theirs):
                each.begin(slot, 99)
            draft.pop(slot, None)
    assert len(kept) > 5
    assert ours.saved_bytes(9) == sum(map(len, kept[0][0].memory.values()))


def test_a_device_that_lost_its_registers_is_loaded_again(model, builds):
    """As after a power cut, when memory is empty as well; one that kept them is only reset."""
    opened: list[Pretended] = []

    def opener() -> Pretended:
        opened.append(Pretended(model))
        MADE.append(opened[-1])
        opened[-1].load(builds[2], 2)
        return opened[-1]

    found = DeviceBackend(opener, model, "pretended")
    found.recover()
    assert len(opened) == 1
    opened[0].write("layers", 0)
    found.recover()
    assert len(opened) == 2
    found.begin(1, 8)
    logits = found.run(Pass((Slot(1, np.array([3])),)))
    engine = Engine(model)
    right, _ = engine.forward(np.array([[3]]), engine.empty_state(1))
    assert np.array_equal(logits[0], right[0, -1])


def test_a_device_that_cannot_be_opened_is_tried_again(model, builds):
    there = [True, False, False, True]

    def opener() -> Pretended:
        if not there.pop(0):
            raise InputError("there is no such device")
        MADE.append(Pretended(model))
        MADE[-1].load(builds[2], 2)
        return MADE[-1]

    found = DeviceBackend(opener, model, "pretended")
    MADE[-1].write("hash", 0)
    for _ in range(2):
        with pytest.raises(InputError, match="there is no such device"):
            found.recover()
    found.recover()
    assert there == []
