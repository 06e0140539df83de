"""Several tokens in a pass of a device: prompts in pieces, and drafts."""

import time
from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.devices import check_speculation
from lightmamba.engine import Engine
from lightmamba.evaluate.scoring import Request, score
from lightmamba.evaluate.writing import prompt_of, write
from lightmamba.hardware.compiler import build
from lightmamba.text import DeviceDecoder, ModelDrafter, NgramDrafter, Speculation, generate
from lightmamba.text.drafting import most_drafted
from lightmamba.text.pace import MOST
from tests.support.builders import made_up, random_model, shipped, sizes
from tests.support.pretended import PASS, TOKEN, Pretended
from tests.text.test_speculation import OPTIONS, PROMPT, Oracle, drafted, plain


def made(folder: Any, tokens: int, sequences: int = 1, copies: int = 1) -> Pretended:
    model = random_model(sizes())
    device = Pretended(model)
    target = made_up(tokens=tokens, copies=copies)
    device.load(build(model, target, folder / f"{tokens}"), sequences)
    return device


@pytest.fixture(scope="module", params=[(2, 1), (4, 1), (8, 1), (4, 2)], ids=str)
def device(request, tmp_path_factory):
    """So many tokens, and copies of the state."""
    tokens, copies = request.param
    return made(tmp_path_factory.mktemp("build"), tokens, copies=copies)


@pytest.fixture
def decoder(device):
    device.passes.clear()
    return DeviceDecoder(device, device.model)


def most(device: Pretended) -> int:
    assert device.artifact is not None
    return device.artifact.arch.tokens


class Numbers:
    """A text is the numbers of its tokens."""

    vocab_size = sizes().vocab_size - 3  # less the padding of a random model

    def decode(self, ids):
        return "".join(f"{each} " for each in ids)


def test_tasks_are_written_by_a_device(device, decoder):
    prompts = [prompt_of(ids, {"temperature": 2.0, "max_gen_toks": 6}) for ids in ([3, 4], [5])]
    wanted = write(Engine(device.model), Numbers(), prompts)
    assert write(decoder, Numbers(), prompts, batch=1) == wanted
    with pytest.raises(InputError, match="one sequence at a time"):
        write(decoder, Numbers(), prompts)


def test_a_copy_behind_a_pass_is_of_that_pass(device, decoder):
    """The state that a pass goes on with forgets what was copied of it before."""
    engine, one = Engine(device.model), np.array([0])
    _, wanted = engine.forward(np.array([[3, 4]]), engine.empty_state(1))
    _, mine = decoder.forward(np.array([[3]]), decoder.empty_state(1))
    mine.take(one)
    decoder.run(Pass((Slot(0, np.array([4]), wanted=1),)), mine)
    copied = mine.take(one)
    found, _ = decoder.forward(np.array([[5]]), copied)
    np.testing.assert_array_equal(found, engine.forward(np.array([[5]]), wanted)[0])


@pytest.mark.parametrize("last_only", [True, False])
def test_a_prompt_is_fed_in_pieces(device, decoder, last_only):
    engine, ids = Engine(device.model), np.array([[*range(3, 16)]])
    wanted, state = engine.forward(ids[:, :11], engine.empty_state(1), last_only=last_only)
    found, mine = decoder.forward(ids[:, :11], decoder.empty_state(1), last_only=last_only)
    np.testing.assert_array_equal(found, wanted)
    pieces = [min(most(device), 11 - n) for n in range(0, 11, most(device))]
    assert device.passes == [(n,) for n in pieces]
    wanted, _ = engine.forward(ids[:, 11:], state, last_only=last_only)
    found, mine = decoder.forward(ids[:, 11:], mine, last_only=last_only)
    np.testing.assert_array_equal(found, wanted)
    assert (mine.tokens, decoder.tokens) == (13, 13)
    assert decoder.cycles == PASS * len(device.passes) + TOKEN * 13


def test_logits_are_computed_where_they_are_wanted(decoder, monkeypatch):
    heads = list[bool]()
    monkeypatch.setattr(decoder.device, "_keep_logits", lambda *given: heads.append(True))
    decoder.forward(np.array([[*range(17)]]), decoder.empty_state(1))
    assert heads == [True]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_text_is_the_same_with_drafts(device, decoder, options):
    engine = Engine(device.model)
    wanted = plain(engine, options)
    assert list(generate(decoder, PROMPT, max_tokens=60, sampling=options)) == wanted
    ids = PROMPT + [step.token_id for step in wanted]
    drafters: dict[str, Any] = {
        "ngram": NgramDrafter(), "oracle": Oracle(ids, engine.valid_vocab),
        "itself": ModelDrafter(engine, engine),
    }  # fmt: skip
    for name, drafter in drafters.items():
        device.passes.clear()
        report = Speculation()
        assert drafted(decoder, options, drafter, report=report) == wanted, name
        checked = device.passes[-(-len(PROMPT) // most(device)) :]
        assert {sum(each) for each in checked} <= set(range(1, decoder.undecided + 2))
        if name == "itself":
            assert report.acceptance == 1
            assert report.tokens_per_pass > 0.9 * (1 + decoder.undecided)
    found = list(generate(decoder, PROMPT, max_tokens=60, sampling=options, drafter=NgramDrafter()))
    assert found == wanted


def test_accepted_tokens_pay_in_cycles(device, decoder):
    """The pace looks at the cycles of the device, not at how slow its simulation is."""
    engine, options = Engine(device.model), OPTIONS["greedy"]
    wanted = plain(engine, options, 200)
    ids = PROMPT + [step.token_id for step in wanted]

    class Right:
        def draft(self, known, count, trial):
            return ids[len(known) : len(known) + count]

    class Slow(DeviceDecoder):
        """Each token of a pass takes long to simulate."""

        def run(self, work, state):
            time.sleep(2e-4 * work.tokens**2)
            return super().run(work, state)

    slow, report = Slow(device, device.model), Speculation()
    found = list(generate(slow, PROMPT, max_tokens=200, sampling=options, drafter=Right(),
                          report=report))  # fmt: skip
    assert found == wanted
    assert report.tokens_per_pass > 0.8 * (1 + slow.undecided)
    clock = device.artifact.target.clock_mhz * 1e6
    assert slow.seconds == pytest.approx(slow.cycles / clock)


def test_passes_go_on_from_the_devices_own_state(decoder):
    _, state = decoder.forward(np.array([PROMPT]), decoder.empty_state(1))
    other = decoder.empty_state(1, undecided=decoder.undecided)
    decoder.run(Pass((Slot(0, np.array([5, 6]), commit=1),)), other)
    assert other.tokens == 1
    with pytest.raises(InputError, match="goes on from its own last token only"):
        decoder.run(Pass((Slot(0, np.array([5])),)), state)
    decoder.run(Pass((Slot(0, np.array([7]), replay=1),)), other)
    assert (other.tokens, decoder.tokens) == (3, len(PROMPT) + 3)
    with pytest.raises(InputError, match=f"leaves at most {decoder.undecided} tokens"):
        decoder.empty_state(1, undecided=decoder.undecided + 1)
    assert most_drafted(decoder) == min(MOST, decoder.undecided)


def test_continuations_of_one_context_are_scored_as_by_the_engine(decoder):
    """The context is read once; every continuation goes on from a copy of its state."""
    contexts = [(3, 4, 5, 6, 7, 8, 9), (3,), (9, 8, 7)]
    requests = [Request(c, end) for c in contexts for end in ((5, 6), (7,), (1, 2, 3, 4, 5))]
    engine = Engine(decoder.model)
    wanted = score(engine, requests)
    assert score(decoder, requests, batch=1) == wanted
    read = sum(len(context) - 1 for context in contexts)
    assert decoder.tokens == read + sum(len(request.continuation) for request in requests)


def test_a_device_of_one_token_refuses_drafts(tmp_path):
    model = random_model(sizes())
    artifact = build(model, shipped(), tmp_path / "b")
    with pytest.raises(InputError, match=r"sim takes one token in a pass with .*; spec"):
        check_speculation("sim", artifact)
    check_speculation("engine", artifact)
    device = Pretended(model)
    device.load(artifact)
    decoder = DeviceDecoder(device, model)
    assert most_drafted(decoder) == 0
    with pytest.raises(InputError, match="takes one in a pass; speculate on the engine"):
        generate(decoder, PROMPT, max_tokens=4, sampling=OPTIONS["greedy"], drafter=NgramDrafter())
    check_speculation("sim", build(model, shipped(tokens=2), tmp_path / "two"))


@pytest.mark.parametrize(
    ("slot", "sentence"),
    [
        (Slot(0, np.arange(29), commit=4), "leaves at most"),
        (Slot(0, np.array([*range(28), 10**6])), "token id 1000000 is out of range"),
    ],
)
def test_a_long_pass_that_is_refused_runs_nothing(device, decoder, slot, sentence):
    state, ids = decoder.empty_state(1), np.array([[3, 5, 7]])
    decoder.forward(ids, state)
    with pytest.raises(InputError, match=sentence):
        decoder.run(Pass((slot,)), state)
    found, state = decoder.forward(ids + 1, state)
    engine = Engine(device.model)
    wanted, _ = engine.forward(np.concatenate([ids, ids + 1], 1), engine.empty_state(1))
    np.testing.assert_array_equal(found, wanted)
    assert state.tokens == 6
