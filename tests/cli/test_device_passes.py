"""Verbs on a device of several tokens, which the engine stands in for: the engine's results."""

from types import SimpleNamespace

import pytest

from lightmamba.device.host import devices
from lightmamba.hardware.compiler import build, open_model
from lightmamba.model.qmodel import load
from lightmamba.serve import open_served
from tests.support.builders import shipped
from tests.support.pretended import Pretended

WORDS = ("--prompt", "It was a dark and", "--max-tokens", "24", "--json")


@pytest.fixture(scope="module")
def made(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("builds")
    return build(
        load(world.worded_file), shipped(tokens=4), folder / "b", source=world.worded_file
    ).path


@pytest.fixture
def opened(monkeypatch):
    """The devices that were opened, each of the kind ``pretended``."""
    found = []

    def opener(artifact):
        found.append(Pretended(open_model(artifact)))
        return found[-1]

    entry = SimpleNamespace(load=lambda: opener)
    monkeypatch.setattr(devices, "_found", lambda: {"pretended": entry})
    return found


@pytest.mark.parametrize("options", [(), ("--temperature", "0.9", "--seed", "5")])
def test_drafts_on_a_device_change_no_text(run, world, made, opened, options):
    wanted = run("generate", world.worded_file, *WORDS, *options).json["token_ids"]
    for drafter in ("ngram", world.worded_file):
        words = (*WORDS, *options, "--device", "pretended", "--speculate", drafter)
        found = run("generate", made, *words).json
        assert found["token_ids"] == wanted
        assert found["speculation"]["tokens"] == len(wanted) - 1
        assert found["cycles_per_token"] > 0
        prompt = -(-found["prompt_tokens"] // 4)
        assert len(opened[-1].passes) == prompt + found["speculation"]["passes"]
        assert max(map(sum, opened[-1].passes)) <= 4


def test_slots_of_a_device(made, opened):
    assert open_served(made, device="pretended").backend.slots == 4
    assert open_served(made, device="pretended", slots=6).backend.slots == 6
    assert [len(each.sequences) for each in opened] == [4, 6]
    speculating = open_served(made, device="pretended", speculate="ngram")
    assert speculating.drafter is not None
    assert speculating.backend.undecided == 3


def test_a_simulated_device_is_timed_by_its_own_clock(run, made, opened, monkeypatch):
    """A pass of the stand-in takes 100,000 cycles and 1,000 for each token, at 100 MHz."""
    monkeypatch.setattr("lightmamba.cli.bench.SIMULATED", ("pretended",))
    words = ("--prompt", "8", "--tokens", "4", "--repeats", "2", "--device", "pretended")
    found = run("bench", made, *words, "--json").json
    assert found["prompt"] == {name: pytest.approx(8 / 2.08e-3) for name in found["prompt"]}
    assert found["generation"]["low"] == pytest.approx(1 / 1.01e-3)
    assert opened[0].passes == [(4,), (4,), *[(1,)] * 5] * 3
    said = " ".join(run("bench", made, *words).out.split())
    assert "on pretended, by the clock of the hardware: tokens per second, 2 times" in said
