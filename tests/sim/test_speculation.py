"""The simulated machine of four tokens writes the engine's text, in fewer passes with drafts."""

from typing import Any

import numpy as np
import pytest

from lightmamba.device.sim import open_device
from lightmamba.engine import Engine
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.text import DeviceDecoder, ModelDrafter, Speculation, generate
from tests.support.builders import random_model
from tests.support.tools import needs_verilator
from tests.text.test_speculation import OPTIONS, PROMPT, Oracle, drafted

from .machines import CONFIG, FOUR, HARDWARE, compiled

pytestmark = needs_verilator
TOKENS = 13


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    model = random_model(CONFIG)
    build = compiled(
        tmp_path_factory.mktemp("builds"), CONFIG, FOUR, model=model, hardware=HARDWARE
    )
    with open_device(Artifact.read(build)) as device:
        yield DeviceDecoder(device, model)


@pytest.fixture(scope="module")
def engine(decoder):
    return Engine(decoder.model)


def test_a_prompt_takes_a_pass_for_every_four_tokens(decoder, engine):
    before = decoder.cycles
    found, state = decoder.forward(np.array([PROMPT[:4]]), decoder.empty_state(1), last_only=False)
    one = decoder.cycles - before
    wanted, theirs = engine.forward(np.array([PROMPT[:4]]), engine.empty_state(1), last_only=False)
    np.testing.assert_array_equal(found, wanted)
    found, _ = decoder.forward(np.array([PROMPT[4:]]), state)
    wanted, _ = engine.forward(np.array([PROMPT[4:]]), theirs)
    np.testing.assert_array_equal(found, wanted)
    assert decoder.cycles - before < 2.1 * one


@pytest.mark.parametrize("kind", ["greedy", "sampled"])
@pytest.mark.parametrize("drafter", ["itself", "oracle"])
def test_the_text_is_the_engines(decoder, engine, kind, drafter):
    """Drafts accepted as a whole, and drafts rejected in every way."""
    options, report = OPTIONS[kind], Speculation()
    wanted = list(generate(engine, PROMPT, max_tokens=TOKENS, sampling=options))
    ids = PROMPT + [step.token_id for step in wanted]
    draft: Any = {"itself": lambda: ModelDrafter(engine, engine),
             "oracle": lambda: Oracle(ids, engine.valid_vocab, seed=3)}[drafter]()  # fmt: skip
    assert drafted(decoder, options, draft, TOKENS, report=report) == wanted
    assert report.tokens == TOKENS - 1
    if drafter == "itself":
        assert (report.passes, report.accepted) == (3, 9)
    else:
        assert 0 < report.accepted < report.drafted
